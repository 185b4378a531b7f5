"""Figures that a page quotes are those of the file that it names."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def ratios(part: str) -> dict[str, list[str]]:
    """Returns cell -> how many times as fast it is, shape by shape, of a part of the bench."""
    found: dict[str, list[str]] = {}
    for line in part.splitlines():
        if row := re.match(r"(\S+) +B\d+,T35,H256 +\S+ +[\d.]+ +([\d.]+) \(", line):
            found.setdefault(row[1], []).append(row[2])
    return found


def test_the_speed_of_the_layer_is_quoted_from_its_bench():
    page = (ROOT / "docs/layer.md").read_text(encoding="utf-8")
    training, forward = (
        (ROOT / "studies/bench/module.txt").read_text(encoding="utf-8").split("Forward only")
    )
    commit = re.search(r"commit (\w{7})", training)
    assert commit is not None and f"(commit {commit[1]}," in page
    assert set(ratios(training)) == {"lstm", "gru", "lstm-peephole"}
    for cell, (one, two, three) in ratios(training).items():
        assert f"`{cell}` {one}, {two} and {three} times as fast as" in page
    one, two, three = ratios(forward)["lstm"]
    assert f"Forward alone it is {one}, {two} and {three} for `lstm`" in page
