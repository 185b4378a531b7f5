"""Whether a device runs a layer's kernels right: each layer is tried there before it is used.

The kernels were written without a device. One that is wrong may give another number each time, hang
the device or end its process. So a layer is tried in a process of its own, which compares what the
kernels compute with the same time loop in torch's operations on the CPU. A layer that agrees is
not tried again on the same device.
"""

import functools
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from harness import cache, timing
from harness.engine.base import Layer, State
from harness.engine.cpu.compiler import CompileError
from harness.engine.gpu import gpu
from harness.engine.persistent import device as on_device
from harness.engine.persistent import host, loop, nvrtc
from harness.engine.persistent.arguments import Kernels
from harness.engine.persistent.question import RUNS, STEPS, Named, Question, question
from harness.engine.persistent.source import Source, with_sums_in_registers
from harness.engine.rounding import allow_tf32

BLOCKS_AT_ONCE = 8
"""Of :data:`THREADS` threads, on each multiprocessor of a device, at most."""
REPEATS = 3
SECONDS = 300
"""So long a trial may take; most of it is for loading torch and compiling, where disks are slow."""
PROGRAM = (sys.executable, "-P", "-c", f"from {__name__} import main; main()")
LARGEST_ERRORS = {"float64": 1e-9, "float32": 2e-4, "tf32": 2**-6, "bf16": 2**-4}
MEAN_ERRORS = {"float64": 1e-11, "float32": 5e-6, "tf32": 2e-3, "bf16": 2e-3}
"""By precision, over the largest value of a tensor.

An operand that lies between two numbers may be rounded to the other one, so that a right kernel has
a few large errors in tf32 and bf16, and a device may cut off what tf32 drops, where torch's
operations round it. A wrong kernel has larger errors or many.
"""

Key = tuple[Layer, Source, torch.device]

_answers: dict[Key, str | None] = {}
"""What the kernels themselves have shown in this process."""


class Untried(RuntimeError):
    """A layer could not be tried, which says nothing of its kernels."""


def failure(layer: Layer, code: Source, device: torch.device) -> str | None:
    """Returns why the layer's kernels cannot be used on the device, in one line, or None.

    The first call with a layer takes seconds, and waits for the device.

    Args:
        layer: What is to be run, on one thread.
        code: Its kernels.
        device: Of CUDA; or a CPU, whose kernels are the host's.

    Raises:
        torch.OutOfMemoryError: There is no memory to try it with.
    """
    key = layer, code, device
    if key not in _answers:
        try:
            _answers[key] = _kept(layer, code, device)
        except Untried as error:
            return str(error).rstrip(".")
    return _answers[key]


def _kept(layer: Layer, code: Source, device: torch.device) -> str | None:
    """Returns why the kernels are wrong, or None: so it is kept in the cache.

    Raises:
        Untried: They could not be tried.
    """

    def make(source: Path, made: Path) -> None:
        num_tiles = 2
        if device.type == "cuda":
            # More than run at once: some blocks are to begin where others have ended.
            properties = torch.cuda.get_device_properties(device)
            num_blocks = BLOCKS_AT_ONCE * properties.multi_processor_count + 1
            num_tiles = max(2, -(-num_blocks // (RUNS * code.tiling.num_blocks)))
        if reason := asked(PROGRAM, pickle.dumps((question(layer, num_tiles), device))):
            raise _Wrong(reason)
        made.write_text("agrees\n", encoding="utf-8")

    try:
        file = cache.compiled_file("persistent", _key(code, device), ".tried")
        cache.make_once(file, file.with_suffix(".txt"), code.text, make)
    except _Wrong as error:
        return str(error)
    except (cache.CacheError, nvrtc.NvrtcError) as error:
        raise Untried(str(error)) from error
    return None


def _key(code: Source, device: torch.device) -> list[str]:
    """Returns all that an answer hangs on: the kernels, what launches and tries them, the device.

    Raises:
        nvrtc.NvrtcError: There is none.
    """
    folder = Path(__file__).parent
    ours = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))]
    if device.type == "cpu":
        return [code.on("host"), torch.__version__, *ours]
    name = torch.cuda.get_device_name(device)
    return [code.on("device"), nvrtc.version(), name, torch.__version__, *ours]


class _Wrong(Exception):
    """The kernels are."""


def asked(command: Sequence[str], question: bytes, seconds: float = SECONDS) -> str | None:
    """Returns what a process says is wrong: a line of JSON, its last one.

    Args:
        command: Its words.
        question: What it gets on standard input.
        seconds: So long it may take.

    Raises:
        Untried: The process could not begin, or says that it could not try.
        torch.OutOfMemoryError: It says that there was no memory.
    """
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    try:
        done = subprocess.run(
            command,
            input=question,
            capture_output=True,
            timeout=seconds,
            env={**os.environ, "PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        return f"its kernels, tried in a process of their own, did not end in {seconds:.0f} s"
    except OSError as error:
        raise Untried(f"a process of its own must begin to try it, but got {error}") from error
    try:
        answer = json.loads(done.stdout.decode().splitlines()[-1])
        told: list[str | None] = [answer[key] for key in ANSWER]
    except (IndexError, ValueError, TypeError, KeyError):
        told = []
    if told and done.returncode == 0:
        wrong, untried, out_of_memory = told
        if out_of_memory:
            raise torch.OutOfMemoryError(out_of_memory)
        if untried:
            raise Untried(untried)
        return wrong
    said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return (
        f"its kernels ended the process that tried them, with {done.returncode}: "
        f"{''.join(said)[:300] or 'it said nothing'}"
    )


ANSWER = ("wrong", "untried", "out_of_memory")
"""The fields of an answer, each with a line or null."""


def disagreement(of: Question, kernels: Kernels, device: torch.device) -> str | None:
    """Returns what kernels compute otherwise than torch's operations, or None."""
    expected = of.called(functools.partial(_by_torch, of), torch.device("cpu"))
    ours = functools.partial(_by_kernels, of, kernels)
    found = of.called(ours, device)
    wrong = [name for name in expected if not _is_near(found[name], expected[name], of.precision)]
    if wrong:
        shown = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        return f"its kernels compute another value than torch: {shown}"
    for _ in range(REPEATS - 1):
        again = of.called(ours, device)
        changed = [name for name in found if not torch.equal(found[name], again[name])]
        if changed:
            return f"its kernels compute another value each time: {', '.join(changed[:3])}"
    return None


def _by_torch(
    of: Question, tokens: Tensor | None, x: Tensor, vectors: Tensor, noise: Tensor,
    matrices: Named, states: State,
) -> Sequence[Tensor]:  # fmt: skip
    if tokens is not None:
        x = torch.stack([table[row] for table, row in zip(x, tokens, strict=True)])
    plan = gpu.rounding(of.plan) if of.precision == "bf16" else of.plan
    return gpu.recurrence(plan, of.precision, x, vectors, noise, *matrices.values(), *states)


def _by_kernels(
    of: Question, kernels: Kernels, tokens: Tensor | None, x: Tensor, vectors: Tensor,
    noise: Tensor, matrices: Named, states: State,
) -> Sequence[Tensor]:  # fmt: skip
    plan = with_sums_in_registers(of.plan)
    own = loop.Loop(plan, of.precision, kernels)
    shape = (STEPS, RUNS, states[0].shape[1])
    return loop.recurrence(own, shape, tokens, x, vectors, noise, *matrices.values(), *states)


def _is_near(ours: Tensor, theirs: Tensor, precision: str) -> bool:
    if theirs.numel() == 0:
        return ours.shape == theirs.shape
    error = (ours - theirs).abs() / theirs.abs().max().clamp(min=1e-30)
    return bool(error.max() < LARGEST_ERRORS[precision] and error.mean() < MEAN_ERRORS[precision])


def main() -> None:
    """Answers the question on standard input, with a line of JSON."""
    signal.alarm(SECONDS)  # who asked may have been killed, and a kernel may never end
    of, device = pickle.load(sys.stdin.buffer)
    print(json.dumps(dict(zip(ANSWER, _answer(of, device), strict=True))), flush=True)


def _answer(of: Question, device: torch.device) -> tuple[str | None, str | None, str | None]:
    allow_tf32(of.precision)
    plan = with_sums_in_registers(of.plan)
    try:
        torch.zeros(1, device=device)
    except RuntimeError as error:  # it may be for one process alone
        reason = f"a second process must reach the device to try it, but got {_line(error)}"
        return None, reason, None
    try:
        if device.type == "cpu":
            made = host.kernels(plan, of.precision, host.tiling(plan.hidden_size))
        else:
            index = torch.cuda.current_device() if device.index is None else device.index
            made = on_device.kernels(plan, of.precision, index)
        return disagreement(of, made, device), None, None
    except (on_device.DeviceError, nvrtc.NvrtcError, CompileError) as error:
        return None, _line(error), None
    except Exception as error:
        if not timing.out_of_memory(error):
            raise
        return None, None, _line(error)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
