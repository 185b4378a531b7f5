"""What test sequences of other lengths show, from planted numbers: the table and the figure."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted import BASE, measuring, run_rows, study

from harness import report
from harness.report import lengths
from harness.settings import Settings
from harness.store import frames
from harness.study.units import Unit

ERRORS = {1: 0.1, 2: 0.2, 4: 0.4}
"""Length -> the rate of errors of the first arm's replicates, whose range is 0.02 to each side."""


def memory_study(*names, objective="validation/accuracy", **changed):
    """A study of the Markov source of 40 steps, as that arms are trained on."""
    settings = Settings(cell="lstm", corpus="markov", task="memory", bptt_length=40, **changed)
    planned = study(*names, measure=measuring(objective=objective))
    return replace(planned, arms=tuple(replace(arm, settings=settings) for arm in planned.arms))


def runs_of(arm, errors, excess=None, learned=(True, True, True), **more):
    """Three replicates: the middle one is what ``errors`` say of each length, or another loss."""
    rows = run_rows(arm, BASE[:3], **more)
    for row, shift, has_learned in zip(rows, (-0.02, 0.0, 0.02), learned, strict=True):
        row |= {f"test/{n}x_loss": value + shift for n, value in errors.items() if n > 1}
        row |= {"test/loss": errors[1] + shift, "not_learned": not has_learned}
        row |= {} if excess is None else {"test/excess": excess + shift, "test/macro_f1": 0.5}
    return rows


def built(planned, rows):
    frame = pd.DataFrame(rows)
    return report.build(planned, frame, pd.DataFrame(), pd.DataFrame()).conditions[0]


def table_of(condition):
    titles = ("Other lengths", "Beside the")
    found = [each for each in condition.beside if each.title.startswith(titles)]
    return found[0] if found else None


@pytest.fixture(scope="module")
def condition():
    """An arm that carries less and less far, and one that has learned nothing at all."""
    worse = {n: 0.7 for n in ERRORS}
    rows = runs_of("lstm", ERRORS, excess=0.05)
    rows += runs_of(
        "gru", worse, learned=(True, False, False), states=["diverged", "finished", "finished"]
    )
    return built(memory_study("lstm", "gru"), rows)


def test_an_arm_has_its_median_at_every_length_with_the_range_of_its_replicates(condition):
    table = table_of(condition)
    assert table.title == (
        "Other lengths: accuracy on test, the median of the replicates and their range"
    )
    assert table.header == (
        *("Arm", "1× (40 steps)", "2× (80 steps)", "4× (160 steps)"),
        *("Excess in nats", "Macro F1", "Remark"),
    )
    lstm, gru, guess, floor = table.rows
    assert lstm == (
        *("lstm", "0.900 (0.880 to 0.920)", "0.800 (0.780 to 0.820)", "0.600 (0.580 to 0.620)"),
        *("0.050 (0.030 to 0.070)", "0.500", ""),
    )
    assert gru[:2] == ("gru", "0.290 (0.280 to 0.300)")
    assert gru[4:] == ("", "", "2 of 2 at the guess")
    source = lengths.memory.make("markov")
    for row, level in ((guess, source.chance(40)), (floor, source.floor(40))):
        assert row[1:] == (*[f"{level.accuracy:.3f}"] * 3, "", "", "")
    assert (guess[0], floor[0]) == (lengths.GUESS, lengths.FLOOR)


def test_the_figure_has_a_line_an_arm_and_dotted_ones_of_what_is_known(condition):
    figure = condition.figures["other-lengths"]
    (axes,) = figure.figure.axes
    shown = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert list(shown) == ["lstm", "gru", "a guess", "the best there is"]
    np.testing.assert_allclose(shown["lstm"], [(1, 0.9), (2, 0.8), (4, 0.6)])
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == pytest.approx((0.58, 0.92))
    assert axes.get_xscale() == "log"
    assert "40 of training" in axes.get_xlabel() and axes.get_ylabel() == "test accuracy"
    assert figure.points[1].text == "lstm: 0.800 (0.780 to 0.820) at 2×"
    assert [p.text for p in figure.points if p.text.startswith("gru")][0].endswith("at 1×")
    # The lines of what is known are dotted, and those of arms are not.
    dotted = [line.get_linestyle() for line in axes.lines[2:]]
    assert all(line.is_dashed() for line in axes.lines[2:]), dotted


def test_an_error_that_may_be_0_has_no_such_line_on_a_logarithmic_axis():
    planned = memory_study("lstm", "gru", objective="validation/mse")
    settings = replace(planned.baseline.settings, corpus="adding")
    planned = replace(planned, arms=tuple(replace(arm, settings=settings) for arm in planned.arms))
    losses = {n: np.log(error) for n, error in ERRORS.items()}
    shown = built(planned, [*runs_of("lstm", losses), *runs_of("gru", losses)])
    assert [row[0] for row in table_of(shown).rows] == [
        *("lstm", "gru", lengths.GUESS, lengths.FLOOR)
    ]
    assert table_of(shown).rows[2][1:] == ("0.167",) * 3
    (axes,) = shown.figures["other-lengths"].figure.axes
    assert [line.get_label() for line in axes.lines] == ["lstm", "gru", lengths.GUESS]
    assert axes.get_yscale() == "log"


def test_many_arms_have_a_panel_each():
    names = [f"cell-{i}" for i in range(9)]
    shown = built(memory_study(*names), [row for name in names for row in runs_of(name, ERRORS)])
    panels = [axes for axes in shown.figures["other-lengths"].figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == names


def test_without_other_lengths_what_is_told_beside_the_objective_still_is():
    rows = [{**row, "test/macro_f1": 0.25} for row in run_rows("lstm", BASE[:2])]
    shown = built(study("lstm", "gru"), rows)
    assert table_of(shown).header == ("Arm", "Macro F1")
    assert table_of(shown).rows == [("lstm", "0.250")]
    assert "other-lengths" not in shown.figures
    assert table_of(built(study("lstm", "gru"), run_rows("lstm", BASE))) is None


def test_what_no_arm_is_told_beside_the_objective_has_no_column():
    """Of each arm one replicate is at the guess, which has no F1."""
    rows = [row for name in ("lstm", "gru") for row in runs_of(name, ERRORS, excess=0.05)]
    rows[0]["test/macro_f1"] = rows[3]["test/macro_f1"] = math.nan
    header = table_of(built(memory_study("lstm", "gru"), rows)).header
    assert "Excess in nats" in header and "Macro F1" not in header


def test_the_store_keeps_what_test_tells_beside_and_of_other_lengths():
    told = {"test/2x_loss": 0.5, "test/excess": 0.1, "test/accuracy": 0.75}
    told |= {"test_2x/accuracy": 0.25}  # as earlier versions stored it
    tags = {"phase": "replicate", "index": "0", "state": "finished"}
    run = frames.StoredRun("r", Unit("lstm"), tags, told, {}, [], True, None)
    frame = frames.runs([run])
    names = ["test/2x_loss", "test/2x_accuracy", "test/excess"]
    assert frame.loc[0, names].tolist() == [0.5, 0.25, 0.1]
    assert "test/accuracy" not in frame


def test_images_that_lie_elsewhere_leave_the_dotted_lines_out():
    planned = memory_study("lstm", "gru", path="/nowhere")
    settings = replace(planned.baseline.settings, corpus="mnist")
    planned = replace(planned, arms=tuple(replace(arm, settings=settings) for arm in planned.arms))
    assert lengths.bounds(planned, [1, 2]) == {}
