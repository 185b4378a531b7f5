"""What a module may be given: everything that is wrong is told at once, before any engine runs.

Compiled code reads memory as the dtype that it was made for, so nothing else may reach it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.engine import State

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""The dtypes of parameters; halves are stored so and computed in float32."""


def as_state(hx: Tensor | Sequence[Tensor]) -> State:
    """Returns a state as a tuple: a cell of one state is given the tensor itself.

    So is what is no state at all, which :func:`state_problems` then tells.
    """
    if isinstance(hx, Tensor):
        return (hx,)
    return tuple(hx) if isinstance(hx, Sequence) else (hx,)


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype that engines compute in for parameters of a dtype."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def input_problems(
    data: Tensor, axes: Sequence[int], input_size: int, parameter: Tensor, where: str = "input"
) -> list[str]:
    """Returns what is wrong with an input, a line each.

    Args:
        data: Tokens, or rows with one axis more.
        axes: How many axes there may be before the features.
        input_size: The features of a row, or the number of tokens.
        parameter: Of the module; gives dtype and device.
        where: What the module calls its input.
    """
    if problems := _form_problems(f"{where}:", data):
        return problems
    is_float, shape = data.is_floating_point(), tuple(data.shape)
    if not is_float and data.dtype != torch.int64:
        problems.append(
            f"{where}: must be floats, or tokens of int64, but got dtype={data.dtype}. Convert it."
        )
    elif data.ndim - is_float not in axes:
        numbers = " or ".join(str(each + is_float) for each in axes)
        what = "floats" if is_float else "tokens"
        problems.append(f"{where}: must have {numbers} axes of {what}, but got shape={shape}.")
    elif is_float and shape[-1] != input_size:
        problems.append(f"{where}: must have input_size={input_size} features, but got {shape=}.")
    if is_float:
        problems += _dtype_problems(f"{where}:", data, parameter)
    return problems + _device_problems(f"{where}:", data, parameter)


def state_problems(
    state: State,
    names: Sequence[str],
    shape: tuple[int, ...],
    parameter: Tensor,
    where: str = "hx",
) -> list[str]:
    """Returns what is wrong with a state that is given, a line each.

    Args:
        state: One tensor a state of the cell.
        names: Of the cell's states.
        shape: That each must have.
        parameter: Of the module; gives dtype and device.
        where: What the module calls its state.
    """
    if len(state) != len(names):
        return [
            f"{where}: must be one tensor for each of {', '.join(names)}, but got {len(state)}."
        ]
    problems = []
    for name, values in zip(names, state, strict=True):
        if wrong := _form_problems(f"{where}: {name}", values):
            problems += wrong
            continue
        if tuple(values.shape) != shape:
            problems.append(
                f"{where}: {name} must have shape={shape}, but got shape={tuple(values.shape)}."
            )
        problems += _dtype_problems(f"{where}: {name}", values, parameter)
        problems += _device_problems(f"{where}: {name}", values, parameter)
    return problems


def is_autocast(device: str) -> bool:
    """Returns whether autocast is on for a type of device; ``meta`` is unknown to it."""
    return device != "meta" and torch.is_autocast_enabled(device)


def raise_all(problems: Sequence[str]) -> None:
    """Raises what is wrong, where anything is.

    Raises:
        ValueError: There are problems.
    """
    if problems:
        raise ValueError("\n".join(problems))


def parameter_problems(parameters: Sequence[Tensor]) -> list[str]:
    """Returns what is wrong with a module's parameters, a line each: they are to be alike."""
    first = parameters[0]
    dtypes = {str(p.dtype): None for p in parameters}
    devices = {str(p.device): None for p in parameters}
    problems = []
    if len(dtypes) > 1 or first.dtype not in FLOATS:
        allowed = ", ".join(map(str, FLOATS))
        problems.append(
            f"parameters: must be of one dtype of {allowed}, but got {', '.join(dtypes)}."
        )
    if len(devices) > 1:
        problems.append(f"parameters: must be on one device, but got {', '.join(devices)}.")
    return problems


def _form_problems(where: str, given: object) -> list[str]:
    if not isinstance(given, Tensor):
        return [f"{where} must be a tensor, but got type={type(given).__name__}. Convert it."]
    if given.is_nested or given.layout != torch.strided:
        layout = "torch.nested" if given.is_nested else str(given.layout)
        return [f"{where} must be dense, but got {layout=!s}. Convert it."]
    return []


def _dtype_problems(where: str, values: Tensor, parameter: Tensor) -> list[str]:
    is_cast = is_autocast(parameter.device.type) and values.dtype in FLOATS
    if values.dtype == parameter.dtype or is_cast:
        return []
    return [
        f"{where} must have the parameters' dtype={parameter.dtype}, "
        f"but got dtype={values.dtype}. Convert it."
    ]


def _device_problems(where: str, values: Tensor, parameter: Tensor) -> list[str]:
    if values.device == parameter.device:
        return []
    return [
        f"{where} must be on the parameters' device={str(parameter.device)!r}, "
        f"but got device={str(values.device)!r}. Move it."
    ]
