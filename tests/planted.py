"""Planted studies and frames for the report: what the answer must be is known beforehand."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from harness import report
from harness.settings import Settings
from harness.study import Arm, Measure, Range, Replicate, Study, Tune

Row = dict[str, Any]
Losses = Sequence[float] | np.ndarray


def search_of(trials: int = 0, **fields: Any) -> Tune:
    """Returns a random search of a learning rate, unless ``fields`` say otherwise."""
    space = {"learning_rate": Range(0.001, 1.0, log=True)}
    usual = {"space": space, "batch": 4, "sampler": "random", "pruner": "none", "search_seed": 0}
    return Tune(trials=trials, **(usual | fields))


def measuring(**fields: Any) -> Measure:
    return Measure(**{"runtime": None, **fields})


def study(*names: str, split: Any = "holdout", token: Any = "char", **fields: Any) -> Study:
    settings = Settings(cell="lstm", corpus="time-machine", split=split, token=token)
    searched = ("learning_rate",)
    return of_arms(
        *(Arm(name, settings, i == 0, searched=searched) for i, name in enumerate(names)), **fields
    )


def of_arms(*arms: Arm, **fields: Any) -> Study:
    usual = {
        "name": "output-tanh",
        "version": 1,
        "question": "Does the output tanh matter?",
        "text": "study: output-tanh\n",
        "replicate": Replicate(10),
        "measure": measuring(),
    }
    return Study(arms=arms, **(usual | fields))


def across(planned: Study, **corpora: str) -> Study:
    """Returns a study of the same arms under several conditions, each with its corpus."""
    parts = []
    for condition, corpus in corpora.items():
        arms = [
            replace(a, condition=condition, settings=replace(a.settings, corpus=corpus))
            for a in planned.arms
        ]
        parts.append(replace(planned, condition=condition, arms=tuple(arms)))
    return replace(
        planned, _parts=tuple(parts), arms=tuple(arm for part in parts for arm in part.arms)
    )


# Ten numbers of mean 0 and standard deviation 1, so that a difference's mean and spread are what
# they are given as.
UNIT = np.array([-1.5, -1.2, -0.6, -0.3, -0.1, 0.2, 0.3, 0.7, 1.0, 1.5])
UNIT = (UNIT - UNIT.mean()) / UNIT.std(ddof=1)
BASE = 1.4 + 0.02 * np.cos(np.arange(10))


def run_rows(
    arm: str,
    nats: Losses,
    *,
    states: list[str] | None = None,
    first_seed: int = 1000,
    **columns: Any,
) -> list[Row]:
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


def trial_rows(arm: str, nats: Losses, states: list[str] | None = None) -> list[Row]:
    """Trials with learning rates from the bottom of :func:`search_of`'s range to its top."""
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


def timing_rows(
    arm: str,
    seconds: float,
    *,
    mode: str = "train",
    pack: int = 1,
    engine: str = "cpu",
    busy: bool = False,
    rounds: int = 20,
) -> list[Row]:
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


def curve_rows(arm: str, level: float, num_updates: int = 5, replicates: int = 10) -> list[Row]:
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


def under(condition: str, rows: Iterable[Row]) -> list[Row]:
    return [{**row, "condition": condition} for row in rows]


def build(
    planned: Study,
    rows: Iterable[Row] = (),
    timings: Iterable[Row] = (),
    curves: Iterable[Row] = (),
    warnings: Sequence[str] = (),
    importances: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
) -> report.Report:
    run_frame, curve_frame, timing_frame = (pd.DataFrame(list(x)) for x in (rows, curves, timings))
    return report.build(planned, run_frame, curve_frame, timing_frame, warnings, importances)


def pair(mean: float, spread: float, **columns: Any) -> list[Row]:
    """Rows of a baseline ``lstm`` and an arm ``gru``: the mean and spread of ten differences."""
    return run_rows("lstm", BASE) + run_rows("gru", BASE + mean + spread * UNIT, **columns)


@functools.cache
def full() -> report.Report:
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
    planned = study(
        *names, tune=search_of(9), source="A <paper>", overrides=("fix.bptt_length=20",)
    )
    return build(
        planned,
        rows,
        timings,
        curves,
        ["a <script> in a warning"],
        {"": {"lstm": {"learning_rate": 1.0}}},
    )


@functools.cache
def two_conditions() -> report.Report:
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
