"""What a token takes: parameters, floating-point operations and bytes, in closed form.

Operations are those of products alone, 2 for an entry of a matrix; a row that is looked up is
multiplied by nothing. Bytes are those that are moved if every time step reads each parameter once,
shared by the streams of the batch: a lower bound of what passes through a core, wherever it lies.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from harness import engine
from harness.engine import Parameters, dtype_of
from harness.model.architecture import Architecture
from harness.model.initialization import initial_parameters
from harness.model.network import Model
from harness.settings import Settings

UPDATE_MOVES = 4
"""Moves of a parameter by a step of SGD: gradient written and read, value read and written."""


def forward_bytes(arch: Architecture, batch_size: int) -> float:
    """Returns the bytes that a forward pass moves for a token of one layer's model.

    The parameters that all streams share, over their number; and for each stream the row that it
    looks up, its states read and written, and its scores written.
    """
    return _item_bytes(arch) * (_shared(arch) / batch_size + _own(arch))


def training_bytes(arch: Architecture, batch_size: int, bptt_length: int) -> float:
    """Returns the bytes that an update moves for each of its tokens.

    Twice the forward pass's, for the way back; every gate, which is kept and read back; and every
    parameter four times an update.
    """
    gates = len(_gates(arch)) * arch.hidden_size
    per_update = UPDATE_MOVES * arch.num_parameters() / (batch_size * bptt_length)
    passes = 2 * forward_bytes(arch, batch_size)
    return passes + _item_bytes(arch) * (2 * gates + per_update)


def parameter_bytes(arch: Architecture) -> int:
    """Returns the bytes of the parameters that a time step reads whole: no looked-up table."""
    return _item_bytes(arch) * _shared(arch)


def _item_bytes(arch: Architecture) -> int:
    return dtype_of(arch.precision).itemsize


def _shared(arch: Architecture) -> int:
    table = "lookup" if arch.embedding_size is not None else "input"
    slots = [slot for slot in arch.slots() if slot.kind != table]
    return sum((slot.rows or 1) * slot.width * len(slot.gates) for slot in slots)


def _own(arch: Architecture) -> int:
    row = arch.embedding_size
    if row is None:
        row = len(arch.cell.gates) * arch.hidden_size
    return row + 2 * arch.num_states() + arch.num_outputs


def _gates(arch: Architecture) -> set[str]:
    fed = [gate for gates in arch.cell.recurrent_products().values() for gate in gates]
    return {*arch.cell.gates, *fed}


def counted_flops(arch: Architecture, settings: Settings) -> tuple[float, float]:
    """Returns the FLOPs of a token forward and in training, as torch counts them.

    Its counter watches the reference engine: what is counted is the cell's own step, whatever a
    closed form says of it. They are what one more time step adds: matrices that are made of
    parameters are made once, however many steps there are.
    """
    drawn = initial_parameters(arch, settings, ("cost",))
    parameters = {name: value.unsqueeze(0).requires_grad_() for name, value in drawn.items()}
    (forward, training), (more_forward, more_training) = (
        _flops(arch, parameters, num_steps) for num_steps in (1, 2)
    )
    return more_forward - forward, more_training - training


def _flops(arch: Architecture, parameters: Parameters, num_steps: int) -> tuple[int, int]:
    """Returns torch's counts of a forward pass of one stream, and of that and the way back."""
    model = Model(arch, engine.get("reference"))
    tokens = (torch.arange(num_steps) % arch.num_inputs).view(-1, 1, 1)
    # The state before the first step has a gradient too: every step is like every other.
    states = [
        tuple(each.detach().requires_grad_() for each in state)
        for state in model.initial_states(parameters, 1, 1)
    ]
    with FlopCounterMode(display=False) as counter:
        rows, _ = model(parameters, tokens, states)
        scores = model.readout(parameters).scores(rows)
        forward = counter.get_total_flops()
        torch.nn.functional.cross_entropy(scores[0], tokens.flatten()).backward()
    return forward, counter.get_total_flops()
