"""What a study's design can show, and which designs are refused since they can never decide."""

import math
from dataclasses import replace

import pytest
import small_study

from harness import study
from harness.preflight import history, power_table
from harness.preflight.design import DesignError, check_design, design_problem
from harness.statistics import inference, power
from harness.tasks.objective import PERPLEXITY


@pytest.fixture
def loaded(tmp_path):
    """A study that was never run."""
    return study.load(small_study.write(tmp_path))


def values(rows, label):
    return next(row.values for row in rows if row.label == label)


def test_the_power_table_is_that_of_the_design(loaded):
    spread = history.Spread("this study", {"a": 0.004, "b": 0.008, "c": 0.006}, 9)
    rows = power_table.rows(loaded, spread)
    shown = [power.detectable(s, 6, 1, threshold=0.05, power=0.8) for s in (0.004, 0.008)]
    assert values(rows, "spread") == ("0.4 %", "0.8 %")
    assert values(rows, "can show") == tuple(PERPLEXITY.amount(s) for s in shown)
    half = [2.015048 * s / math.sqrt(6) for s in (0.004, 0.008)]  # t of 5 degrees of freedom
    assert values(rows, "equivalence") == tuple(PERPLEXITY.amount(s) for s in half)
    assert values(power_table.rows(loaded, None), "spread") == ("0.5 %", "1 %", "2 %")


def test_a_sequential_design_says_how_many_seeds_it_would_take(loaded):
    sequential = replace(loaded, replicate=study.Replicate(10, until=0.005, at_most=40))
    rows = power_table.rows(sequential, None)
    half, t = math.log1p(0.005), 2.262157  # of 9 degrees of freedom
    wanted = [max(10, math.ceil((t * math.log1p(s) / half) ** 2)) for s in power_table.SPREADS]
    assert values(rows, "seeds") == tuple(map(str, wanted)) and wanted[-1] > 40
    widths = [
        t * math.log1p(s) / math.sqrt(min(n, 40))
        for s, n in zip(power_table.SPREADS, wanted, strict=True)
    ]
    assert values(rows, "can show") == tuple(PERPLEXITY.amount(w) for w in widths)
    assert "of the first stage; 0.05 takes 6 seeds" in rows[2].text


def test_a_repeated_design_pairs_repeats(loaded):
    repeated = replace(loaded, tune=replace(loaded.tune, repeats=7))
    rows = power_table.rows(repeated, None)
    assert rows[1].text == "7 repeats, each of 4 trials and 6 seeds"
    assert rows[2].text == f"{inference.smallest_p(7):.3g} by sign flips; 0.05 takes 6 repeats"


THREE = (
    "arms:\n    narrow: {hidden_size: 3}\n    wide: {hidden_size: 16}\n    wider: {hidden_size: 18}"
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            [("seeds: 6", "seeds: 2")],
            r"^\S+small.yaml:\d+:20: replicate.seeds: the smallest sign-flip p, .* got seeds=2, "
            r".* Write seeds: 6 .*\[too-few-pairs\]$",
        ),
        (
            [("batch: 2", "batch: 2\n  repeats: 5")],
            r"tune.repeats: .* but got repeats=5, .* Write repeats: 6 or more",
        ),
        (
            [("seeds: 6", "seeds: {until: 0.01, at_most: 40, first: 5}")],
            r"replicate.seeds.first: .* but got first=5, .* Write first: 6 or more",
        ),
        (
            [("arms:\n    narrow: {hidden_size: 3}\n    wide: {hidden_size: 16}", THREE)],
            r"must not exceed 0.05/2 \(2 comparisons\), but got seeds=6, .* Write seeds: 7 or more",
        ),
        (
            [("runtime: none", "runtime: {rounds: 5, seconds: 0.1}")],
            r"measure.runtime.rounds: the smallest sign-test p, .* but got rounds=5, .* "
            "Write rounds: 6 or more",
        ),
        (
            [("hidden_size: 16}", "hidden_size: 16, token: word}")],
            r"compare: an arm must read the text of the baseline \(narrow\) .* "
            r"Write texts under across, .*\[nothing-compared\]$",
        ),
    ],
)
def test_a_design_that_can_never_decide_is_refused(tmp_path, changes, message):
    path = small_study.write(tmp_path)
    text = path.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    assert design_problem(study.load(path)) is not None
    with pytest.raises(DesignError, match=message):
        check_design(study.load(path), force=False)
    check_design(study.load(path), force=True)
