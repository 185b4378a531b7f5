"""Figures that a page quotes are those of the file that it names."""

import json
import re
from pathlib import Path
from statistics import median

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


def test_how_fast_a_cell_writes_is_quoted_from_its_record():
    page = " ".join((ROOT / "docs/how-to/cost.md").read_text(encoding="utf-8").split())
    record = json.loads((ROOT / "studies/bench/cost.json").read_text(encoding="utf-8"))
    made, (lstm, gru) = record["made"], record["cells"]
    assert (lstm["cell"], gru["cell"]) == ("lstm", "gru")
    one, two = (median(cell["times"]["token"]["seconds"]) for cell in (lstm, gru))
    reading = median(lstm["reading_seconds"])
    assert f"takes {1e6 * one:.1f} us on one core of an {made['processor']}" in page
    assert f"GRU {1e6 * two:.1f} us" in page
    assert f"{1 / one:,.0f} and {1 / two:,.0f} characters a second" in page
    assert f"alone are read in {1e6 * reading:.1f} us" in page
    when = f"commit {made['git_commit'][:7]}, {made['date'][:10]}, torch"
    assert f"V = {record['num_tokens']}; {when} {made['version_torch'].split('+')[0]}" in page


def test_the_words_that_a_newcomer_is_told_are_those_that_the_decision_counts():
    first_floor = (ROOT / "README.md").read_text(encoding="utf-8").split("\n---\n")[0]
    before, after = first_floor.split("## Its verdict")
    told = re.compile(r"(?<!\*)\*{1,2}([A-Za-z ]+)\*{1,2}(?!\*)")
    words = [[word.lower() for word in told.findall(part)] for part in (before, after)]
    page = (ROOT / "docs/decisions/first_contact.md").read_text(encoding="utf-8")
    counted = page.split("*Words*, ")[1].split("**Choice.**")[0]
    assert words[0] == ["cells", "perplexity"]
    assert "explains two, *cell* and *perplexity*" in counted
    assert len(words[1]) == 8 and "seven words of the table" in counted
    assert all(f"*{word}*" in counted for word in words[1])
    study = before.split("```yaml")[1].split("```")[0]
    assert study.count("#") == 6 and "six of its lines" in counted
