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
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harness import cache
from harness.engine.base import Layer, State, dtype_of, initial_state, prepared
from harness.engine.gpu import gpu
from harness.engine.gpu.launches import Layout
from harness.engine.gpu.layout import layout
from harness.engine.persistent import device as on_device
from harness.engine.persistent import host, loop, nvrtc
from harness.engine.persistent.arguments import Kernels
from harness.engine.persistent.source import Source, with_sums_in_registers
from harness.engine.reference import input_product, input_table

STEPS, RUNS, BATCH, VOCABULARY = 5, 2, 9, 5
"""T, N, B and V: two clusters for the rows of a run, of which the second has one row."""
REPEATS = 3
SECONDS = 300.0
"""So long a trial may take; most of it is for loading torch and compiling, where disks are slow."""
PROGRAM = (sys.executable, "-P", "-c", f"from {__name__} import main; main()")
LARGEST_ERRORS = {"float64": 1e-9, "float32": 2e-4, "tf32": 2**-7, "bf16": 2**-4}
MEAN_ERRORS = {"float64": 1e-11, "float32": 5e-6, "tf32": 2e-4, "bf16": 2e-3}
"""By precision, over the largest value of a tensor.

An operand that lies between two numbers may be rounded to the other one, so that a right kernel has
a few large errors in tf32 and bf16. A wrong one has many.
"""

Named = dict[str, Tensor]


@functools.lru_cache(maxsize=256)
def failure(layer: Layer, code: Source, device: torch.device) -> str | None:
    """Returns why the layer's kernels cannot be used on the device, in one line, or None.

    The first call with a layer takes seconds, and waits for the device.

    Args:
        layer: What is to be run, on one thread.
        code: Its kernels.
        device: Of CUDA; or a CPU, whose kernels are the host's.
    """
    if device.type == "cpu":
        made_of = [code.on("host"), "cpu"]
    else:
        made_of = [code.on("device"), nvrtc.version(), torch.cuda.get_device_name(device)]
    key = [*made_of, torch.__version__, *map(str, (STEPS, RUNS, BATCH, REPEATS))]
    file = cache.compiled_file("persistent", key, ".tried")

    def make(source: Path, made: Path) -> None:
        if reason := asked(PROGRAM, _question(layer, device)):
            raise _Disagrees(reason)
        made.write_text("agrees\n", encoding="utf-8")

    try:
        cache.make_once(file, file.with_suffix(".txt"), code.text, make)
    except (_Disagrees, cache.CacheError) as error:
        return str(error).rstrip(".")
    return None


class _Disagrees(Exception):
    """A trial was not passed."""


def asked(command: Sequence[str], question: bytes, seconds: float = SECONDS) -> str | None:
    """Returns what a process answers on its last line: a reason or null, in JSON.

    Args:
        command: Its words.
        question: What it gets on standard input.
        seconds: So long it may take.
    """
    path = os.pathsep.join(folder for folder in sys.path if folder)
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
    try:
        answer: str | None = json.loads(done.stdout.decode().splitlines()[-1])
        if done.returncode == 0:
            return answer
    except (IndexError, ValueError):
        pass
    said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return (
        f"its kernels ended the process that tried them, with {done.returncode}: "
        f"{''.join(said)[:300] or 'it said nothing'}"
    )


@dataclass(frozen=True)
class Question:
    """A layer's time loop and the arguments of a call, on the CPU.

    Attributes:
        plan: The loop as engine ``gpu`` has it.
        precision: Of its products.
        tokens: (T, N, B); None where the cell reads its input.
        leaves: What has a gradient, by name: ``table`` (N, V, G*H), ``rows`` (N, T, B, G*H),
            ``vectors`` (N, K*H), matrices (N, H, g*H) as ``matrix.NAME``, ``state.0`` and so on
            (N, B, H).
        noise: (N, T, B, M*H).
    """

    plan: Layout
    precision: str
    tokens: Tensor | None
    leaves: Named
    noise: Tensor

    def called(self, run: Callable[..., Sequence[Tensor]], device: torch.device) -> Named:
        """Returns a loop's results and their gradients, by name, on the CPU.

        Args:
            run: Is called with tokens (N, T, B) or None, the table or the rows, vectors, noise,
                matrices by name and states; returns outputs (T, N, B, H) and final states.
            device: Where.
        """
        leaves = {n: v.to(device).detach().requires_grad_() for n, v in self.leaves.items()}
        matrices = {n[7:]: v for n, v in leaves.items() if n.startswith("matrix.")}
        states = tuple(v for n, v in leaves.items() if n.startswith("state."))
        given: dict[str, Tensor | None] = {"rows": None}
        if self.tokens is not None:
            given["table"] = self.tokens.transpose(0, 1).contiguous().to(device)
        found: Named = {}
        for name, tokens in given.items():
            values = run(
                tokens, leaves[name], leaves["vectors"], self.noise.to(device), matrices, states
            )
            total = torch.stack([(_weights(v) * v).sum() for v in values]).sum()
            used = [leaf for leaf in leaves if leaf not in {"rows", "table"} - {name}]
            gradients = torch.autograd.grad(
                total, [leaves[leaf] for leaf in used], allow_unused=True, materialize_grads=True
            )
            found |= {f"{name}: result {k}": value for k, value in enumerate(values)}
            found |= {
                f"{name}: gradient of {leaf}": gradient
                for leaf, gradient in zip(used, gradients, strict=True)
            }
        return {name: value.detach().cpu() for name, value in found.items()}


def _weights(like: Tensor) -> Tensor:
    """Returns numbers between -1 and 1, of which neighbours differ."""
    return torch.arange(like.numel(), device=like.device).view(like.shape).to(like.dtype).sin()


def question(layer: Layer) -> Question:
    """Returns a call of the layer with random numbers of the size that training begins with.

    Raises:
        Untraceable: The layer's step cannot be traced.
    """
    dtype, size = dtype_of(layer.precision), layer.hidden_size
    draw = functools.partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=dtype)
    width = size if layer.cell.reads_input else VOCABULARY
    specs = layer.cell.parameters(width, size, layer.biases)
    inputs = draw(STEPS, RUNS, BATCH, width)
    drawn = {s.name: draw(RUNS, *s.shape(size)) / (size + 1) ** 0.5 for s in specs}
    ready = prepared(layer, drawn, inputs)
    vectors = [ready[s.name] for s in specs if s.kind in ("recurrent_bias", "vector")]
    leaves = {
        "rows": input_product(layer, ready, inputs).transpose(0, 1).contiguous(),
        "vectors": torch.cat(vectors, dim=-1) if vectors else draw(RUNS, 0),
    }
    leaves |= {f"matrix.{s.name}": ready[s.name] for s in specs if s.kind == "recurrent"}
    first: State = initial_state(layer.cell, RUNS, BATCH, size, inputs)
    leaves |= {f"state.{k}": s + draw(s.shape) / 10 for k, s in enumerate(first)}
    tokens = None
    if not layer.cell.reads_input:
        leaves["table"] = input_table(layer, ready)
        tokens = torch.arange(STEPS * RUNS * BATCH).view(STEPS, RUNS, BATCH) * 7 % VOCABULARY
    noise = draw(RUNS, STEPS, BATCH, len(layer.cell.noise) * size).sigmoid()
    return Question(layout(layer), layer.precision, tokens, leaves, noise)


def _question(layer: Layer, device: torch.device) -> bytes:
    return pickle.dumps((question(layer), device))


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
    shape = (STEPS, RUNS, BATCH)
    return loop.recurrence(own, shape, tokens, x, vectors, noise, *matrices.values(), *states)


def _is_near(ours: Tensor, theirs: Tensor, precision: str) -> bool:
    if theirs.numel() == 0:
        return ours.shape == theirs.shape
    error = (ours - theirs).abs() / theirs.abs().max().clamp(min=1e-30)
    return bool(error.max() < LARGEST_ERRORS[precision] and error.mean() < MEAN_ERRORS[precision])


def main() -> None:
    """Answers the question on standard input, with a line of JSON."""
    of, device = pickle.load(sys.stdin.buffer)
    plan = with_sums_in_registers(of.plan)
    if device.type == "cpu":
        made = host.kernels(plan, of.precision, host.tiling(plan.hidden_size))
    else:
        index = torch.cuda.current_device() if device.index is None else device.index
        made = on_device.kernels(plan, of.precision, index)
    print(json.dumps(disagreement(of, made, device)), flush=True)
