"""Which arms of tasks with sequences compare; all who ask are told the same."""

import csv

import numpy as np
import pytest
from planted import BASE, UNIT, build, measuring, of_arms, run_rows

from harness import data
from harness.report.comparability import text_differences
from harness.settings import Options, Settings
from harness.study import Arm


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """A file of 30 sequences of 3 steps, with a rare class."""
    values = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "step", "x", "y", "label"])
        for number in range(30):
            label = "pq"[number % 3 == 0]
            writer.writerows(
                [number, step, *values.normal(size=2).round(6), label] for step in range(3)
            )
    return str(path)


SINE = {"task": "forecasting", "corpus": "sine"}
ADDING = {"task": "memory", "corpus": "adding"}
LABELS = {"task": "classification", "corpus": "labelled"}


@pytest.fixture
def settings(labels):
    def made(options, **fields):
        path = labels if fields["corpus"] == "labelled" else None
        fields = {"bptt_length": 6, "batch_size": 4, "num_held_out": 50, "path": path} | fields
        return Settings("lstm", options=Options.of(options) if options else None, **fields)

    return made


@pytest.mark.parametrize(
    ("asked", "ours", "theirs", "differ"),
    [
        (SINE, {}, {"head": "gaussian"}, {}),
        (SINE, {"length": 300, "head": "gaussian"}, {"length": 300, "head": "quantiles"}, {}),
        (SINE, {"horizon": 2}, {"horizon": 3}, {"options.horizon": (2, 3)}),
        (SINE, {"horizon": 2, "head": "gaussian"}, {}, {"options.horizon": (2, None)}),
        (LABELS, {"balanced": True}, {}, {}),
        (LABELS, {}, {"columns": "x"}, {"options.columns": (None, "x")}),
    ],
)
def test_an_option_of_the_model_is_none_of_its_sequences(settings, asked, ours, theirs, differ):
    agree(settings(ours, **asked), settings(theirs, **asked), differ)


@pytest.mark.parametrize(
    ("change", "differ"),
    [
        ({"num_sequences": 40}, {}),
        ({"test_lengths": (2,)}, {}),
        ({"num_held_out": 60}, {"num_held_out": (50, 60)}),
        ({"bptt_length": 8}, {"bptt_length": (6, 8)}),
    ],
)
def test_how_much_is_trained_on_is_none_of_what_is_judged(settings, change, differ):
    agree(settings({}, **ADDING), settings({}, **ADDING, **change), differ)


def agree(ours, theirs, differ):
    """What a report asks of settings is what a fingerprint says of the sequences."""
    assert text_differences(ours, theirs) == differ
    first, second = data.load(ours), data.load(theirs)
    assert (first.fingerprint == second.fingerprint) == (not differ)


def test_a_head_is_compared_and_another_horizon_is_told_with_its_reason(settings):
    options = {"lstm": {}, "gaussian": {"head": "gaussian"}, "far": {"horizon": 3}}
    arms = (Arm(n, settings(o, **SINE), n == "lstm") for n, o in options.items())
    planned = of_arms(*arms, measure=measuring(objective="validation/mse"))
    rows = run_rows("lstm", BASE) + run_rows("gaussian", BASE - 0.2 + 0.01 * UNIT)
    shown = build(planned, rows + run_rows("far", BASE))
    assert shown.table["verdict"].tolist() == ["baseline", "better", "not comparable"]
    reason = "far and lstm do not compare: options.horizon differs (none and 3)."
    assert reason in shown.sentences[1]
