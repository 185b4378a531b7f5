"""Planted studies of version 2 with two arms and the trials of their searches."""

import io

import numpy as np
import planted
from planted import build, search_of, study, trial_rows
from rich.console import Console

U_SHAPE = [1.9, 1.6, 1.45, 1.4, 1.42, 1.7]
FALLING = [1.9, 1.8, 1.7, 1.6, 1.5, 1.4]
RATES = np.geomspace(0.001, 1.0, 6)


def searched(*names, tune=None, **fields):
    tune = tune or search_of(6, at_most=6)
    return study(*names, **{"version": 2, "tune": tune, **fields})


def pair(mean, spread):
    """Replicates of both arms, whose objective says how noisy a trial is."""
    return [{**row, "objective": row["test/loss"]} for row in planted.pair(mean, spread)]


def of(lstm=U_SHAPE, gru=U_SHAPE, mean=0.3, tune=None, **fields):
    rows = trial_rows("lstm", lstm) + trial_rows("gru", gru) + pair(mean, 0.02)
    return build(searched("lstm", "gru", tune=tune, **fields), rows)


def printed(built, verbose=False):
    console = Console(width=80, file=io.StringIO())
    built.terminal(console, verbose)
    return console.file.getvalue()
