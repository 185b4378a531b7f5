"""Studies of tasks other than language modelling, from a file to a verdict and a saved model."""

import csv

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

import harness
from harness.data.sequences import dataset
from harness.results import export
from harness.store import frames
from harness.store.locations import Locations
from harness.store.reader import StudyReader


def study(name, fix, cells=("lstm", "rnn-tanh"), **measure):
    return {
        "study": name,
        "version": 2,
        "question": "Which of two learns it?",
        "compare": {"cross": {"cell": list(cells)}, "baseline": {"cell": cells[0]}},
        "fix": {
            "batch_size": 8,
            "hidden_size": 6,
            "optimizer": "adam",
            "learning_rate": 0.02,
            "budget": {"updates": 40},
            "evaluations": 2,
            **fix,
        },
        "replicate": {"seeds": 6},
        "measure": {"runtime": None, **measure},
    }


def labelled_csv(path):
    """Writes 60 sequences whose sum's sign is their label, of 3 to 7 steps."""
    draws = np.random.default_rng(3)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "step", "x", "label"])
        for number in range(60):
            values = draws.normal(size=3 + number % 5)
            label = "up" if values.sum() > 0 else "down"
            writer.writerows([f"s{number}", k, x, label] for k, x in enumerate(values))
    return str(path)


MEMORY = {
    "task": "memory",
    "corpus": "adding",
    "bptt_length": 6,
    "num_held_out": 400,  # of fewer, a guess's luck is wide, and little would count as learned
    "budget": {"updates": 250},
}
SERIES = {"task": "forecasting", "corpus": "sine", "bptt_length": 10, "options": {"length": 400}}
LABELS = {"task": "classification", "corpus": "labelled", "bptt_length": 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sequences")


@pytest.fixture(scope="module")
def reports(folder):
    labels = LABELS | {"path": labelled_csv(folder / "labels.csv")}
    return {
        "adding": harness.run(study("adding", MEMORY, target=0.1, margin=0.1), folder),
        "sine": harness.run(study("sine", SERIES, states=True), folder),
        "labels": harness.run(study("labels", labels), folder),
    }


@pytest.mark.parametrize(
    "name, key, words",
    [
        ("adding", "mse", "mean squared error"),
        ("sine", "mse", "mean squared error"),
        ("labels", "accuracy", "accuracy"),
    ],
)
def test_a_study_comes_to_a_verdict_in_the_words_of_its_task(reports, name, key, words):
    shown = reports[name]
    assert list(shown.table["finished"]) == [6, 6]
    assert key in shown.table and words in shown.sentences[0]
    assert "on these sequences" in shown.sentences[0]
    text = shown.html() + shown.markdown() + shown.latex() + shown.note()
    for other in ("erplexit", " nats", "the text", "this text"):
        assert other not in text


def test_forecasts_stand_beside_simple_ones_in_a_table_and_are_drawn(reports, folder):
    (condition,) = reports["sine"].conditions
    (table,) = [each for each in condition.beside if each.title.startswith("Errors of the forec")]
    simple = ["naive", "seasonal naive", "linear autoregression"]
    assert [row[0] for row in table.rows] == [*simple, "lstm", "rnn-tanh"]
    assert "forecasts" in condition.figures and "forecasts" not in reports["adding"].figures
    reader = StudyReader(f"sqlite:///{folder}/mlflow.db", "sine")
    assert {row["split"] for row in reader.notes().simple_errors[""]} == {"validation", "test"}
    kept = reader.forecasts()
    assert kept.groupby("arm").size().to_dict() == {"lstm": 40, "rnn-tanh": 40}


def test_the_time_to_solve_is_compared_by_a_log_rank_test(reports):
    assert "log-rank" in reports["adding"].markdown()
    assert "log-rank" not in reports["sine"].markdown()


@pytest.mark.parametrize("name, width", [("adding", 1), ("sine", 1), ("labels", 2)])
def test_a_model_that_was_kept_predicts_what_was_evaluated(reports, folder, name, width):
    model = harness.load_model(f"{name}:lstm:1000", folder)
    data = dataset.load(model.settings)
    part = data.splits["test"]
    predicted = model.predict(part.inputs)
    assert predicted.shape == (*part.weights.shape, width)
    counted = part.weights > 0
    if data.predicts_classes:
        scores, targets = predicted[counted], part.targets[counted]
        shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        loss = -np.log(shares[np.arange(len(targets)), targets]).mean()
        stored, value = "test/accuracy", (scores.argmax(1) == targets).mean()
    else:
        loss = ((predicted[counted] - part.targets[counted]) ** 2).mean()
        stored, value = "test/mse", loss
    assert model.evaluate("test") == pytest.approx(loss, rel=1e-5)
    runs = StudyReader(f"sqlite:///{folder}/mlflow.db", name).runs()
    (run,) = runs[(runs["phase"] == "replicate") & (runs["arm"] == "lstm") & (runs["index"] == 0)][
        "run_id"
    ]
    metrics = MlflowClient(f"sqlite:///{folder}/mlflow.db").get_run(run).data.metrics
    assert metrics[stored] == pytest.approx(value, rel=1e-4)


def test_an_export_has_all_that_the_report_says_of_forecasts(reports, folder, tmp_path):
    export.export("sine", (), Locations(folder), tmp_path, ("csv",))
    errors, forecasts = frames.read_forecasts(tmp_path)
    reader = StudyReader(f"sqlite:///{folder}/mlflow.db", "sine")
    (noted,) = reader.notes().simple_errors.values()
    assert len(errors[""]) == len(noted) > 3
    for read, row in zip(errors[""], noted, strict=True):
        assert {k: v for k, v in read.items() if v == v} == {
            k: v if isinstance(v, str) else pytest.approx(v)
            for k, v in row.items()
            if v is not None
        }
    pd.testing.assert_frame_equal(forecasts, reader.forecasts(), check_dtype=False)
    assert frames.read_forecasts(folder) == (None, None)


def test_what_belongs_to_language_says_so(reports, folder):
    model = harness.load_model("adding:lstm:1000", folder)
    with pytest.raises(ValueError, match=r"must be a model of language .* task='memory'"):
        model.sample("the ")
    with pytest.raises(ValueError, match=r"inputs: must be \(S, T, 2\), but got shape=\(3, 4\)"):
        model.predict(np.zeros((3, 4)))
