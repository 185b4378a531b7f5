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
    nearest = rows_of("trials: 12, seeds: 4")[1][1]
    assert nearest.endswith("; the nearest below are 8 trials of 3 seeds.")
    (label, text, _), *rows = rows_of("trials: 8")
    assert label == "search" and text.startswith("An arm's trials may miss its best setting.")
    assert rows == [
        ("", "How many of 400 simulated studies found that an arm is worse:", ()),
        ("", "where seeds alone make runs differ by", ("0.5 %", "2 %", "5 %")),
        ("", "  by 5 %: 8 trials", ("100 %", "20 %", "1 %")),
        ("", "  by 10 %: 8 trials", ("100 %", "93 %", "12 %")),
        ("", "  by 5 %: 8 trials, 3 finalists of 5 seeds", ("100 %", "76 %", "10 %")),
    ]
    best = rows_of("trials: 8, finalists: 3, finalist_seeds: 5")
    assert best[3][2] == ("100 %", "76 %", "10 %") and len(best) == 5


def test_a_small_search_is_told_what_it_can_do():
    rows = rows_of("trials: 4")
    known = "4 trials of one field found an arm that is 28 % worse in at least 98 % of 400 "
    assert rows[1][1].startswith(known)
    assert rows_of("trials: 3")[1][1].startswith(f"3 trials were not simulated. {known}")
    table = pd.read_csv(TABLE).query("landscape == 'first study, 28 % worse' and grid")
    assert set(table["trials"]) == {4} and len(rows) == 5
    assert table["told_apart"].min() == search_power.LEAST_OF_4_TRIALS


ERROR_TITLES = {"mse": "mean squared error", "accuracy": "accuracy"}


def test_the_counts_of_errors_are_those_of_the_committed_table():
    table = pd.read_csv(TABLE)
    for key, by_size in search_power.ERRORS_FOUND.items():
        for size, by_times in by_size.items():
            for times, counts in by_times.items():
                rows = table[
                    (table["landscape"] == f"{ERROR_TITLES[key]}, {times:g} times the errors")
                    & table["shared"]
                    & (table["trials"] == size.trials)
                    & (table["finalists"] == size.finalists)
                ].set_index("noise")
                assert tuple(rows.loc[list(search_power.ERROR_NOISES), "told_apart"]) == counts
                assert (rows["studies"] == search_power.NUM_STUDIES).all()


SERIES = STUDY.replace(
    "corpus: time-machine,", "task: forecasting, corpus: sine, bptt_length: 6, options: OPTIONS,"
)


def test_counts_of_perplexities_are_not_told_of_errors():
    loaded = study.loads(SERIES.replace("SIZE", "trials: 4").replace("OPTIONS", "{horizon: 1}"))
    rows = [(row.text, row.values) for row in search_power.rows(loaded)]
    assert rows[1] == ("4 trials were not simulated.", ())
    assert rows[3:5] == [
        ("where seeds alone make errors differ by", ("10 %", "30 %")),
        ("  1.5 times: 8 trials", ("73 %", "3 %")),
    ]
    loaded = study.loads(
        SERIES.replace("SIZE", "trials: 8").replace("OPTIONS", "{head: quantiles}")
        + "measure: {objective: validation/crps}\n"
    )
    (_, row) = search_power.rows(loaded)
    assert row.text.startswith("How large they must be was not simulated for the ")


@pytest.mark.parametrize(
    ("old", "new"), [("version: 2", "version: 1"), ("trials: 8", "trials: 8, repeats: 5")]
)
def test_nothing_is_said_where_a_verdict_owes_nothing_to_one_search(old, new):
    loaded = study.loads(STUDY.replace("SIZE", "trials: 8").replace(old, new))
    assert list(search_power.rows(loaded)) == []
