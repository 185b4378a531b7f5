"""Generated C++ on a CPU, from the program of a cell: all time steps of a run in one call.

A call takes one run after another; training spreads a pack's runs over plain threads, since a call
releases the interpreter's lock. One run may use ``layer.threads``, each of which takes rows of the
batch; no result depends on how many: see docs/decisions/engine.md.
"""

import ctypes
import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cells.base import Cell
from harness.engine.base import (
    Layer,
    Parameters,
    PreparedTape,
    State,
    Tape,
    dtype_of,
    emitted,
    prepared,
)
from harness.engine.beside import begin, outcome
from harness.engine.cpu import compiler, cpp
from harness.engine.cpu.interface import Buffer, Interface, Lengths
from harness.engine.cpu.memory import Shape, layout, memory, padded, row_length
from harness.engine.cpu.products import (
    MANTISSA,
    PLAIN,
    REAL,
    address,
    check_range,
    optimizer_step,
    products,
)
from harness.engine.tracing.schedule import schedule
from harness.engine.tracing.trace import Untraceable, trace, vector_names

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


@dataclass(frozen=True)
class Code:
    """A layer's compiled functions and what they take.

    Attributes:
        interface: Their buffers and pointers.
        matrices: Name -> gates that it feeds.
        vectors: (parameter, block of H units in it).
        forward: The first function.
        backward: The second.
        can_split_units: Whether threads may share the units of all rows.
        kernels: The products.
        table: The address of those that the functions call.
    """

    interface: Interface
    matrices: dict[str, int]
    vectors: tuple[tuple[str, int], ...]
    forward: Callable[..., None]
    backward: Callable[..., None]
    can_split_units: bool
    kernels: ctypes.CDLL
    table: int

    @property
    def written(self) -> set[str]:
        """The parameters whose gradient the second function writes."""
        return {"W", "b", *self.matrices, *(name for name, _ in self.vectors)}


_tracing, _shared = threading.Lock(), threading.Lock()


def code_for(layer: Layer) -> Code:
    """Returns the compiled functions of a layer.

    They come from memory, from the cache folder, or from the compiler. Threads that ask for one
    layer wait for the first; those that ask for others compile beside it.
    """
    layer = replace(layer, threads=1)
    with _lock_of(layer):
        return _code(layer)


@functools.cache
def _lock_of(layer: Layer) -> threading.Lock:
    return threading.Lock()


def _shared_libraries(precision: str) -> ctypes.CDLL:
    """Returns the compiled products; the optimizer's step and the draws are compiled too."""
    dtype = dtype_of(precision)
    with _shared:
        optimizer_step(dtype)
        products(PLAIN[dtype])
        return products(precision)


@functools.lru_cache(maxsize=256)
def _code(layer: Layer) -> Code:
    cell = layer.cell
    matrices = {name: len(gates) for name, gates in cell.recurrent_products().items()}
    vectors = vector_names(layer)
    biased = tuple(g for g in cell.gates if g not in cell.unbiased)
    # Side by side, since the first cell of a machine would wait for one compiler after another.
    kernels = begin(functools.partial(_shared_libraries, layer.precision))
    with _tracing:
        emitter = cpp.Emitter(
            schedule(trace(layer)), matrices, vectors, cell.gates, cell.state,
            biased, cell.noise, cell.reads_input,
        )  # fmt: skip
        source = emitter.source()
    real = REAL[dtype_of(layer.precision)]
    library = compiler.load(cell.name, source, f"REAL={real}")
    for function in (library.forward, library.backward):
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p], None
    compiled = outcome(kernels)
    return Code(
        interface=emitter.interface,
        matrices=matrices,
        vectors=tuple(_vector_block(layer, name) for name in vectors),
        forward=library.forward,
        backward=library.backward,
        can_split_units=emitter.can_split_units,
        kernels=compiled,
        table=compiled.kernels(),
    )


def _vector_block(layer: Layer, name: str) -> tuple[str, int]:
    """Returns the parameter that holds a vector, and which block of it that is.

    A vector is a parameter, or one gate of a recurrent bias.
    """
    parameter, _, gate = name.partition(".")
    specs = layer.cell.parameters(1, layer.hidden_size, layer.biases)
    gates = next(spec.gates for spec in specs if spec.name == parameter)
    return parameter, gates.index(gate)


def tape_bytes(layer: Layer, num_steps: int, batch_size: int) -> int:
    """Returns the bytes that one run of a layer keeps from its forward to its backward pass.

    Its outputs are among them.
    """
    dtype = dtype_of(layer.precision)
    shape = Shape(num_steps, batch_size, layer.hidden_size, 1, True, dtype.itemsize, True)
    output_bytes = (num_steps + 1) * batch_size * shape.rows(1) * dtype.itemsize
    return _plan(layer, shape).tape_bytes + output_bytes


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
        self._calls: list[_Call] | None = []
        for n in range(num_runs):
            call = _Call(layer, n, self._inputs, parameters, states, noise, training)
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


class _Call:
    """Run n's way through a layer: its memory, from the forward to the end of the backward pass.

    It is given what all runs have, and takes the addresses of its own part, since a view for each
    would cost more.
    """

    def __init__(
        self,
        layer: Layer,
        n: int,
        inputs: Tensor,
        parameters: Parameters,
        states: Tensor,
        noise: Tensor | None,
        training: bool,
    ):
        """Takes what the runs are given, and where to write their first states.

        ``states`` holds those of all time steps, (N, T + 1, B, row).
        """
        self._n, self._inputs, self._parameters = n, inputs, parameters
        self._states, self._noise, self._layer = states, noise, layer
        num_steps, batch_size = inputs.shape[1:3]
        is_tokens = not inputs.is_floating_point()
        self._shape = Shape(
            num_steps,
            batch_size,
            layer.hidden_size,
            parameters["W"].shape[1] if is_tokens else inputs.shape[3],
            is_tokens,
            states.element_size(),
            training,
        )
        self._plan = _plan(layer, self._shape)
        self._tape = memory.take(self._plan.tape_bytes)
        self._blocks = [self._tape]
        self._x, self._x_length = self._input_rows()

    def end(self) -> None:
        """Gives the memory back."""
        for block in self._blocks:
            memory.give(block)
        self._blocks = []

    def _input_rows(self) -> tuple[int, int]:
        """Returns the address and the row length of what each step has of its input.

        It is of W's rows for tokens. For floats it is of the products of all time steps, beside
        which the input itself lies where the step reads it.
        """
        shape, size, whole = self._shape, self._shape.hidden_size, padded(self._shape.hidden_size)
        gates = len(self._layer.cell.gates)
        if shape.tokens:
            weight = self._parameters["W"]
            if whole == size:
                return self._at(weight), gates * size
            self._table = weight.new_zeros(shape.inputs, gates, whole)
            self._table[..., :size] = weight[self._n].view(-1, gates, size)
            return self._table.data_ptr(), gates * whole
        rows = shape.num_steps * shape.batch_size
        length = shape.rows(len(self._layer.cell.input_products()))
        block = memory.take(rows * length * shape.itemsize)
        self._blocks.append(block)
        if gates:
            self._multiply_inputs(block.data_ptr(), rows, length)
        if self._layer.cell.reads_input:
            read = block.view(self._inputs.dtype).view(rows, length)[:, gates * whole :]
            read[:, :size] = self._inputs[self._n].view(rows, size)
        return block.data_ptr(), length

    def _multiply_inputs(self, x: int, rows: int, length: int) -> None:
        """Writes W times the inputs of all time steps to the address ``x``."""
        shape, size, whole = self._shape, self._shape.hidden_size, padded(self._shape.hidden_size)
        kernels, gates, width = self._plan.code.kernels, len(self._layer.cell.gates), shape.inputs
        packed = memory.take(width * gates * whole * shape.itemsize)
        kernels.multiply(
            rows, width, gates, size, whole, self._at(self._inputs),
            self._at(self._parameters["W"]), packed.data_ptr(), x, length, self._layer.threads,
        )  # fmt: skip
        memory.give(packed)

    def _at(self, values: Tensor | None) -> int:
        """Returns the address of the run's part of ``values`` (N, ...), 0 for None."""
        return 0 if values is None else address(values, self._n)

    def forward(self, first: Sequence[Tensor], last: Sequence[Tensor]) -> None:
        """Computes the states of all time steps, and copies the last one, in place."""
        ends = [self._at(values) for values in (*first, *last)]
        self._run(self._plan.forward, self._common() + ends)

    def backward(
        self,
        outputs: Tensor,
        last: Sequence[Tensor | None],
        first: Sequence[Tensor | None],
        parameters: Parameters,
        inputs: Tensor | None,
    ) -> None:
        """Computes the gradients of the first state, of the parameters and of float inputs.

        Args:
            outputs: The gradient of the outputs, (N, T, B, H).
            last: That of the last state; None for zero.
            first: Where to write the first state's; None where it is not wanted.
            parameters: Where to write the parameters'.
            inputs: Where to write the inputs', (N, T, B, I); None where it is not wanted.
        """
        rows = None if self._shape.tokens else self._inputs
        addresses = self._common()
        addresses += [self._at(values) for values in (rows, outputs, *last, *first)]
        addresses += self._vectors(parameters)
        addresses += [self._at(parameters[name]) for name in self._plan.code.matrices]
        ends = parameters.get("W"), parameters.get("b"), inputs
        addresses += [self._at(values) for values in ends]
        self._run(self._plan.backward, addresses)

    def _common(self) -> list[int]:
        """Returns the addresses that both directions take, as ``interface`` orders them."""
        parameters = self._parameters
        tokens = self._at(self._inputs) if self._shape.tokens else 0
        ends = parameters.get("W"), parameters.get("b"), self._noise
        matrices = [self._at(parameters[name]) for name in self._plan.code.matrices]
        addresses = [tokens, self._x] + [self._at(values) for values in ends]
        return addresses + self._vectors(parameters) + matrices + [self._at(self._states)]

    def _vectors(self, values: Parameters) -> list[int]:
        """Returns the addresses of the vectors among parameters, or among their gradients."""
        size = self._shape.hidden_size * self._shape.itemsize
        return [
            self._at(values[parameter]) + block * size
            for parameter, block in self._plan.code.vectors
        ]

    def _run(self, direction: "_Direction", outside: list[int]) -> None:
        shape, block = self._shape, memory.take(self._plan.scratch_bytes)
        tape, scratch = self._tape.data_ptr(), block.data_ptr()
        places = direction.places
        buffers = [(tape if on_tape else scratch) + offset for on_tape, offset in places]
        pointers = [*buffers, *outside, self._plan.code.table]
        has_noise_per_step = self._noise is not None and self._noise.shape[1] > 1
        lengths = Lengths(
            num_steps=shape.num_steps,
            batch_size=shape.batch_size,
            hidden_size=shape.hidden_size,
            num_inputs=shape.inputs,
            training=shape.training,
            x_length=self._x_length,
            noise_step=shape.batch_size if has_noise_per_step else 0,
            chunk=shape.chunk,
            threads=self._plan.threads,
            by_units=self._plan.by_units,
        )
        direction.function(
            (ctypes.c_long * len(lengths))(*lengths), (ctypes.c_void_p * len(pointers))(*pointers)
        )
        memory.give(block)


@dataclass(frozen=True)
class _Direction:
    """A compiled function and its buffers.

    Attributes:
        function: Takes the lengths and the pointers.
        places: For each buffer whether it lies on the tape, and where in its block, in bytes.
    """

    function: Callable[..., None]
    places: tuple[tuple[bool, int], ...]


@dataclass(frozen=True)
class _Plan:
    """What follows from a layer and the sizes of a call.

    Attributes:
        code: The compiled functions.
        forward: The first of them.
        backward: The second.
        tape_bytes: The size of the block that the first leaves to the second.
        scratch_bytes: The size of the block that each has for itself. It is one size, so that the
            second takes what the first has given back: that is in the caches, and two runs beside
            each other want nearly all of them.
        threads: How many share a call.
        by_units: Whether they share the units of all rows.
    """

    code: Code
    forward: _Direction
    backward: _Direction
    tape_bytes: int
    scratch_bytes: int
    threads: int
    by_units: bool


@functools.lru_cache(maxsize=256)
def _plan(layer: Layer, shape: Shape) -> _Plan:
    code = code_for(layer)
    face = code.interface
    tape_offsets, tape_bytes = layout(tuple(b for b in face.forward if b.tape), shape)

    def direction(
        function: Callable[..., None], buffers: Sequence[Buffer]
    ) -> tuple[_Direction, int]:
        offsets, size = layout(tuple(b for b in buffers if not b.tape), shape)
        places = [(True, offset) for offset in tape_offsets]
        places += [(False, offset) for offset in offsets]
        return _Direction(function, tuple(places)), size

    forward, forward_bytes = direction(code.forward, face.forward)
    backward, backward_bytes = direction(code.backward, face.backward)
    scratch_bytes = max(forward_bytes, backward_bytes) if shape.training else forward_bytes
    threads, by_units = _shares(layer, shape, code.can_split_units)
    return _Plan(code, forward, backward, tape_bytes, scratch_bytes, threads, by_units)


def _shares(layer: Layer, shape: Shape, can_split_units: bool) -> tuple[int, bool]:
    """Returns how many threads share a call, and whether they share the units or the rows.

    No number depends on it.
    """
    num_tokens = shape.num_steps * shape.batch_size
    operations = layer.cell.flops_per_token(None, layer.hidden_size) * num_tokens
    if shape.slices >= layer.threads or not can_split_units:
        worthwhile = int(operations / compiler.OPERATIONS_PER_THREAD)
        return max(1, min(layer.threads, shape.slices, worthwhile)), False
    blocks = padded(layer.hidden_size) // compiler.ROUND
    worthwhile = int(operations / max(1, shape.num_steps) / compiler.OPERATIONS_BETWEEN_MEETINGS)
    return max(1, min(layer.threads, blocks, worthwhile)), True
