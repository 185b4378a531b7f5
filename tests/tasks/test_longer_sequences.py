"""What a run learned on short sequences, tested on longer ones."""

import dataclasses

import numpy as np
import pytest
import torch

from harness.data.sequences import memory
from harness.data.sequences.dataset import load
from harness.settings import Budget, Settings, from_dict, problems_of, to_dict
from harness.tasks.sequence_prediction import SequencePrediction
from harness.training.pack import Pack
from harness.training.plan import Plan, Run
from harness.training.saved_model import SavedModel
from harness.training.shard import Shard

WITHOUT = "0627cd3a8153d20cff1902c9c7bd56b2c02fd47b99fa6c355fded0bca65cb899"
"""The fingerprint of these sequences before there was the field."""


def settings(**changed):
    fields = {
        "cell": "lstm",
        "corpus": "copy",
        "task": "memory",
        "num_held_out": 11,
        "batch_size": 4,
        "bptt_length": 24,
        "hidden_size": 7,
        "precision": "float64",
        "engine": "reference",
        "budget": Budget(updates=4),
        "evaluations": 2,
        "threads": 1,
    }
    return Settings(**fields | changed)


def end_of(own, objective, read_test=True):
    runs = (Run("a", (0,), own), Run("b", (1,), own))
    pack = Pack(Plan(runs, objective=objective, version=2, keep_models=True, read_test=read_test))
    while messages := pack.advance():
        ends = messages
    pack.close()
    return ends[-1]


@pytest.mark.parametrize("corpus, engine", [("copy", "reference"), ("adding", "cpu")])
def test_the_best_parameters_are_tested_on_longer_sequences(corpus, engine, monkeypatch):
    def evaluate(self, split, measured=Shard.evaluate, **which):
        """As if each had learned all of it, or a guess would be told in its place."""
        means = measured(self, split, **which)
        return [[0.0, 0.0, *each[2:]] for each in means] if split == "validation" else means

    monkeypatch.setattr(Shard, "evaluate", evaluate)
    own = settings(corpus=corpus, engine=engine, test_lengths=(2, 4))
    key = "accuracy" if corpus == "copy" else "mse"
    end = end_of(own, f"validation/{key}")
    parameters = {
        name: torch.from_numpy(values)
        for name, values in SavedModel.from_bytes(end.model).parameters.items()
    }
    dataset = load(own)
    layer = torch.nn.LSTM(dataset.num_inputs, 7, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(parameters["layer0.W"].T)
        layer.weight_hh_l0.copy_(parameters["layer0.R"].T)
        layer.bias_ih_l0.copy_(parameters["layer0.b"])
        layer.bias_hh_l0.zero_()
        for multiple in (2, 4):
            part = dataset.splits[f"test_{multiple}x"]
            assert part.weights.shape == (11, multiple * 24)
            inputs = torch.from_numpy(part.inputs).transpose(0, 1)
            if corpus == "copy":
                inputs = torch.nn.functional.one_hot(inputs, dataset.num_inputs).double()
            rows = layer(inputs)[0].transpose(0, 1)
            scores = (rows @ parameters["readout.W"] + parameters["readout.b"]).numpy()
            counted = part.weights > 0
            targets = part.targets[counted]
            if corpus == "copy":
                wanted = np.mean(scores[counted].argmax(1) == targets)
            else:
                wanted = np.mean((scores[counted] - targets) ** 2)
            assert end.metrics[f"test_{multiple}x/{key}"] == pytest.approx(float(wanted), rel=1e-6)
    assert f"test/{key}" in end.metrics


def test_where_the_test_set_is_not_read_longer_ones_are_not_either():
    metrics = end_of(settings(test_lengths=(2,)), "validation/accuracy", read_test=False).metrics
    assert not [name for name in metrics if name.startswith("test")]


def test_the_excess_over_the_floor_is_told_of_longer_sequences():
    task = SequencePrediction(settings(corpus="markov", test_lengths=(4,)), torch.device("cpu"))
    assert task.splits == ("train", "validation", "test", "test_4x")
    floor = memory.make("markov").scored(task.dataset.splits["test_4x"]).loss
    means = [2.0, 0.5, *(1.0 for _ in task.scoring.names[2:])]
    found = task.evaluation_metrics("test_4x", means)
    assert found["test_4x/excess"] == pytest.approx(2.0 - floor)


def test_without_the_field_all_is_as_it_was():
    plain, longer = settings(), settings(test_lengths=(2, 4))
    assert "test_lengths" not in to_dict(plain)
    assert to_dict(longer)["test_lengths"] == [2, 4]
    assert from_dict(to_dict(longer)) == longer
    first, second = load(plain), load(longer)
    assert first.fingerprint == WITHOUT == second.fingerprint  # both are judged on the same
    assert np.array_equal(first.splits["test"].inputs, second.splits["test"].inputs)
    assert problems_of(longer) == []
    wrong = [dataclasses.replace(plain, test_lengths=given) for given in ((1,), (2, True))]
    for each in wrong:
        (problem,) = problems_of(each)
        assert problem.startswith("test_lengths: must be ")
