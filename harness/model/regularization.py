"""Regularization within a cell's step.

A cell and its regularization make a new cell, which every engine runs as any other. Random masks
come from outside, as the new cell's ``noise``: at each time step, or one for all of them.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from torch import Tensor, clamp

import cells
from cells.base import Cell
from harness.settings import Settings


@dataclass(frozen=True)
class StepRegularization:
    """What acts within the step.

    Attributes:
        state_dropout: Whether the operand of every recurrent product is multiplied by
            ``state_dropout`` (Gal & Ghahramani, "A theoretically grounded application of dropout in
            recurrent neural networks", 2016).
        recurrent_dropout: Whether what the step passes through ``p.drop`` is multiplied by
            ``recurrent_dropout_CANDIDATE`` (Semeniuta, Severyn & Barth, "Recurrent dropout without
            memory loss", 2016).
        zoneout: The states of which ``zoneout_STATE`` keeps that part of the old value, s' = m * s
            + (1 - m) * step(s) (Krueger et al., "Zoneout", 2017).
        state_clip: After all this, every new state lies between this and its negative.
    """

    state_dropout: bool = False
    recurrent_dropout: bool = False
    zoneout: tuple[str, ...] = ()
    state_clip: float | None = None


NONE = StepRegularization()


def regularization_of(cell: type[Cell], settings: Sequence[Settings]) -> StepRegularization:
    """Returns the regularization that runs ask for which advance together.

    What has nothing to act on in the cell is left out.
    """

    def asked(field: str) -> bool:
        return any(getattr(s, field) for s in settings)

    return StepRegularization(
        asked("state_dropout") and bool(cell.recurrent_products()),
        asked("recurrent_dropout") and bool(cell.candidates),
        tuple(
            name for name in ("h", "c") if asked(f"zoneout_{name}") and name in cell.zoneout_states
        ),
        settings[0].state_clip,
    )


def regularizations_within(
    cell: type[Cell], settings: Sequence[Settings]
) -> list[StepRegularization]:
    """Returns the regularizations of all groups of runs that may advance together.

    Runs leave a pack that end before the others, and each is sampled from by itself.
    """
    found = dict.fromkeys(regularization_of(cell, [each]) for each in settings)
    while True:
        both = dict.fromkeys(_joined(a, b) for a in found for b in found)
        if both.keys() <= found.keys():
            return list(found)
        found |= both


def _joined(a: StepRegularization, b: StepRegularization) -> StepRegularization:
    return StepRegularization(
        a.state_dropout or b.state_dropout,
        a.recurrent_dropout or b.recurrent_dropout,
        tuple(name for name in ("h", "c") if name in (*a.zoneout, *b.zoneout)),
        a.state_clip,
    )


def regularized_cell(settings: Settings) -> type[Cell]:
    """Returns the cell that the settings name, with the regularization that they ask for.

    Raises:
        cells.UnknownCell: The cell is unknown.
    """
    cell = cells.find(settings.cell)
    return regularized(cell, regularization_of(cell, [settings]))


def noise_names(cell: type[Cell], regularization: StepRegularization) -> tuple[str, ...]:
    """Returns the names of the random masks, in the order of the cell's ``noise``."""
    names = ["state_dropout"] if regularization.state_dropout else []
    if regularization.recurrent_dropout:
        names += [f"recurrent_dropout_{name}" for name in cell.candidates]
    return tuple(names + [f"zoneout_{name}" for name in regularization.zoneout])


def regularized(cell: type[Cell], regularization: StepRegularization) -> type[Cell]:
    """Returns the cell with the regularization: itself where there is none to apply.

    Equal arguments give the same class each time.
    """
    if regularization == NONE:
        return cell
    return _regularized(cell, regularization)  # type: ignore[arg-type]  # classes have a hash


@functools.lru_cache(maxsize=256)
def _regularized(cell: type[Cell], regularization: StepRegularization) -> type[Cell]:
    inner = cell()

    def step(self: Cell, p: Any, x: Any, *state: Tensor) -> tuple[Tensor, ...]:
        arguments, factors = _regularized_arguments(cell, regularization, p)
        new = inner.step(arguments, x, *state)
        if factors:
            raise ValueError(_miscount_message(cell))
        return tuple(
            _kept(regularization, p, *each) for each in zip(cell.state, state, new, strict=True)
        )

    body = {
        "step": step,
        "noise": noise_names(cell, regularization),
        "reference": None,
        "__doc__": cell.__doc__,
    }
    return type(f"Regularized{cell.__name__}", (cell,), body)


def _regularized_arguments(
    cell: type[Cell], regularization: StepRegularization, p: SimpleNamespace
) -> tuple[SimpleNamespace, list[Tensor]]:
    """Returns the ``p`` of the cell's own step, and the factors that ``p.drop`` uses up."""
    arguments, factors = SimpleNamespace(**vars(p)), list[Tensor]()
    if regularization.state_dropout:
        for name in cell.recurrent_products():
            setattr(arguments, name, _masked(getattr(p, name), p.state_dropout))
    if regularization.recurrent_dropout:
        factors = [getattr(p, f"recurrent_dropout_{name}") for name in cell.candidates]
        arguments.drop = lambda value: value * _next(cell, factors)
    return arguments, factors


def _next(cell: type[Cell], factors: list[Tensor]) -> Tensor:
    if not factors:
        raise ValueError(_miscount_message(cell))
    return factors.pop(0)


def _miscount_message(cell: type[Cell]) -> str:
    return (
        f"{cell.name}: its step must call p.drop once for each of candidates={cell.candidates}, "
        "but does not. Correct the cell: `harness cells test FILE` says more."
    )


def _masked(product: Callable[[Tensor], Any], factor: Tensor) -> Callable[[Tensor], Any]:
    return lambda operand: product(operand * factor)


def _kept(
    regularization: StepRegularization, p: SimpleNamespace, name: str, old: Tensor, new: Tensor
) -> Tensor:
    if name in regularization.zoneout:
        part = getattr(p, f"zoneout_{name}")
        new = part * old + (1 - part) * new
    clip = regularization.state_clip
    return new if clip is None else clamp(new, -clip, clip)
