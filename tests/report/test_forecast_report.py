"""Forecasts in a report, from planted numbers: the table of errors, and the figure."""

from dataclasses import asdict

import numpy as np
import pandas as pd
from planted import BASE, across, run_rows, study, under

from harness import report
from harness.store import frames
from harness.store.notes import StudyNotes
from harness.study.units import Unit
from harness.tasks.forecast_metrics import ErrorRow

SIMPLE = [
    ErrorRow("naive", "validation", "heat", 9.0, 9.0, 9.0),
    ErrorRow("naive", "test", "heat", 2.0, 2.5, 1.0),
    ErrorRow("seasonal naive", "test", "heat", None, None, None, "no season is seen in train"),
]


def rows(arm, mae, states=None, **more):
    """The replicates of an arm, ``mae`` a replicate."""
    found = run_rows(arm, BASE[: len(mae)], states=states)
    return [
        {**row, "test/mae_heat": value, "test/rmse_heat": 2 * value, **more}
        for row, value in zip(found, mae, strict=True)
    ]


def built(planned, run_rows, simple):
    simple = {name: [asdict(row) for row in errors] for name, errors in simple.items()}
    frame = pd.DataFrame(run_rows)
    return report.build(planned, frame, pd.DataFrame(), pd.DataFrame(), simple_errors=simple)


def table_of(condition):
    found = [each for each in condition.beside if each.title.startswith("Errors of the forecasts")]
    return found[0] if found else None


def test_the_arms_stand_below_simple_forecasters_with_the_means_of_what_finished():
    runs = [*rows("lstm", (1.0, 2.0, 6.0), ["finished", "finished", "diverged"])]
    guesses = rows("gru", (1.0, 1.0), **{"test/mase_heat": 0.25})
    runs += [{**guesses[0], "not_learned": True}, guesses[1]]
    found = table_of(built(study("lstm", "gru"), runs, {"": SIMPLE}).conditions[0])
    assert found.header == ("Forecaster", "MAE", "RMSE", "MASE", "Remark")
    assert found.rows == [
        ("naive", "2", "2.5", "1", ""),
        ("seasonal naive", "", "", "", "no season is seen in train"),
        ("lstm", "1.5", "3", "", "the mean of 2 replicates"),
        ("gru", "1", "2", "0.25", "the mean of 2 replicates, 1 at the guess"),
    ]


def test_distributions_have_their_score_and_the_coverage_of_their_interval():
    told = {"test/crps_heat": 0.75, "test/coverage_heat": 0.875}
    runs = [*rows("lstm", (1.0, 2.0), **told), *rows("gru", (1.0, 1.0))]
    found = table_of(built(study("lstm", "gru"), runs, {"": SIMPLE[1:2]}).conditions[0])
    assert found.header[4:6] == ("CRPS", "Coverage of 90 %")
    assert [row[4:6] for row in found.rows] == [("", ""), ("0.75", "0.875"), ("", "")]


def test_conditions_and_columns_have_their_own_rows():
    planned = across(study("lstm", "gru"), old="time-machine", new="time-machine-2022")
    new = [*SIMPLE[1:2], ErrorRow("naive", "test", "rain", 7.0, 8.0, 3.0)]
    shown = built(planned, under("old", rows("lstm", (1.0,))), {"old": SIMPLE[1:2], "new": new})
    old, new = map(table_of, shown.conditions)
    assert [row[0] for row in old.rows] == ["naive", "lstm"]
    assert new.rows == [("naive", "heat", "2", "2.5", "1"), ("naive", "rain", "7", "8", "3")]


def test_a_study_that_forecasts_nothing_has_no_such_table():
    shown = built(study("lstm", "gru"), run_rows("lstm", BASE), {})
    assert table_of(shown.conditions[0]) is None


def test_the_store_keeps_the_errors_of_runs_and_of_simple_forecasters():
    metrics = {"test/mae_heat": 0.5, "test/mae": 0.1}
    tags = {"phase": "replicate", "index": "0", "state": "finished"}
    run = frames.StoredRun("r", Unit("lstm"), tags, metrics, {}, [], True, None)
    frame = frames.runs([run])
    assert frame.loc[0, "test/mae_heat"] == 0.5 and "test/mae" not in frame
    notes = StudyNotes(simple_errors={"": [asdict(row) for row in SIMPLE]})
    assert StudyNotes.from_texts(notes.to_texts()) == notes
    before = {**StudyNotes().to_texts(), "simple_errors": None}
    assert StudyNotes.from_texts(before).simple_errors == {}


def stored(interval="", columns=("heat",)):
    """The frame of two arms: ``forecast`` is one above what was, and there are 300 points."""
    header = f"time,column,steps_ahead,truth,naive,forecast{',low,high' if interval else ''}"
    lines = [
        f"{time}.0,{column},2,{time},{time - 2},{time + 1}{interval}"
        for time in range(300)
        for column in columns
    ]
    content = "\n".join([header, *lines, ""]).encode()
    return frames.forecasts([(Unit("gru"), content), (Unit("lstm"), content)])


def drawn(found):
    """Builds the report of forecasts and returns its figures of them."""
    runs = [*run_rows("lstm", BASE), *run_rows("gru", BASE)]
    frame = pd.DataFrame(runs)
    shown = report.build(
        study("lstm", "gru"), frame, pd.DataFrame(), pd.DataFrame(), forecasts=found
    )
    return [f for f in shown.conditions[0].objective_figures if f.name.startswith("forecasts")]


def test_every_forecaster_has_a_panel_with_what_was_and_what_it_said():
    (figure,) = drawn(stored())
    panels = figure.figure.axes
    assert [axes.get_title(loc="left") for axes in panels if axes.lines] == ["naive", "lstm", "gru"]
    for axes, ahead in zip(panels, (-2, 1, 1), strict=False):
        truth, forecast = (np.asarray(line.get_ydata(), float) for line in axes.lines)
        assert len(truth) == 200 and (forecast - truth == ahead).all()
    assert "2 points ahead" in figure.label and "nine in ten" not in figure.label
    assert figure.points[0].text == "naive: -2 where it was 0 at 0"


def test_intervals_are_drawn_and_a_few_columns_have_a_figure_each():
    figures = drawn(stored(",-5,7", ("heat", "rain", "wind", "snow")))
    assert [figure.name for figure in figures] == ["forecasts-1", "forecasts-2", "forecasts-3"]
    assert "nine in ten" in figures[0].label
    band = figures[0].figure.axes[1].collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (-5, 7)


def test_a_study_that_forecasts_nothing_draws_none():
    assert drawn(None) == [] and frames.forecasts([]).empty
