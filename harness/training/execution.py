"""On what a run is executed: its device, its engine, the processors it may use."""

import re
from typing import Literal

import torch

from harness import engine, timing
from harness.model.regularization import regularized_cell
from harness.settings import Settings
from harness.training.plan import PlanError


def missing_gpu() -> str | None:
    """Returns why torch can use no GPU here, None where it can.

    Raises:
        PlanError: There is one, and it answers its first calls with an error. It may work again,
            so that no other device takes its place.
    """
    if not torch.cuda.is_available():
        built = torch.version.cuda
        if built is None:
            return "it is built without CUDA"
        return f"it needs a GPU and a driver for CUDA {built}"
    try:
        return _missing_code()
    except (RuntimeError, torch.cuda.DeferredCudaCallError) as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise PlanError(
            f"device: the GPU must answer, but got error={cause!r}. See what nvidia-smi says of "
            "it, free it or start its driver anew, or use cpu."
        ) from error


def _missing_code() -> str | None:
    code, capability = torch.cuda.get_arch_list(), torch.cuda.get_device_capability()
    if any(_runs(each, capability) for each in code):
        torch.cuda.mem_get_info()  # the first call that needs a context, which a busy GPU refuses
        return None
    number = ".".join(map(str, capability))
    name = torch.cuda.get_device_name()
    return f"it has code for {', '.join(code)}, and {name} has compute capability {number}"


def _runs(code: str, capability: tuple[int, int]) -> bool:
    """Returns whether a GPU runs code of a name such as ``sm_90``, or PTX such as ``compute_90``.

    Machine code is for one generation, from a member of it on; the driver compiles PTX for all that
    come later. AMD's have other names, and are taken to run.
    """
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", code)
    if found is None:
        return True
    first = int(found[2]), int(found[3])
    return first <= capability and (found[1] == "compute" or first[0] == capability[0])


def resolve_device(name: str) -> Literal["cpu", "cuda"]:
    """Returns cpu or cuda.

    Raises:
        PlanError: CUDA is asked for and there is none, or there is one that does not answer.
    """
    if name == "cpu":
        return "cpu"
    why_not = missing_gpu()
    if name == "cuda" and why_not is not None:
        raise PlanError(
            "device: must be on this machine, but got device='cuda' and torch can use none: "
            f"{why_not}. Use auto or cpu."
        )
    return "cuda" if why_not is None else "cpu"


def passed_over(name: str) -> list[str]:
    """Returns a note where ``auto`` is a CPU on a machine with a GPU, else nothing.

    Raises:
        PlanError: The GPU does not answer.
    """
    if name != "auto" or not torch.cuda.is_available() or (why_not := missing_gpu()) is None:
        return []
    return [f"device: auto is cpu, since torch can use no GPU: {why_not}"]


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


def check_layer(chosen: engine.Engine, layer: engine.Layer, device: torch.device) -> None:
    """Raises where an engine that runs the cell does not run a layer of it on the device.

    Raises:
        engine.EngineError: It does not.
    """
    if (refusal := chosen.layer_refusal(layer, device)) is not None:
        raise engine.EngineError(
            f"engine: must run the layer, but got engine={chosen.name!r}: {refusal}. Use auto."
        )


def threads_of(settings: Settings) -> int:
    """Returns how many threads the runs of a pack may use together."""
    return settings.threads or timing.cpu_count()
