"""Planted studies and frames for the report: what the answer must be is known beforehand."""

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from harness import report
from harness.settings import Settings
from harness.study import Range


@dataclass(frozen=True)
class Arm:
    name: str
    settings: Settings
    is_baseline: bool = False
    condition: str = ""


def replicate(seeds=10, until=None, at_most=None):
    return SimpleNamespace(seeds=seeds, first_seed=1000, until=until, at_most=at_most)


def measure(**fields):
    known = {
        "objective": "validation/perplexity",
        "margin": 0.01,
        "threshold": 0.05,
        "target": None,
        "runtime": None,
    }
    return SimpleNamespace(**{**known, **fields})


def tune(trials=0, repeats=1, **fields):
    space = {"learning_rate": Range(0.001, 1.0, log=True)}
    return SimpleNamespace(
        num_trials=trials, repeats=repeats, space=space, sampler="random", **fields
    )


@dataclass(frozen=True)
class Study:
    name: str = "output-tanh"
    question: str = "Does the output tanh matter?"
    source: str = ""
    text: str = "study: output-tanh\n"
    path: Path | None = None
    overrides: tuple[str, ...] = ()
    arms: tuple[Arm, ...] = ()
    tune: object = None
    replicate: object = field(default_factory=replicate)
    measure: object = field(default_factory=measure)
    condition: str = ""
    parts: tuple["Study", ...] = ()

    @property
    def baseline(self):
        return next(arm for arm in self.arms if arm.is_baseline)

    @property
    def conditions(self):
        return tuple(part.condition for part in self.parts) or (self.condition,)

    def under(self, condition):
        return next((part for part in self.parts if part.condition == condition), self)


def study(*names, split="holdout", token="char", **fields):
    settings = Settings(cell="lstm", corpus="time-machine", split=split, token=token)
    return Study(
        arms=tuple(Arm(name, settings, is_baseline=i == 0) for i, name in enumerate(names)),
        **fields,
    )


def across(planned, **corpora):
    """Returns a study of the same arms under several conditions, each with its corpus."""
    parts = []
    for condition, corpus in corpora.items():
        arms = [
            replace(a, condition=condition, settings=replace(a.settings, corpus=corpus))
            for a in planned.arms
        ]
        parts.append(replace(planned, condition=condition, arms=tuple(arms)))
    return replace(
        planned, parts=tuple(parts), arms=tuple(arm for part in parts for arm in part.arms)
    )


# Ten numbers of mean 0 and standard deviation 1, so that a difference's mean and spread are what
# they are given as.
UNIT = np.array([-1.5, -1.2, -0.6, -0.3, -0.1, 0.2, 0.3, 0.7, 1.0, 1.5])
UNIT = (UNIT - UNIT.mean()) / UNIT.std(ddof=1)
BASE = 1.4 + 0.02 * np.cos(np.arange(10))


def run_rows(arm, nats, *, states=None, first_seed=1000, **columns):
    states = states or ["finished"] * len(nats)
    row = {
        "objective": np.nan,
        "num_parameters": 300_000,
        "num_states": 512,
        "tokens": 2_000_000,
        **columns,
    }
    row = {
        "params": {"learning_rate": 0.5},
        "samples": [{"prefix": "traveller ", "text": "the <b> & psy"}],
        **row,
    }
    return [
        {
            "arm": arm,
            "phase": "replicate",
            "index": j,
            "seed": str(first_seed + j),
            "state": states[j],
            **row,
        }
        | {"test/loss": float(x), "validation/loss": float(x), "train/loss": float(x)}
        for j, x in enumerate(nats)
    ]


def trial_rows(arm, nats, states=None):
    """Trials with learning rates from the bottom of ``tune``'s range to its top."""
    rates = np.geomspace(0.001, 1.0, len(nats))
    states = states or ["finished"] * len(nats)
    return [
        {
            "arm": arm,
            "phase": "trial",
            "index": k,
            "seed": f"0/trial/{k}",
            "state": states[k],
            "objective": float(x),
        }
        | {"params": {"learning_rate": float(rates[k])}, "tokens": 5, "samples": []}
        for k, x in enumerate(nats)
    ]


def timing_rows(arm, seconds, *, mode="train", pack=1, engine="cpu", busy=False, rounds=20):
    drift = 1.0 + 0.1 * np.sin(np.arange(rounds))  # the machine's, common to the arms of a round
    jitter = 1.0 + 0.004 * np.cos(len(arm) + 2.0 * np.arange(rounds))
    same = {
        "arm": arm,
        "mode": mode,
        "pack": pack,
        "engine": engine,
        "device": "cpu",
        "precision": "float32",
    }
    same |= {"threads": 2, "busy": busy}
    return [
        {**same, "round": r, "seconds": seconds * a, "tokens_per_second": 1120 / (seconds * a)}
        for r, a in enumerate(drift * jitter)
    ]


def curve_rows(arm, level, num_updates=5, replicates=10):
    return [
        {
            "arm": arm,
            "phase": "replicate",
            "index": j,
            "update": u,
            "tokens": u * 1e5,
            "time_seconds": 1.0 * u,
        }
        | dict.fromkeys(("train/loss", "validation/loss"), level + 1.0 / u + 0.01 * j)
        for j in range(replicates)
        for u in range(1, num_updates + 1)
    ]


def under(condition, rows):
    return [{**row, "condition": condition} for row in rows]


def build(planned, rows=(), timings=(), curves=(), warnings=(), importances=None):
    frames = (pd.DataFrame(list(x)) for x in (rows, curves, timings))
    return report.build(planned, *frames, list(warnings), importances)


def pair(mean, spread, **columns):
    """Rows of a baseline ``lstm`` and an arm ``gru`` whose ten paired differences have this mean
    and spread.
    """
    return run_rows("lstm", BASE) + run_rows("gru", BASE + mean + spread * UNIT, **columns)


@functools.cache
def full():
    """A report with four arms and every kind of data, one of the names hostile to every form."""
    names = ("lstm", "lstm-no-output-tanh", "gru_reset", "rnn|<b>")
    rows, timings, curves = [], [], []
    for i, (name, mean) in enumerate(zip(names, (0.0, 0.03, -0.03, 0.005), strict=True)):
        rows += run_rows(
            name, BASE + mean + 0.02 * (i > 0) * UNIT, hidden_size=256, flops_per_token=600_000
        )
        rows += trial_rows(
            name,
            1.4 + mean + 0.1 * np.abs(np.arange(-4, 5)),
            ["finished"] * 7 + ["pruned", "diverged"],
        )
        curves += curve_rows(name, 1.4 + mean)
        for mode, pack in (("train", 1), ("train", 8), ("forward", 1)):
            timings += timing_rows(name, 0.1 / (1 + 0.1 * i), mode=mode, pack=pack)
    known = {
        "git_commit": "c0ffee",
        "git_dirty": "false",
        "versions": "python 3.11.7, torch 2.13.0",
        "device": "cpu",
    }
    rows = [{**row, **known} for row in rows]
    planned = study(*names, tune=tune(9), source="A <paper>", overrides=("fix.bptt_length=20",))
    return build(
        planned,
        rows,
        timings,
        curves,
        ["a <script> in a warning"],
        {"": {"lstm": {"learning_rate": 1.0}}},
    )


@functools.cache
def two_conditions():
    """``gru`` is worse on time-machine and better on python-docs, by the same 3 %."""
    planned = across(
        study("lstm", "gru"), **{"time-machine": "time-machine", "docs": "python-docs"}
    )
    rows = under("time-machine", pair(0.03, 0.02)) + under("docs", pair(-0.03, 0.02))
    timings = [
        r
        for c in planned.conditions
        for r in under(c, timing_rows("lstm", 0.1) + timing_rows("gru", 0.05))
    ]
    curves = [
        r for c in planned.conditions for a in ("lstm", "gru") for r in under(c, curve_rows(a, 1.4))
    ]
    return build(
        planned,
        rows,
        timings,
        curves,
        ["docs/gru: learning_rate at the edge.", "the machine slept."],
    )
