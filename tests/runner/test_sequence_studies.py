"""Studies of tasks other than language modelling, from a file to a verdict and a saved model."""

import csv

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

import harness
from harness import study as studies
from harness.data.sequences import dataset
from harness.preflight import history
from harness.results import compare, export
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
HEADS = {
    "arms": {"lstm": {}, "gaussian": {"options": {"length": 400, "head": "gaussian"}}},
    "baseline": "lstm",
}
LABELS = {"task": "classification", "corpus": "labelled", "bptt_length": 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sequences")


@pytest.fixture(scope="module")
def reports(folder):
    sine = study("sine", SERIES | {"cell": "lstm"}, states=True)
    labels = LABELS | {"path": labelled_csv(folder / "labels.csv")}
    return {
        "adding": harness.run(study("adding", MEMORY, target=0.1, margin=0.1), folder),
        "sine": harness.run(sine | {"compare": HEADS}, folder),
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
    assert [row[0] for row in table.rows] == [*simple, "lstm", "gaussian"]
    assert "forecasts" in condition.figures and "forecasts" not in reports["adding"].figures
    reader = StudyReader(f"sqlite:///{folder}/mlflow.db", "sine")
    assert {row["split"] for row in reader.notes().simple_errors[""]} == {"validation", "test"}
    kept = reader.forecasts()
    assert kept.groupby("arm").size().to_dict() == {"lstm": 40, "gaussian": 40}


def test_errors_of_scaled_values_are_called_so(reports):
    title = "Mean squared error (test, of scaled values)"
    assert reports["sine"].conditions[0].verdicts.title == title
    assert title in reports["sine"].markdown() and title in reports["sine"].html()
    assert "of scaled values" not in reports["adding"].html()


def test_the_time_to_solve_is_compared_by_a_log_rank_test(reports):
    assert "log-rank" in reports["adding"].markdown()
    assert "log-rank" not in reports["sine"].markdown()


def test_a_test_set_of_few_targets_is_told_beside_the_verdict(reports, folder):
    (told,) = [line for line in reports["labels"].warnings if "one target of the" in line]
    assert "of the accuracy, more than the margin of 0.01" in told
    kept = StudyReader(f"sqlite:///{folder}/mlflow.db", "labels").notes()
    assert told in kept.warnings  # so that a report from the store has it too
    assert not any("one target of the" in line for line in reports["sine"].warnings)


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


def test_two_heads_are_compared_wherever_it_is_asked(reports, folder):
    """In a study, of stored arms, and in what earlier studies tell of a design."""
    assert reports["sine"].table["pairs"].tolist()[1] == 6
    names = ["sine:lstm", "sine:gaussian"]
    beside = compare.compare(names, Locations(folder))
    shown = beside.report.table, reports["sine"].table
    for column in ("verdict", "ratio", "p"):
        assert shown[0][column].iloc[1] == shown[1][column].iloc[1]
    (row,) = [row for row in beside.differences.rows if row[0] == "options"]
    assert row[1:] == ("length: 400", "head: gaussian length: 400")
    other = compare.compare(["sine:lstm", "adding:lstm"], Locations(folder))
    assert other.report is None and "the sequences differ; corpus adding and sine" in other.lines[1]


def test_earlier_studies_tell_how_pairs_spread_where_they_are_compared_alike(reports, folder):
    likewise = studies.from_dict(study("other", SERIES))
    known = {each.title: each for each in history.History(likewise, Locations(folder))}
    assert set(history.spread(likewise, known["sine"]).nats) == {"gaussian"}
    assert history.spread(likewise, known["adding"]) is None  # other sequences
    by_distance = studies.from_dict(study("other", SERIES, objective="validation/mae"))
    assert history.spread(by_distance, known["sine"]) is None


def test_what_belongs_to_language_says_so(reports, folder):
    model = harness.load_model("adding:lstm:1000", folder)
    with pytest.raises(ValueError, match=r"must be a model of language .* task='memory'"):
        model.sample("the ")
    with pytest.raises(ValueError, match=r"inputs: must be \(S, T, 2\), but got shape=\(3, 4\)"):
        model.predict(np.zeros((3, 4)))
