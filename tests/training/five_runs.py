"""Runs that differ in all in which those of a pack may differ, and what their future depends on."""

import dataclasses

from harness.model.masks import FIELDS
from harness.settings import Budget, Settings
from harness.training.plan import Run

UPDATES = 50
SHAPES = {
    "odd": {"hidden_size": 7, "batch_size": 3, "bptt_length": 5},
    "ordinary": {"hidden_size": 32, "batch_size": 8, "bptt_length": 8},
}


def settings(text, shape, **changes):
    fixed = {
        "cell": "lstm",
        "corpus": "text",
        "path": text,
        "engine": "reference",
        "device": "cpu",
        "threads": 1,
        "budget": Budget(updates=UPDATES),
        "evaluations": 5,
        "learning_rate": 0.5,
    }
    return Settings(**{**fixed, **SHAPES[shape], **changes})


def five(base):
    """Returns five runs that differ in everything in which the runs of a pack may differ."""
    differences = [
        {},
        {
            "learning_rate": 1.3,
            "clip_norm": 0.05,
            "dropout": 0.3,
            "momentum": 0.9,
            "zoneout_h": 0.2,
        },
        {
            "learning_rate": 0.2,
            "clip_norm": None,
            "clip_value": 0.02,
            "schedule": "cosine",
            "warmup_updates": 5,
            "weight_decay": 1e-3,
        },
        {
            "learning_rate": 2.0,
            "clip_norm": 0.3,
            "schedule": "step",
            "step_updates": 7,
            "initial_scale": 0.3,
            "label_smoothing": 0.1,
            "activation_regularization": 2.0,
        },
        {
            "learning_rate": 0.7,
            "clip_norm": 4.0,
            "dropout": 0.6,
            "momentum": 0.5,
            **dict.fromkeys(FIELDS, 0.25),
            "temporal_activation_regularization": 1.0,
        },
    ]
    return [
        Run(f"r{i}", (i, "trial"), dataclasses.replace(base, **d))
        for i, d in enumerate(differences)
    ]


def numbers(shard, index):
    """Returns all that one run's future depends on, copied."""
    return shard.snapshot(index).arrays
