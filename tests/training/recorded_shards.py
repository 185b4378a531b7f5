"""Shards whose updates are recorded, beside some whose are not, and what of them must be equal."""

import dataclasses

import torch

from harness.engine.gpu.gpu import Gpu
from harness.engine.reference import Reference
from harness.model.architecture import architecture
from harness.model.network import Model
from harness.settings import Budget, Settings
from harness.tasks.language_modelling import LanguageModelling
from harness.training.plan import Run
from harness.training.shard import Shard

UPDATES = 50
ENGINES = {"reference": Reference(), "gpu": Gpu(("cpu", "cuda"))}


def runs_of(text, **changes):
    """Returns three runs that differ, of more than two epochs of two layers."""
    fixed = {
        "cell": "gru",
        "corpus": "text",
        "path": text,
        "device": "cpu",
        "budget": Budget(updates=UPDATES),
        "evaluations": 5,
        "learning_rate": 0.5,
        "num_layers": 2,
        "hidden_size": 7,
        "batch_size": 8,
        "bptt_length": 6,
    }
    base = Settings(**{**fixed, **changes})
    differences = [
        {"dropout": 0.3, "momentum": 0.9, "clip_norm": 0.05},
        {
            "clip_norm": None,
            "clip_value": 0.02,
            "schedule": "cosine",
            "warmup_updates": 5,
            "weight_decay": 1e-3,
        },
        {
            "clip_norm": 0.3,
            "schedule": "step",
            "step_updates": 7,
            "dropout": 0.6,
            "label_smoothing": 0.1,
            "output_dropout": 0.2,
            "embedding_dropout": 0.2,
            "lookup_dropout": 0.2,
            "activation_regularization": 2.0,
            "temporal_activation_regularization": 1.0,
        },
    ]
    return [Run(f"r{i}", (i,), dataclasses.replace(base, **d)) for i, d in enumerate(differences)]


def shard_of(runs, engine_name="reference", device="cpu"):
    base, place = runs[0].settings, torch.device(device)
    task = LanguageModelling(base, place)
    model = Model(architecture(base, task.num_inputs, task.num_outputs), ENGINES[engine_name])
    return Shard(runs, task, model, UPDATES, place)


def plain(monkeypatch, *arguments):
    """Returns a shard whose updates are not recorded."""
    with monkeypatch.context() as patch:
        patch.setattr("harness.training.shard.GRAPH_RECORDERS", {})
        return shard_of(*arguments)


def advanced(monkeypatch, runs, updates):
    """Returns a shard after so many updates, once it is found to be one without records."""
    expected, found = plain(monkeypatch, runs), shard_of(runs)
    for shard in (expected, found):
        shard.advance(updates)
    assert_same(found, expected)
    return found


def assert_same(found, expected):
    """Everything that a shard's future depends on, and everything that it tells."""
    for index in range(len(expected.runs)):
        arrays, arrays_expected = (shard.snapshot(index).arrays for shard in (found, expected))
        assert arrays.keys() == arrays_expected.keys()
        for name, array in arrays.items():
            torch.testing.assert_close(
                array, arrays_expected[name], rtol=0, atol=0, equal_nan=True, msg=name
            )
    told, told_expected = (
        [repr(v) for v in vars(shard.progress()).values()][:-1] for shard in (found, expected)
    )
    assert told == told_expected
    assert found.optimizer.alive.tolist() == expected.optimizer.alive.tolist()


def waits(x):
    return (x * x.sum().item(),)
