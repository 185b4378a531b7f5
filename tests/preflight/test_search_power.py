"""What check says of a search's size is what the simulation counted."""

from pathlib import Path

import pandas as pd
import pytest

from harness import study
from harness.preflight import search_power
from harness.preflight.search_power import FOUND, NOISES

TABLE = Path(__file__).parents[2] / "studies" / "results" / "search-simulation.csv"
STUDY = """
study: sizes
version: 2
question: How much does a search of this size find?
compare: {cross: {cell: [lstm, gru]}, baseline: {cell: lstm}}
tune: {learning_rate: {low: 0.003, high: 0.1, log: true}, SIZE}
fix: {corpus: time-machine, hidden_size: 16}
"""


def rows_of(size):
    loaded = study.loads(STUDY.replace("SIZE", size))
    return [(row.label, row.text, row.values) for row in search_power.rows(loaded)]


def test_the_counts_are_those_of_the_committed_table():
    table = pd.read_csv(TABLE)
    for size, by_percent in FOUND.items():
        for percent, counts in by_percent.items():
            rows = table[
                (table["landscape"] == f"{percent} % worse")
                & table["shared"]
                & (table["trials"] == size.trials)
                & (table["seeds"] == size.seeds)
                & (table["finalists"] == size.finalists)
            ].set_index("noise")
            assert tuple(rows.loc[list(NOISES), "told_apart"]) == counts
            assert (rows["studies"] == search_power.NUM_STUDIES).all()
            assert (rows["cost"] == size.cost).all()


def test_a_study_is_told_what_the_largest_search_within_its_own_finds():
    assert rows_of("trials: 12, seeds: 4")[0][1].startswith("8 trials with 3 seeds each; simulated")
    rows = rows_of("trials: 8")
    assert rows[0] == (
        "search",
        "8 trials; simulated, with noise of seeds of",
        ("0.5 %", "2 %", "5 %"),
    )
    assert rows[1][1:] == ("  an arm that is 5 % worse is found in", ("100 %", "20 %", "1 %"))
    advice = ("  5 %, by 8 trials, 3 finalists with 5 seeds", ("100 %", "76 %", "10 %"))
    assert rows[-1][1:] == advice
    best = rows_of("trials: 8, finalists: 3, finalist_seeds: 5")
    assert best[1][2] == ("100 %", "76 %", "10 %") and len(best) == 3


def test_a_small_search_is_told_what_it_can_do():
    rows = rows_of("trials: 4")
    assert rows[0][1] == "4 trials: a difference of 28 % shows; less was not simulated"
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("old", "new"), [("version: 2", "version: 1"), ("trials: 8", "trials: 8, repeats: 5")]
)
def test_nothing_is_said_where_a_verdict_owes_nothing_to_one_search(old, new):
    loaded = study.loads(STUDY.replace("SIZE", "trials: 8").replace(old, new))
    assert list(search_power.rows(loaded)) == []
