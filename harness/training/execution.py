"""On what a run is executed: its device, its engine, the processors it may use."""

from typing import Literal

import torch

from harness import engine, timing
from harness.model.regularization import regularized_cell
from harness.settings import Settings
from harness.training.plan import PlanError

WORDS_OF_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "[CUDA]: out of memory",
)
"""Of torch on a CPU, of CUDA where torch's own allocator is not asked, of its libraries, Triton."""


def out_of_memory(error: Exception) -> bool:
    """Returns whether memory was the cause: torch's allocator on a GPU has a class for it."""
    is_of_class = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_of_class or any(words in str(error) for words in WORDS_OF_MEMORY)


def resolve_device(name: str) -> Literal["cpu", "cuda"]:
    """Returns cpu or cuda.

    Raises:
        PlanError: CUDA is asked for and there is none.
    """
    is_on_gpu = name != "cpu" and torch.cuda.is_available()
    if name == "cuda" and not is_on_gpu:
        raise PlanError(
            "device: must be on this machine, but got device='cuda' and torch sees none. "
            "Use auto or cpu."
        )
    return "cuda" if is_on_gpu else "cpu"


def resolve_engine(settings: Settings, device: str) -> tuple[engine.Engine, list[str]]:
    """Returns the engine and the notes on faster ones that were passed over.

    Raises:
        engine.EngineError: The engine that is named does not run the cell.
    """
    cell = regularized_cell(settings)
    if settings.engine == "auto":
        name, notes = engine.resolve([cell], device, settings.precision, [settings.biases])
        return engine.get(name), notes
    chosen = engine.get(settings.engine)
    refusal = chosen.refusal(cell, device, settings.precision, settings.biases)
    if chosen.name == "scan-log" and settings.learned_start:
        refusal = "a learned start may fall below 0, which has no logarithm"
    if refusal is not None:
        raise engine.EngineError(
            f"engine: must run the cell, but got engine={chosen.name!r}: {refusal}. Use auto."
        )
    return chosen, engine.notes(chosen, settings.precision)


def threads_of(settings: Settings) -> int:
    """Returns how many threads the runs of a pack may use together."""
    return settings.threads or timing.cpu_count()
