"""Engines: how a cell's recurrence is executed.

Training knows only what :mod:`harness.engine.base` says of an engine.
"""

from itertools import compress

from cells.base import Cell
from harness.engine.base import Engine, Layer, Parameters, State, initial_state
from harness.engine.beside import side_by_side
from harness.engine.cpu.cpu import Cpu
from harness.engine.gpu.gpu import Gpu
from harness.engine.native import Native
from harness.engine.persistent.persistent import Persistent
from harness.engine.reference import Reference, lookup, lookup_gradient
from harness.engine.rounding import allow_tf32, dtype_of, product
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
    "resolve_each",
]

ENGINES: tuple[Engine, ...] = (
    Cpu(), Scan(), Gpu(), Native(), Reference(), ScanLog(), Persistent()
)  # fmt: skip
"""Fastest first; by rule, not by timing, so that a study resolves alike everywhere.

Those behind the reference are taken by their names alone.
"""


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


def resolve(
    cells: list[type[Cell]], device: str, precision: str, biases: list[int] | None = None
) -> tuple[str, list[str]]:
    """Returns the name of the fastest engine that runs all ``cells``, and notes.

    A note says why an engine was passed over that is meant to run every cell on this device, or
    what makes the chosen one slower than it could be.

    Args:
        cells: That are to run on one engine.
        device: The type of the device.
        precision: Of the products.
        biases: How many each cell has a gate; None: 1 each.
    """
    passed_over: list[str] = []
    for engine in ENGINES:
        reasons = _refusals(engine, cells, device, precision, biases)
        refusals = [reason for reason in reasons if reason is not None]
        if not refusals:
            return engine.name, [*passed_over, *notes(engine, precision)]
        if engine.general_device == device:
            passed_over.append(
                f"engine {engine.name}: not used, {'; '.join(dict.fromkeys(refusals))}"
            )
    raise AssertionError("the reference engine refuses nothing")


def _refusals(
    engine: Engine, cells: list[type[Cell]], device: str, precision: str, biases: list[int] | None
) -> list[str | None]:
    """Returns what an engine says of each cell; cells that it must compile are compiled at once."""
    asked = list(zip(cells, biases or [1] * len(cells), strict=True))
    # Each is asked once: the arms of several conditions would wait for one another's compiler.
    distinct = list(dict.fromkeys(asked))

    def refusal(of: tuple[type[Cell], int]) -> str | None:
        cell, number = of
        return engine.refusal(cell, device, precision, number)

    said = dict(zip(distinct, side_by_side(refusal, distinct), strict=True))
    return [said[each] for each in asked]


def resolve_each(
    cells: list[type[Cell]], device: str, precision: str, biases: list[int] | None = None
) -> tuple[list[str], list[str]]:
    """Returns the engine of each of some cells that are compared, and notes as :func:`resolve`.

    It is one for all where any but the definition runs all of them. Else the cells that the
    device's own engine refuses run by themselves, so that they slow no other.
    """
    numbers = biases or [1] * len(cells)
    name, passed_over = resolve(cells, device, precision, numbers)
    own = next((engine for engine in ENGINES if engine.general_device == device), None)
    if name != Reference.name or own is None:
        return [name] * len(cells), passed_over
    reasons = _refusals(own, cells, device, precision, numbers)
    is_refused = [reason is not None for reason in reasons]
    if len(set(is_refused)) == 1:
        return [name] * len(cells), passed_over
    (fast, fast_notes), (slow, slow_notes) = (
        resolve(list(compress(cells, group)), device, precision, list(compress(numbers, group)))
        for group in ([not out for out in is_refused], is_refused)
    )
    apart = [
        f"{note}; its arms run on {slow} and the others on {fast}, and runtimes compare within an "
        "engine alone"
        for note in slow_notes
    ]
    return [slow if out else fast for out in is_refused], [*fast_notes, *apart]


def notes(engine: Engine, precision: str) -> list[str]:
    """Returns the engine's note as a list: empty where it has none."""
    note = engine.note(precision)
    return [] if note is None else [note]
