"""Whether a run of an arm can fit into memory at all, counted before anything is allocated.

A system may grant memory that it does not have, and end the process when that is used: no error
says so then.
"""

import psutil
import torch

from harness.data import Data
from harness.engine import dtype_of
from harness.model.architecture import architecture
from harness.settings import Settings
from harness.training.execution import resolve_device
from harness.training.optimizer import moments

TIMES, TIMES_OF_REFERENCE, TIMES_ON_GPU = 6, 32, 16
"""So many times the counted memory a run is expected to take.

On a CPU that is measured; of engine ``reference`` torch keeps what each operation of each time step
needs for the backward pass. On a GPU what is alive at once is counted, and nothing is measured. See
docs/decisions/executors.md.
"""


def needed_bytes(settings: Settings, data: Data) -> int:
    """Returns the least memory that one run takes while it trains.

    That is parameters, their gradients, the best ones so far and the optimizer's moments; and the
    states of all time steps of a minibatch, which the backward pass reads.

    Args:
        settings: Of the run.
        data: That the run trains on.
    """
    arch = architecture(settings, data.num_inputs, data.num_outputs, data.reads_tokens)
    kept = 3 + len(moments(settings.optimizer, settings.momentum > 0))
    steps = settings.batch_size * settings.bptt_length
    count = kept * arch.num_parameters() + steps * arch.num_states()
    if settings.evaluation_batch_size is not None:
        evaluated = settings.evaluation_batch_size * settings.bptt_length * arch.output_size
        count = max(count, kept * arch.num_parameters() + evaluated)
    return int(count * dtype_of(settings.precision).itemsize)


def expected_bytes(settings: Settings, data: Data) -> int:
    """Returns the memory that one run is expected to take on its device while it trains.

    Args:
        settings: Of the run.
        data: That the run trains on.
    """
    if resolve_device(settings.device) == "cuda":
        times = TIMES_ON_GPU
    else:
        times = TIMES_OF_REFERENCE if settings.engine == "reference" else TIMES
    return times * needed_bytes(settings, data)


def free_bytes(device: str) -> int:
    """Returns the memory that a run can have on a device."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)


def memory_fault(settings: Settings, data: Data) -> str | None:
    """Returns what to tell of a run that cannot fit into memory, None where it may.

    Args:
        settings: Of the run.
        data: That the run trains on.
    """
    device = resolve_device(settings.device)
    needed, free = needed_bytes(settings, data), free_bytes(device)
    if needed <= free:
        return None
    return (
        f"memory must suffice for one run, but it needs {needed / 2**30:,.1f} GiB at least, and "
        f"{free / 2**30:,.1f} GiB of {device} memory are free. Use a smaller hidden_size, "
        "num_layers, batch_size or bptt_length."
    )
