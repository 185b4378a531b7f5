"""What a run forecasts of test, as rows: against its metrics and against the series itself."""

import csv
import io
from types import SimpleNamespace

import numpy as np
import pytest

from harness.data.sequences import dataset, forecasts
from harness.preflight.disk import BLOCK, forecast_bytes
from harness.settings import Budget, Options, Settings
from harness.training import forecast_file
from harness.training.messages import RunEnded
from harness.training.pack import Pack
from harness.training.plan import Plan, Run


def ended(corpus, objective, **options):
    """Trains two runs until they know something; returns settings and how the second ended."""
    settings = Settings(
        cell="lstm",
        task="forecasting",
        corpus=corpus,
        options=Options.of({"length": 130, **options}),
        bptt_length=6,
        batch_size=5,
        hidden_size=3,
        precision="float64",
        engine="reference",
        optimizer="adam",
        learning_rate=0.1,
        budget=Budget(updates=25),
        evaluations=1,
        threads=1,
    )
    runs = (Run("r0", (0,), settings), Run("r1", (1,), settings))
    pack = Pack(Plan(runs, objective, version=2, read_test=True))
    try:
        ends = [each for each in pack.advance() if isinstance(each, RunEnded)]
    finally:
        pack.close()
    return settings, ends[-1]


def columns_of(end):
    """Returns name -> values; those of numbers are arrays."""
    rows = list(csv.DictReader(io.StringIO(end.forecast)))
    texts = {name: [row[name] for row in rows] for name in rows[0]}
    return {n: v if n in ("time", "column") else np.array(v, float) for n, v in texts.items()}


@pytest.mark.parametrize(
    "head, objective", [("value", "mse"), ("gaussian", "nll"), ("quantiles", "crps")]
)
def test_a_run_has_the_errors_and_the_coverage_that_its_rows_show(head, objective):
    _, end = ended("sine", f"validation/{objective}", head=head)
    assert end.not_learned is False  # of one that has not, the metrics are a guess's
    found = columns_of(end)
    assert len(found["truth"]) == 13 and set(found["steps_ahead"]) == {1}
    error = np.abs(found["forecast"] - found["truth"]).mean()
    assert error == pytest.approx(end.metrics["test/mae_sine"], rel=1e-9)
    assert ("low" in found) == (head != "value")
    if head != "value":
        covered = (found["low"] <= found["truth"]) & (found["truth"] <= found["high"])
        assert covered.mean() == pytest.approx(end.metrics["test/coverage_sine"])


def test_rows_are_of_the_last_point_ahead_column_by_column_and_no_more_than_may_be(monkeypatch):
    monkeypatch.setattr(forecast_file, "MOST_ROWS", 23)
    settings, end = ended("lorenz", "validation/mse", horizon=2)
    windows, found = dataset.load(settings).windows, columns_of(end)
    assert found["column"][:4] == ["x", "y", "z", "x"] and len(found["time"]) == 21
    assert found["time"][0] == str(windows.series.times[windows.splits["test"].start + 1])
    for name, values in (
        ("truth", windows.truth("test")),
        ("naive", forecasts.naive(windows, "test")),
    ):
        assert found[name].reshape(7, 3).tolist() == values[:7, 1].tolist()


@pytest.mark.parametrize("head, objective", [("value", "mse"), ("gaussian", "nll")])
def test_a_file_takes_the_room_that_check_says(head, objective):
    settings, end = ended("lorenz", f"validation/{objective}", head=head, length=1500)
    expected = forecast_bytes(SimpleNamespace(settings=settings))
    assert 7 * BLOCK < len(end.forecast) < expected < len(end.forecast) + 2 * BLOCK
