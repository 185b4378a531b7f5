"""The columns of the frames of runs, curves and timings, with their types in pandas."""

import re

KEY_DTYPES = {
    "condition": "str",
    "arm": "str",
    "repeat": "int64",
    "phase": "str",
    "index": "int64",
    "draw": "int64",
}
ARM_DTYPES = {"condition": "str", "arm": "str"}
RUN_DTYPES = KEY_DTYPES | {
    "run_id": "str",
    "seed": "str",
    "started": "str",
    "state": "str",
    "objective": "float64",
    "validation/loss": "float64",
    "test/loss": "float64",
    "train/loss": "float64",
    "final/loss": "float64",
    "not_learned": "boolean",
    "refused": "boolean",
    "num_parameters": "Int64",
    "num_states": "Int64",
    "hidden_size": "Int64",
    "flops_per_token": "Int64",
    "tokens": "Int64",
    "seconds": "float64",
    "engine": "str",
    "device": "str",
    "precision": "str",
    "threads": "Int64",
    "pack_size": "Int64",
    "git_commit": "str",
    "git_dirty": "str",
    "corpus_fingerprint": "str",
    "device_name": "str",
    "versions": "str",
    "params": "object",
    "samples": "object",
}
UNIT_DTYPES = {
    f"{split}/{unit}_per_token": "float64"
    for split in ("train", "test")
    for unit in ("bytes", "characters", "words")
}
"""Columns of runs that are there where a run has them: what its subwords stand for."""
ERRORS = ("mae", "rmse", "mase")
"""Those of a forecast in one column of a series, in its own unit, or beside a simple one's."""
SCORES = ("crps", "coverage")
"""What is told besides of forecasts that are distributions."""
ERROR_PREFIXES = tuple(f"test/{error}_" for error in (*ERRORS, *SCORES))
"""How columns of runs begin that are there where a run has them; the series' column follows."""
BESIDE_TEST = re.compile(r"test/(\d+x_.+|excess|macro_f1)")
"""Columns of runs that are there where a run has them, too: what is told of test sequences that are
longer than those of training, and what is told of test beside what is compared.
"""
_OF_LONGER_SPLIT = re.compile(r"test_(\d+x)/(.+)")


def stored_name(metric: str) -> str:
    """Returns the name under which a metric is stored, and is a column of runs.

    A split of longer test sequences has its metrics among those of test: MLflow's page makes a
    section of charts of whatever stands before a slash. Stores of earlier versions have them under
    the split's own name.

    >>> stored_name("test_2x/accuracy"), stored_name("test/2x_accuracy"), stored_name("test/loss")
    ('test/2x_accuracy', 'test/2x_accuracy', 'test/loss')
    """
    return _OF_LONGER_SPLIT.sub(r"test/\1_\2", metric)


CURVE_DTYPES = {
    "update": "int64",
    "tokens": "int64",
    "time_seconds": "float64",
    "train/loss": "float64",
    "validation/loss": "float64",
}
TIMING_DTYPES = {
    "mode": "str",
    "pack": "int64",
    "round": "int64",
    "seconds": "float64",
    "tokens_per_second": "float64",
    "engine": "str",
    "device": "str",
    "precision": "str",
    "threads": "int64",
    "busy": "bool",
}
FORECAST_DTYPES = {
    "time": "str",
    "column": "str",
    "steps_ahead": "int64",
    "truth": "float64",
    "naive": "float64",
    "forecast": "float64",
    "low": "float64",
    "high": "float64",
}
"""A row per point and column of a series; ``low`` and ``high`` are missing without intervals."""
STATE_DTYPES = {
    "layer": "int64",
    "state": "str",
    "quantity": "str",
    "step": "int64",
    "value": "float64",
}
"""A row per number: those of a state at ``step`` 0, and its gradient norms by time steps back."""
ALL_STATES = "all states"
"""The state of the gradient norms that are of all states of all layers; its layer is -1."""
PROVENANCE = (
    "run_id",
    "started",
    "git_commit",
    "git_dirty",
    "corpus_fingerprint",
    "device_name",
    "versions",
)
"""Columns of runs that tell where a run comes from: no result depends on them."""
EXECUTION = ("engine", "device", "precision", "threads")
"""Columns that must agree where runtimes are compared."""
