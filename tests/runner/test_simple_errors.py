"""What a forecasting study notes of simple forecasters, condition by condition."""

from dataclasses import replace
from types import SimpleNamespace

from harness.data.sequences import dataset
from harness.runner.simple_errors import simple_errors
from harness.settings import Options, Settings
from harness.study.units import Unit
from harness.tasks.forecast_metrics import baseline_errors


def test_each_condition_has_those_of_its_own_series_under_the_names_of_metrics():
    own = Settings(
        cell="lstm",
        task="forecasting",
        corpus="sine",
        options=Options.of({"length": 200}),
        bptt_length=8,
        batch_size=4,
    )
    sine = dataset.load(own)
    series = replace(sine.windows.series, columns=("p/e",))
    odd = replace(sine, windows=replace(sine.windows, series=series))
    adding = dataset.load(replace(own, task="memory", corpus="adding", options=None))
    datasets = {Unit("lstm", "a"): sine, Unit("lstm", "b"): odd, Unit("lstm", "c"): adding}
    study = SimpleNamespace(
        conditions=("a", "b", "c"),
        under=lambda name: SimpleNamespace(baseline=SimpleNamespace(key=str(Unit("lstm", name)))),
    )
    found = simple_errors(study, datasets, {})
    assert list(found) == ["a", "b"]
    wanted = [row for row in baseline_errors(sine.windows) if row.split == "test"]
    tested = [row for row in found["a"] if row["split"] == "test"]
    assert [(row["forecaster"], row["mae"]) for row in tested] == [
        (row.forecaster, row.mae) for row in wanted
    ]
    assert {row["column"] for row in found["a"]} == {"sine"}
    assert {row["column"] for row in found["b"]} == {"p_e"}
    noted = {"a": [{"forecaster": "as noted"}]}
    again = simple_errors(study, datasets, noted)  # a condition that came later is computed
    assert again == {"a": noted["a"], "b": found["b"]}
