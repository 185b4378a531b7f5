"""What an arm that is undecided or not comparable says would decide it."""

import planted
from planted import BASE, build, run_rows, search_of, trial_rows
from planted_searches import FALLING, RATES, U_SHAPE, of, printed, searched

from harness.statistics import decisions
from harness.study import Choices, Replicate


def test_a_grid_that_is_open_asks_for_values_and_for_no_further_trials():
    """``at_most`` beside a grid is refused."""
    space = {"learning_rate": Choices(tuple(RATES))}
    built = of(lstm=FALLING, tune=search_of(6, sampler="grid", space=space))
    outlook = "More values beyond the ends of the grid would tell."
    assert built.sentences[0].endswith(f" {outlook}")
    assert outlook in printed(built) and "at_most" not in printed(built, True)


def test_an_arm_that_the_search_leaves_undecided_where_a_pair_diverged_says_why():
    states = ["finished"] * 9 + ["diverged"]
    rows = trial_rows("lstm", U_SHAPE) + trial_rows("gru", [*U_SHAPE[1:], 1.9])
    rows += run_rows("lstm", BASE) + run_rows("gru", BASE + 1e-4, states=states)
    for row in rows[12:]:
        row["objective"] = row["test/loss"]
    built = build(searched("lstm", "gru"), rows)
    decision = built.results[1].decision
    assert decision.verdict == "undecided" and decision.adjusted_p < 0.05
    (line,) = built.undecided
    near = built.results[1].objective.amount(
        decisions.SEARCH_FACTOR * built.results[1].search_spread
    )
    assert line == (
        f"gru: Pairs that differ by less than {near} count against it, as another search may"
        " differ."
    )
    ends = ["finished", "finished", "diverged", "diverged"]
    few = [row for arm in ("lstm", "gru") for row in trial_rows(arm, [1.6, 1.4, 3.4, 3.4], ends)]
    built = build(searched("lstm", "gru", tune=search_of(4)), few + rows[12:])
    (line,) = built.undecided
    assert line == (
        "gru: How far this hangs on the settings that were tried is not known. More trials may"
        " decide it."
    )


def test_a_spread_that_is_not_known_leaves_the_arm_undecided():
    rows = trial_rows("lstm", U_SHAPE) + trial_rows("gru", U_SHAPE)
    built = build(searched("lstm", "gru"), rows + planted.pair(0.3, 0.02))
    assert built.results[1].decision.verdict == "undecided"
    assert built.sentences[0].endswith(
        " How far this hangs on the settings that were tried is not known. More trials may decide"
        " it."
    )


def test_repeats_that_leave_an_arm_undecided_blame_no_search():
    """They hold its spread, whether it is known or not."""
    planned = searched("lstm", "gru", tune=search_of(6, repeats=8), replicate=Replicate(1))

    def rows(end):
        for repeat in range(8):
            found = trial_rows("lstm", U_SHAPE) + trial_rows("gru", U_SHAPE)
            shift = 0.1 if repeat % 2 else -0.1
            ends = [end] if repeat == 0 else ["finished"]
            found += run_rows("lstm", [1.4]) + run_rows("gru", [1.4 + shift], states=ends)
            yield from ({**row, "repeat": repeat} for row in found)

    for end in ("finished", "diverged"):
        built = build(planned, list(rows(end)))
        assert built.results[1].decision.verdict == "undecided"
        assert built.results[1].search_spread is None
        text = built.sentences[0] + built.markdown()
        assert "More trials" not in text and "is not known" not in text
