"""Runs that a store holds more than once: whether it can be said which of them counts."""

from collections.abc import Sequence

from harness.store.counting import has_result
from harness.store.rows import RunRow

SETTINGS_TAGS = ("cell", "seed", "corpus_fingerprint")
"""Tags that say what a run is, beside its parameters."""


def fingerprint(run: RunRow) -> dict[str, str | None]:
    """Returns what a run is: two runs of one place that agree in it are the same run."""
    return {**run.params, **{name: run.tags.get(name) for name in SETTINGS_TAGS}}


def differences(first: RunRow, second: RunRow) -> list[str]:
    """Returns in what two runs differ beside what is measured: settings, ends, losses."""
    said, other = _said(first), _said(second)
    return sorted(name for name in said.keys() | other.keys() if said.get(name) != other.get(name))


def _said(run: RunRow) -> dict[str, str | None]:
    losses = {
        name: repr(value)
        for name, value in run.metrics.items()
        if name == "objective" or name.endswith("/loss")
    }
    return {**fingerprint(run), "state": run.tags.get("state"), **losses}


def contradictions(runs: Sequence[RunRow]) -> list[str]:
    """Returns in what the results of a place's runs differ: nothing says which is right then."""
    ended = list(filter(has_result, runs))
    return sorted({name for run in ended[1:] for name in differences(ended[0], run)})
