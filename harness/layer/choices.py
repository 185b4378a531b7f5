"""What a layer is made of beside its sizes: the bench's own settings, under its names."""

import difflib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import torch

import cells
from cells.base import Cell
from cells.registry import problems_of as declaration_problems
from harness.layer.first_step import problems_of_step
from harness.settings import Settings, problems_of

if TYPE_CHECKING:
    from harness.settings import Initialization


class Choices(TypedDict, total=False):
    """The settings of a study that a layer takes too; `docs/study.md` explains each.

    Attributes:
        initialization: As in a study; ``uniform`` is that of torch.nn.
        initial_scale: Of the initialization.
        forget_bias: What the forget gates' biases begin with.
        chrono_steps: Time steps of the chrono initialisation.
        input_dropout: Of the layers' inputs, one mask for all time steps.
        state_dropout: Before the recurrent products, one mask for all time steps.
        recurrent_dropout: Of new content.
        weight_dropout: Of the recurrent matrices' entries (DropConnect).
        zoneout_h: Of h that is kept from the time step before.
        zoneout_c: Of c, likewise.
        state_clip: The largest size of a state's value.
    """

    initialization: "Initialization"
    initial_scale: float | None
    forget_bias: float | None
    chrono_steps: int | None
    input_dropout: float
    state_dropout: float
    recurrent_dropout: float
    weight_dropout: float
    zoneout_h: float
    zoneout_c: float
    state_clip: float | None


OF_ONE_S_OWN = "A cell of one's own is given as its class."
NO_CORPUS = "none"
"""Settings name a corpus; a layer has none."""


def found(
    cell: str | type[Cell],
    hidden_size: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> type[Cell]:
    """Returns the cell of that name, or the class itself.

    Args:
        cell: A name, or a class whose step is tried once.
        hidden_size: H of the layer that is made of it; of a wrong one no step is tried.
        device: Of the layer; None: torch's default.
        dtype: Of the layer; None: torch's default.

    Raises:
        cells.UnknownCell: There is none of that name.
        cells.registry.InvalidCell: The class's declarations are wrong, or its step is.
    """
    if isinstance(cell, str):
        try:
            return cells.find(cell)
        except cells.UnknownCell as error:
            raise cells.UnknownCell(f"{error} {OF_ONE_S_OWN}") from None
    if not (isinstance(cell, type) and issubclass(cell, Cell)):
        raise ValueError(
            f"cell: must be a name or a subclass of cells.Cell, but got cell={cell!r}. "
            + OF_ONE_S_OWN
        )
    problems = declaration_problems(cell)
    if not problems and isinstance(hidden_size, int) and hidden_size >= 1:
        problems = problems_of_step(cell, hidden_size, device, dtype)
    if problems:
        raise cells.registry.InvalidCell("\n".join(problems))
    return cell


def arguments_of(layer: type) -> list[str]:
    """Returns the names of what a kind of layer takes beside its cell and the choices."""
    taken = inspect.signature(layer).parameters.values()
    return [each.name for each in taken if each.kind != each.VAR_KEYWORD and each.name != "cell"]


def settings_of(
    layer: type, cell: type[Cell], choices: Mapping[str, Any], bias: bool, **sizes: Any
) -> tuple[Settings, list[str]]:
    """Returns the settings of a layer, and what is wrong with them, a line each.

    Args:
        layer: The kind of it, ``Recurrent`` for one.
        cell: Whose layer it is.
        choices: Those of :class:`Choices` that are given.
        bias: Whether the layer has biases.
        **sizes: Other fields of :class:`harness.settings.Settings`.

    Raises:
        TypeError: A choice is unknown.
    """
    for name in choices:
        if name not in Choices.__annotations__:
            known = (*arguments_of(layer), *Choices.__annotations__)
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            if name == "nonlinearity":  # of torch.nn.RNN alone
                hint = " The cells rnn-tanh and rnn-relu have one each."
            raise TypeError(
                f"{name}: must be one of {', '.join(known)}, "
                f"but got {name}={choices[name]!r}.{hint}"
            )
    settings = Settings(cell=cell.name, corpus=NO_CORPUS, **sizes, **choices)
    return settings, problems_of(settings) + _without_effect(cell, settings, bias)


def _without_effect(cell: type[Cell], settings: Settings, bias: bool) -> list[str]:
    """Returns a line for every setting that finds nothing in the cell to act on."""
    return [
        f"{name}: must have something to act on, but the layer of {cell.name} has no {what} "
        f"and got {name}={getattr(settings, name)!r}. Leave it out."
        for name, what in lacking(cell, bias).items()
        if getattr(settings, name) not in (None, 0.0)
    ]


def lacking(cell: type[Cell], bias: bool = True) -> dict[str, str]:
    """Returns the choices that find nothing in the cell to act on, and what each looks for."""
    zoneable, has_products = cell.zoneout_states, bool(cell.recurrent_products())
    acts_on = {
        "state_dropout": ("recurrent product", has_products),
        "weight_dropout": ("recurrent product", has_products),
        "recurrent_dropout": ("candidate", bool(cell.candidates)),
        "zoneout_h": ("state h that zoneout may hold", "h" in zoneable),
        "zoneout_c": ("state c that zoneout may hold", "c" in zoneable),
        "forget_bias": ("forget gate with a bias", bias and bool(cell.forget_gates)),
        "chrono_steps": ("forget gate with a bias", bias and bool(cell.forget_gates)),
    }
    return {name: what for name, (what, is_there) in acts_on.items() if not is_there}


def size_problems(cell: type[Cell], hidden_size: int, input_sizes: Mapping[str, int]) -> list[str]:
    """Returns what is wrong with the layers' input sizes, given by name, a line each."""
    problems = []
    for name, size in input_sizes.items():
        where = f"input_size of {name.removeprefix('_')}" if name.startswith("_l") else "input_size"
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            problems.append(f"{where}: must be an int from 1 on, but got {size!r}.")
        elif cell.reads_input and size != hidden_size:
            problems.append(
                f"{where}: must be hidden_size={hidden_size}, for a step of {cell.name} reads its "
                f"input itself, but got {size}."
            )
    return problems


def switch_problems(**switches: Any) -> list[str]:
    """Returns what is wrong with arguments that are on or off, given by name, a line each.

    0 and 1 are taken, as torch.nn has long taken them; a word would be on, ``"no"`` too.
    """
    return [
        f"{name}: must be True or False, but got {name}={value!r}."
        for name, value in switches.items()
        if not (isinstance(value, int) and value in (0, 1))
    ]
