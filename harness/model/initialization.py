"""A run's first parameters: pure functions of its seed and of each block's names."""

import math

import numpy as np
import torch

from cells.base import DRAWN, Cell
from harness import randomness
from harness.engine import Parameters
from harness.model.architecture import Architecture, Slot
from harness.settings import Settings

INITIAL_STDDEV = 0.01
"""The standard deviation of ``initialization: normal`` where no scale is given."""
IRNN_STDDEV = 0.001
"""That of ``initialization: identity`` for all weights but the recurrent ones.

So Le, Jaitly & Hinton drew them ("A simple way to initialize recurrent networks of rectified linear
units", 2015). The scale changes the recurrent ones alone.
"""


def initial_parameters(
    arch: Architecture, settings: Settings, seed: tuple[randomness.Name, ...]
) -> Parameters:
    """Returns one run's initial parameters without the run axis, float64 on the CPU.

    Each gate's block is a pure function of (seed, layer, parameter, gate), so that equal names and
    shapes in different arms get equal numbers.
    """
    return {
        slot.name: torch.from_numpy(_initial(slot, arch, settings, seed)) for slot in arch.slots()
    }


def _initial(
    slot: Slot, arch: Architecture, settings: Settings, seed: tuple[randomness.Name, ...]
) -> np.ndarray:
    if slot.kind == "vector" and slot.start != DRAWN:
        return np.full(slot.shape, float(slot.start))
    in_blocks = (
        slot.kind == "recurrent" and arch.cell.recurrent_rows(arch.hidden_size) < arch.hidden_size
    )
    stacked = (
        settings.initialization == "keras" and slot.kind in ("input", "recurrent") and not in_blocks
    )
    blocks = [slot.gates] if stacked else [(gate,) for gate in slot.gates]
    drawn = []
    for gates in blocks:
        names = (*seed, "weights", slot.name, "" if stacked else gates[0])
        shape = (*slot.shape[:-1], slot.width * len(gates))
        parts = [(shape, names)]
        if in_blocks:  # each is drawn as the square matrix that it is
            parts = [((shape[0], shape[0]), (*names, k)) for k in range(shape[1] // shape[0])]
        drawn_parts = [
            _draw(slot.kind, part, arch.hidden_size, settings, part_names)
            for part, part_names in parts
        ]
        values = np.concatenate(drawn_parts, axis=-1)
        is_only = slot.kind == "recurrent_bias" and gates[0] not in arch.cell.gates
        if slot.kind == "bias" or is_only:
            values = _with_forget_bias(values, gates[0], arch.cell, settings)
            values = _with_chrono_bias(
                values, gates[0], arch.cell, settings, (*seed, "chrono", _layer_of(slot))
            )
        drawn.append(values)
    return np.concatenate(drawn, axis=-1)


def _layer_of(slot: Slot) -> str:
    return slot.name.partition(".")[0]


def _draw(
    kind: str,
    shape: tuple[int, ...],
    hidden_size: int,
    settings: Settings,
    names: tuple[randomness.Name, ...],
) -> np.ndarray:
    scheme, scale = settings.initialization, settings.initial_scale
    if scheme == "uniform":
        bound = scale if scale is not None else 1.0 / math.sqrt(hidden_size)
        return bound * (2.0 * randomness.uniform(*names, shape=shape) - 1.0)
    if "bias" in kind:
        return np.zeros(shape)
    if scheme == "normal":
        return (INITIAL_STDDEV if scale is None else scale) * randomness.normal(*names, shape=shape)
    if scheme == "identity" and kind != "recurrent":
        return IRNN_STDDEV * randomness.normal(*names, shape=shape)
    gain = 1.0 if scale is None else scale
    if scheme == "identity":
        return gain * np.eye(shape[0], shape[1])
    if kind == "recurrent" and scheme in ("orthogonal", "keras"):
        return gain * _orthogonal(shape, names)
    fans = shape if len(shape) == 2 else (hidden_size, hidden_size)
    bound = gain * math.sqrt(6.0 / sum(fans))
    return bound * (2.0 * randomness.uniform(*names, shape=shape) - 1.0)


def _orthogonal(shape: tuple[int, ...], names: tuple[randomness.Name, ...]) -> np.ndarray:
    """Returns a matrix of ``shape`` whose rows or columns, whichever are fewer, are orthonormal.

    It is uniform over such matrices.
    """
    rows, columns = shape
    tall = randomness.normal(*names, shape=(max(shape), min(shape)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    return q if rows >= columns else q.T


def _with_forget_bias(
    values: np.ndarray, gate: str, cell: type[Cell], settings: Settings
) -> np.ndarray:
    if gate not in cell.forget_gates:
        return values
    if settings.forget_bias is not None:
        return np.full_like(values, settings.forget_bias)
    return np.ones_like(values) if settings.initialization == "keras" else values


def _with_chrono_bias(
    values: np.ndarray,
    gate: str,
    cell: type[Cell],
    settings: Settings,
    names: tuple[randomness.Name, ...],
) -> np.ndarray:
    """Returns log U(1, T - 1) for a forget gate, its negative for the input gate in its place.

    For other gates it returns ``values``. Tallec & Ollivier, "Can recurrent neural networks warp
    time?", 2018: sigmoid(log t) = t / (t + 1) forgets over some t + 1 time steps.

    Args:
        values: The biases as drawn.
        gate: Whose biases they are.
        cell: Names the gates.
        settings: Gives T.
        names: The layer's, for the two gates may have their biases in different parameters.
    """
    forget_gate = dict(zip(cell.input_gates, cell.forget_gates, strict=False)).get(gate, gate)
    if settings.chrono_steps is None or forget_gate not in cell.forget_gates:
        return values
    time_steps = 1.0 + (settings.chrono_steps - 2) * randomness.uniform(
        *names, forget_gate, shape=values.shape
    )
    return np.log(time_steps) if gate == forget_gate else -np.log(time_steps)
