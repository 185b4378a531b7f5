"""Whether the losses of two arms compare: both are of the same text, or of the same sequences."""

from typing import Any

from harness.data import sources
from harness.settings import Settings
from harness.study import Arm

TEXT_FIELDS = (
    "corpus",
    "path",
    "paths",
    "token",
    "min_count",
    "max_vocabulary",
    "lines",
    "split",
    "task",
    "num_held_out",
)
"""Losses compare only where these settings are equal, and what :func:`text_of` has besides."""
TEXT_NAMES = ("corpus", "path", "paths")
"""Those of them that say where a text is, which its fingerprint says better."""


def text_of(settings: Settings) -> tuple[tuple[str, Any], ...]:
    """Returns what says which text is read, and how; or which sequences, and how long they are.

    They are pairs of a name and its value. Losses compare where all of them are equal. Options that
    say how a model answers or is trained are none of them, nor is how much it is trained on.
    """
    of_data = sources.with_options_of_data(settings)
    options = () if of_data.options is None else of_data.options.items
    return (
        *((name, getattr(settings, name)) for name in TEXT_FIELDS),
        *((f"options.{name}", value) for name, value in options),
        *(() if settings.is_of_language else (("bptt_length", settings.bptt_length),)),
    )


def text_differences(ours: Settings, theirs: Settings) -> dict[str, tuple[Any, Any]]:
    """Returns in what two texts, or sequences, differ: name -> our value and theirs.

    None stands for what is not given.
    """
    named = dict(text_of(ours)), dict(text_of(theirs))
    pairs = {name: (named[0].get(name), named[1].get(name)) for name in named[1] | named[0]}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def why_incomparable(arm: Arm, baseline: Arm) -> str:
    """Returns why the losses of two arms do not compare, or nothing."""
    return "; ".join(
        f"{name} differs ({_named(theirs)} and {_named(ours)})"
        for name, (ours, theirs) in text_differences(arm.settings, baseline.settings).items()
    )


def _named(value: Any) -> str:
    return "none" if value is None else str(value)
