"""The report on planted frames: sentences to the letter, every form, every way in which data may be short."""

import csv
import io
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from harness import report, results, statistics
from harness.settings import Settings
from rich.console import Console


@dataclass(frozen=True)
class Arm:
    name: str
    settings: Settings
    is_baseline: bool = False


@dataclass(frozen=True)
class Study:
    name: str = "output-tanh"
    question: str = "Does the output tanh matter?"
    arms: tuple[Arm, ...] = ()
    tune: object = None
    replicate: object = field(default_factory=lambda: SimpleNamespace(seeds=10, first_seed=1000))
    measure: object = field(default_factory=lambda: SimpleNamespace(margin=0.01, threshold=0.05, runtime=None))

    @property
    def baseline(self):
        return next(arm for arm in self.arms if arm.is_baseline)


def study(*names, split="holdout", token="char", **fields):
    settings = Settings(cell="lstm", corpus="time-machine", split=split, token=token)
    return Study(arms=tuple(Arm(name, settings, is_baseline=i == 0) for i, name in enumerate(names)), **fields)


# Ten numbers of mean 0 and standard deviation 1, so that a difference's mean and spread are what they are given as.
UNIT = np.array([-1.5, -1.2, -0.6, -0.3, -0.1, 0.2, 0.3, 0.7, 1.0, 1.5])
UNIT = (UNIT - UNIT.mean()) / UNIT.std(ddof=1)
BASE = 1.4 + 0.02 * np.cos(np.arange(10))


def run_rows(arm, nats, *, states=None, first_seed=1000, **columns):
    states = states or ["finished"] * len(nats)
    row = {"objective": np.nan, "num_parameters": 300_000, "num_states": 512, "tokens": 2_000_000, **columns}
    row = {"params": {"learning_rate": 0.5}, "samples": [{"prefix": "traveller ", "text": "the <b> & psy"}], **row}
    return [
        {"arm": arm, "phase": "replicate", "index": j, "seed": str(first_seed + j), "state": states[j], **row}
        | {"test/loss": float(x), "validation/loss": float(x), "train/loss": float(x)}
        for j, x in enumerate(nats)
    ]


def timing_rows(arm, seconds, *, mode="train", pack=1, engine="cpu", busy=False, rounds=20):
    drift = 1.0 + 0.1 * np.sin(np.arange(rounds))  # the machine's, common to the arms of a round
    jitter = 1.0 + 0.004 * np.cos(len(arm) + 2.0 * np.arange(rounds))
    same = {"arm": arm, "mode": mode, "pack": pack, "engine": engine, "device": "cpu", "precision": "float32"}
    return [
        {
            **same,
            "threads": 2,
            "round": r,
            "seconds": seconds * a,
            "tokens_per_second": 1120 / (seconds * a),
            "busy": busy,
        }
        for r, a in enumerate(drift * jitter)
    ]


def build(planned, rows=(), timings=(), curves=(), warnings=()):
    frames = (pd.DataFrame(list(x)) for x in (rows, curves, timings))
    return report.build(planned, *frames, list(warnings))


def pair(mean, spread, **columns):
    """Rows of a baseline ``lstm`` and an arm ``gru`` whose ten paired differences have this mean and spread."""
    return run_rows("lstm", BASE) + run_rows("gru", BASE + mean + spread * UNIT, **columns)


def one_sentence(mean, spread, *, tune=None, **fields):
    return build(study("lstm", "gru", tune=tune, **fields), pair(mean, spread)).sentences[0]


def test_sentence_worse_with_speed():
    built = build(study("lstm", "gru"), pair(0.03, 0.02), timing_rows("lstm", 0.1) + timing_rows("gru", 0.1 / 1.08))
    assert built.sentences == [
        "At the settings given, on this text, gru is worse than lstm: perplexity 1.030 times (95 % interval 1.016 to"
        " 1.045, unadjusted), Holm-adjusted p = 0.001, 10 paired seeds. It trains 1.08 times as fast (1.08 to 1.08)."
    ]
    assert built.answer == "Against lstm, in perplexity: gru is worse; in training speed: gru is faster."


def test_sentence_better():
    assert one_sentence(-0.03, 0.02, tune=SimpleNamespace(trials=0)) == (
        "At the settings that one search found, on this text, gru is better than lstm: perplexity 0.970 times (95 %"
        " interval 0.957 to 0.984, unadjusted), Holm-adjusted p = 0.001, 10 paired seeds."
    )
