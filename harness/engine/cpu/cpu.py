"""Generated C++ on a CPU, from the program of a cell: all time steps of a run in one call.

A call takes one run after another; training spreads a pack's runs over plain threads, since a call
releases the interpreter's lock. One run may use ``layer.threads``, each of which takes rows of the
batch; no result depends on how many: see docs/decisions/engine.md.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cells.base import Cell
from harness.engine.base import Layer, Parameters, PreparedTape, State, Tape, emitted, prepared
from harness.engine.cpu import compiler
from harness.engine.cpu.call import Call
from harness.engine.cpu.compiled import code_for
from harness.engine.cpu.memory import memory, padded, row_length
from harness.engine.cpu.products import MANTISSA, check_range, products
from harness.engine.rounding import dtype_of
from harness.engine.tracing.trace import Untraceable

LACKING = {
    "bf16": "this processor has no products of bf16 numbers (AVX-512 BF16)",
    "tf32": "no CPU has products of tf32 numbers",
}
"""Precision -> why its products take as long as those of float32."""


class Cpu:
    """Any cell whose step can be traced, in every precision."""

    name = "cpu"
    general_device: str | None = "cpu"
    has_kernels = True

    def refusal(self, cell: type[Cell], device: str, precision: str, biases: int = 1) -> str | None:
        """Returns why the generated code does not run the cell there, or None where it does."""
        if device != "cpu":
            return f"it runs on a CPU, not on {device}"
        if compiler.find() is None:
            return "no C++ compiler was found (g++, clang++ or CXX)"
        try:
            code_for(Layer(cell, compiler.ROUND, biases, precision))
        except Untraceable as error:
            return f"{cell.name}: {error}"
        except compiler.CompileError as error:
            return str(error).splitlines()[0]
        return None

    def layer_refusal(self, layer: Layer, device: torch.device) -> str | None:
        """Returns None: a layer may have any size."""
        return None

    def note(self, precision: str) -> str | None:
        """Returns what makes it slower here than it could be: roundings that are none of hardware.

        They are the same numbers.
        """
        if precision not in MANTISSA or products(precision).operands_at_once() > 1:
            return None
        return (
            f"engine cpu: {precision} operands are rounded and then multiplied as float32, since "
            f"{LACKING[precision]}"
        )

    def run(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Runs a layer; see :class:`harness.engine.base.Engine`.

        Raises:
            Untraceable: The step cannot be generated; :meth:`refusal` says so beforehand.
            IndexError: A token is none of W's rows.
        """
        ready = prepared(layer, parameters, inputs)
        given = (inputs, *state, *ready.values())
        if not (torch.is_grad_enabled() and any(values.requires_grad for values in given)):
            tape = CpuTape(layer, ready, inputs, state, noise, training=False)
            return emitted(layer, parameters, tape.outputs), tape.final
        outputs, *final = _run(layer, tuple(ready), inputs, noise, *given[1:])
        return emitted(layer, parameters, outputs), tuple(final)

    def forward(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None = None,
    ) -> Tape:
        """See :class:`harness.engine.base.Engine`."""

        def tape_of(ready: Parameters) -> CpuTape:
            return CpuTape(layer, ready, inputs, state, noise, True)

        def prepare(given: Parameters) -> Parameters:
            return prepared(layer, given, inputs)

        if layer.cell.is_prepared() or layer.cell.projects:
            return PreparedTape(layer, parameters, prepare, tape_of)
        return tape_of(prepare(parameters))


class CpuTape:
    """A layer's forward pass, one call a run: a :class:`harness.engine.base.Tape`."""

    def __init__(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None,
        training: bool,
    ):
        """Runs forward; where not ``training``, nothing is kept and there is no way back."""
        _check_numbers(layer, parameters, inputs, state, noise)
        parameters = {name: p.contiguous() for name, p in parameters.items()}
        state = tuple(s.contiguous() for s in state)
        self._inputs = inputs.transpose(0, 1).contiguous()
        noise = None if noise is None else _in_whole_rows(noise.transpose(0, 1), layer)
        if not inputs.is_floating_point():
            check_range(products(layer.precision), self._inputs, parameters["W"].shape[1], "token")
        num_runs, num_steps, batch_size = self._inputs.shape[:3]
        width = row_length(1, layer.hidden_size, state[0].element_size())
        states = memory.empty((num_runs, num_steps + 1, batch_size, width), state[0].dtype)
        self.outputs = states[:, 1:, :, : layer.hidden_size].transpose(0, 1)
        self.final = tuple(torch.empty_like(s) for s in state)
        self._calls: list[Call] | None = []
        for n in range(num_runs):
            call = Call(layer, n, self._inputs, parameters, states, noise, training)
            call.forward(state, self.final)
            self._calls.append(call)
        if not training:
            self._end()

    def backward(
        self,
        outputs: Tensor,
        gradients: Parameters,
        inputs: bool,
        start: Sequence[Tensor] | None = None,
        last: Sequence[Tensor] | None = None,
    ) -> Tensor | None:
        """See :class:`harness.engine.base.Tape`.

        ``last`` is the gradient of the final state, (N, B, H) each.
        """
        if self._calls is None:
            raise RuntimeError(
                "a layer's gradient can be taken once: its memory has gone to the next call"
            )
        outputs = outputs.transpose(0, 1).contiguous()
        none = [None] * len(self.final)
        ends = none if last is None else [g.contiguous() for g in last]
        input_gradient = memory.empty(self._inputs.shape, self._inputs.dtype) if inputs else None
        for call in self._calls:
            call.backward(outputs, ends, start or none, gradients, input_gradient)
        self._end()
        return None if input_gradient is None else input_gradient.transpose(0, 1)

    def _end(self) -> None:
        for call in self._calls or ():
            call.end()
        self._calls = None


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        layer: Layer,
        names: tuple[str, ...],
        inputs: Tensor,
        noise: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        state = tensors[: -len(names)]
        parameters = dict(zip(names, tensors[-len(names) :], strict=True))
        tape = CpuTape(layer, parameters, inputs, state, noise, training=True)
        ctx.tape, ctx.layer, ctx.parameters = tape, layer, parameters
        return tape.outputs, *tape.final

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, output_gradient: Tensor, *last_gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        states = [torch.empty_like(g) for g in last_gradients]
        written = code_for(ctx.layer).written
        gradients = {
            name: p.new_empty(p.shape) if name in written else p.new_zeros(p.shape)
            for name, p in ctx.parameters.items()
        }
        input_gradient = ctx.tape.backward(
            output_gradient, gradients, ctx.needs_input_grad[2], states, last_gradients
        )
        return None, None, input_gradient, None, *states, *gradients.values()


_run: Callable[..., tuple[Tensor, ...]] = _Run.apply


def _check_numbers(
    layer: Layer, parameters: Parameters, inputs: Tensor, state: State, noise: Tensor | None
) -> None:
    """Checks that compiled code can read what it is given: it takes addresses for its own dtype.

    Raises:
        ValueError: Something has another dtype, another number of runs or streams, or lies on
            another device.
    """
    dtype = dtype_of(layer.precision)
    named = {**parameters, **dict(zip(layer.cell.state, state, strict=True)), "inputs": inputs}
    if noise is not None:
        named["noise"] = noise
    for name, values in named.items():
        wanted = dtype if values is not inputs or inputs.is_floating_point() else torch.int64
        if values.dtype != wanted or values.device.type != "cpu":
            raise ValueError(
                f"engine cpu: {name} must be of {wanted} on the cpu, but got "
                f"dtype={values.dtype} on device={str(values.device)!r}. Convert it."
            )
    num_runs, batch_size = inputs.shape[1:3]
    sizes = {name: len(values) for name, values in parameters.items()}
    sizes |= {name: len(values) for name, values in zip(layer.cell.state, state, strict=True)}
    wrong = {name: size for name, size in sizes.items() if size != num_runs}
    if wrong or any(values.shape[1] != batch_size for values in state):
        raise ValueError(
            f"engine cpu: parameters and states must be of the inputs' {num_runs} runs and streams "
            f"of {batch_size}, but got runs={wrong or num_runs} and "
            f"streams={[values.shape[1] for values in state]}."
        )


def _in_whole_rows(noise: Tensor, layer: Layer) -> Tensor:
    """Returns (N, T or 1, B, K*H) in one piece, each H padded to whole vectors."""
    size, whole = layer.hidden_size, padded(layer.hidden_size)
    if whole == size:
        return noise.contiguous()
    wide = noise.new_zeros(*noise.shape[:3], len(layer.cell.noise), whole)
    wide[..., :size] = noise.unflatten(3, (-1, size))
    return wide
