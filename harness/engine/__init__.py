"""Engines: how a cell's recurrence is executed.

Training knows only what :mod:`harness.engine.base` says of an engine.
"""

from cells.base import Cell
from harness.engine.base import (
    Engine,
    Layer,
    Parameters,
    State,
    allow_tf32,
    dtype_of,
    initial_state,
    product,
)
from harness.engine.cpu.cpu import Cpu
from harness.engine.gpu.gpu import Gpu
from harness.engine.native import Native
from harness.engine.reference import Reference, lookup, lookup_gradient
from harness.engine.scan.scan import Scan, ScanLog

__all__ = [
    "ENGINES",
    "Engine",
    "EngineError",
    "Layer",
    "Parameters",
    "State",
    "allow_tf32",
    "dtype_of",
    "get",
    "initial_state",
    "lookup",
    "lookup_gradient",
    "notes",
    "product",
    "resolve",
]

ENGINES: tuple[Engine, ...] = (Cpu(), Scan(), Gpu(), Native(), Reference(), ScanLog())
"""Fastest first; by rule, not by timing, so that a study resolves alike everywhere."""


class EngineError(ValueError):
    """An engine cannot run what it is asked to run."""


def get(name: str) -> Engine:
    """Returns the engine of that name.

    Raises:
        EngineError: There is none.
    """
    for engine in ENGINES:
        if engine.name == name:
            return engine
    raise EngineError(
        f"engine: must be one of {', '.join(e.name for e in ENGINES)}, but got engine={name!r}."
    )


def resolve(cells: list[type[Cell]], device: str, precision: str) -> tuple[str, list[str]]:
    """Returns the name of the fastest engine that runs all ``cells``, and notes.

    A note says why an engine was passed over that is meant to run every cell on this device, or
    what makes the chosen one slower than it could be.
    """
    passed_over: list[str] = []
    for engine in ENGINES:
        reasons = [engine.refusal(cell, device, precision) for cell in cells]
        refusals = [reason for reason in reasons if reason is not None]
        if not refusals:
            return engine.name, [*passed_over, *notes(engine)]
        if engine.general_device == device:
            passed_over.append(
                f"engine {engine.name}: not used, {'; '.join(dict.fromkeys(refusals))}"
            )
    raise AssertionError("the reference engine refuses nothing")


def notes(engine: Engine) -> list[str]:
    """Returns the engine's note as a list: empty where it has none."""
    note = engine.note()
    return [] if note is None else [note]
