"""Generated C++ on a CPU, from the program of a cell: all time steps of a run in one call.

A call takes one run after another; training spreads a pack's runs over plain threads, since a call
    releases the interpreter's lock. One run may use ``layer.threads``, each of which takes rows of
    the batch; no result depends on how
many: see docs/decisions/engine.md.
"""

import ctypes
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

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
from harness.engine.cpu import compiler, cpp
from harness.engine.cpu.memory import Shape, layout, memory, padded, row_length
from harness.engine.cpu.products import REAL, address, check_range, optimizer_step, products
from harness.engine.tracing.schedule import schedule
from harness.engine.tracing.trace import Untraceable, trace, vector_names


class Cpu:
    """Any cell whose step can be traced, in float32 and float64."""

    name = "cpu"
    general_device: str | None = "cpu"
    has_kernels = True

    def refusal(self, cell: type[Cell], device: str, precision: str) -> str | None:
        """Returns why the generated code does not run the cell there, or None where it does."""
        if device != "cpu":
            return f"it runs on a CPU, not on {device}"
        if precision not in ("float32", "float64"):
            return f"it does not round operands to {precision}"
        if compiler.find() is None:
            return "no C++ compiler was found (g++, clang++ or CXX)"
        try:
            code_for(Layer(cell, compiler.ROUND, 1, precision), dtype_of(precision))
        except Untraceable as error:
            return f"{cell.name}: {error}"
        except compiler.CompileError as error:
            return str(error).splitlines()[0]
        return None

    def note(self) -> str | None:
        """Returns None: where this engine runs at all, it runs as fast as it can."""
        return None

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
        made = _with_identity(layer, prepared(layer, parameters, inputs), inputs)
        names, tensors = tuple(made), (*state, *made.values())
        training = torch.is_grad_enabled() and (
            inputs.requires_grad or any(t.requires_grad for t in tensors)
        )
        found = _Run.apply(layer, names, training, inputs, noise, *tensors)
        return emitted(layer, parameters, found[0]), tuple(found[1:])

    def forward(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None = None,
    ) -> Tape:
        """See :class:`harness.engine.base.Engine`."""

        def taped(own: Parameters) -> CpuTape:
            return CpuTape(layer, own, inputs, state, noise, True)

        def prepare(given: Parameters) -> Parameters:
            return _with_identity(layer, prepared(layer, given, inputs), inputs)

        if layer.cell.is_prepared() or layer.cell.reads_input or layer.cell.projects:
            return PreparedTape(layer, parameters, prepare, taped)
        return taped(parameters)


@dataclass(frozen=True)
class Code:
    """A layer's compiled functions and what they take.

    Attributes:
        interface: Their buffers and pointers.
        matrices: Name -> gates that it feeds.
        vectors: (parameter, block of H units in it).
        forward: The first function.
        backward: The second.
        kernels: The products.
        table: The address of those that the functions call.
    """

    interface: cpp.Interface
    matrices: dict[str, int]
    vectors: tuple[tuple[str, int], ...]
    forward: Callable[..., None]
    backward: Callable[..., None]
    kernels: ctypes.CDLL
    table: int


_lock = threading.Lock()


def code_for(layer: Layer, dtype: torch.dtype) -> Code:
    """Returns the compiled functions of a layer, from memory, from the cache folder, or from the
    compiler.
    """
    with _lock:  # one thread compiles, the others wait for it
        return _code(replace(layer, threads=1), dtype)


@functools.lru_cache(maxsize=256)
def _code(layer: Layer, dtype: torch.dtype) -> Code:
    cell = layer.cell
    matrices = {name: len(gates) for name, gates in cell.recurrent_products().items()}
    vectors = vector_names(layer)
    gates, biased = cell.input_products(), tuple(g for g in cell.gates if g not in cell.unbiased)
    with ThreadPoolExecutor(
        2
    ) as others:  # the first cell of a machine would wait for one compiler after another
        kernels = others.submit(products, dtype)
        others.submit(optimizer_step, dtype)
        emitter = cpp.Emitter(
            schedule(trace(layer)), matrices, vectors, gates, cell.state, biased, cell.noise
        )
        library = compiler.load(cell.name, emitter.source(), f"REAL={REAL[dtype]}")
    for function in (library.forward, library.backward):
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p], None
    places = tuple(_vector_place(layer, name) for name in vectors)
    functions = library.forward, library.backward
    return Code(
        emitter.interface,
        matrices,
        places,
        *functions,
        kernels.result(),
        kernels.result().kernels(),
    )


def _vector_place(layer: Layer, name: str) -> tuple[str, int]:
    """Returns the parameter that holds a vector, or one gate of a recurrent bias, and which block
    of it that is.
    """
    parameter, _, gate = name.partition(".")
    specs = layer.cell.parameters(1, layer.hidden_size, layer.biases)
    gates = next(spec.gates for spec in specs if spec.name == parameter)
    return parameter, gates.index(gate)


def tape_bytes(layer: Layer, num_steps: int, batch_size: int) -> int:
    """Returns the memory that one run of a layer keeps from its forward to its backward pass, its
    outputs among it.
    """
    dtype = dtype_of(layer.precision)
    shape = Shape(num_steps, batch_size, layer.hidden_size, 1, True, dtype.itemsize, True)
    return (
        _plan(layer, shape).tape_bytes
        + (num_steps + 1) * batch_size * shape.rows(1) * dtype.itemsize
    )


class CpuTape:
    """A layer's forward pass: one call a run. See :class:`harness.engine.base.Tape`."""

    def __init__(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None,
        training: bool,
    ):
        """Runs forward; not ``training``, nothing is kept and there is no way back."""
        parameters = {name: p.contiguous() for name, p in parameters.items()}
        state = tuple(s.contiguous() for s in state)
        self._inputs = inputs.transpose(0, 1).contiguous()
        noise = None if noise is None else _in_whole_rows(noise.transpose(0, 1), layer)
        if not inputs.is_floating_point():
            check_range(products(state[0].dtype), self._inputs, parameters["W"].shape[1], "token")
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
        """See :class:`harness.engine.base.Tape`; ``last`` is the gradient of the final state, (N,
        B, H) each.
        """
        if self._calls is None:
            raise RuntimeError(
                "a layer's gradient can be taken once: its memory has gone to the next call"
            )
        outputs = outputs.transpose(0, 1).contiguous()
        none = [None] * len(self.final)
        ends = none if last is None else [g.contiguous() for g in last]
        ahead = memory.empty(self._inputs.shape, self._inputs.dtype) if inputs else None
        for call in self._calls:
            call.backward(outputs, ends, start or none, gradients, ahead)
        self._end()
        return None if ahead is None else ahead.transpose(0, 1)

    def _end(self) -> None:
        for call in self._calls or ():
            call.end()
        self._calls = None


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx, layer, names, training, inputs, noise, *tensors):
        state, parameters = (
            tensors[: -len(names)],
            dict(zip(names, tensors[-len(names) :], strict=True)),
        )
        tape = CpuTape(layer, parameters, inputs, state, noise, training)
        ctx.tape, ctx.parameters = tape, parameters
        return tape.outputs, *tape.final

    @staticmethod
    @once_differentiable
    def backward(ctx, output_gradient, *last_gradients):
        states = [torch.empty_like(g) for g in last_gradients]
        gradients = {name: p.new_zeros(p.shape) for name, p in ctx.parameters.items()}
        ahead = ctx.tape.backward(
            output_gradient, gradients, ctx.needs_input_grad[3], states, last_gradients
        )
        return None, None, None, ahead, None, *states, *gradients.values()


def _with_identity(layer: Layer, made: Parameters, inputs: Tensor) -> Parameters:
    """Returns W with the identity beside it where the step reads its input: a product gives it
    that, exactly.
    """
    if not layer.cell.reads_input:
        return made
    size = layer.hidden_size
    identity = torch.eye(size, dtype=inputs.dtype).expand(inputs.shape[1], size, size)
    return made | {"W": torch.cat([made["W"], identity], -1) if "W" in made else identity}


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

    What it is given is all runs', and it takes the addresses of its own part: a view each would
    cost more.
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
        """Takes what the runs are given, and where their first states of all steps are written: (N,
        T + 1, B, row).
        """
        self._n, self._inputs, self._parameters = n, inputs, parameters
        self._states, self._noise, self._layer = states, noise, layer
        weight, (num_steps, batch_size) = parameters["W"], inputs.shape[1:3]
        self._shape = Shape(
            num_steps,
            batch_size,
            layer.hidden_size,
            weight.shape[1],
            not inputs.is_floating_point(),
            weight.element_size(),
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
        """Returns the address and the row length of W x: of W's rows for tokens, else of all time
        steps' products.
        """
        shape, gates, weight = (
            self._shape,
            len(self._layer.cell.input_products()),
            self._parameters["W"],
        )
        size, whole = shape.hidden_size, padded(shape.hidden_size)
        if shape.tokens:
            if whole == size:
                return self._at(weight), gates * size
            self._table = weight.new_zeros(shape.inputs, gates, whole)
            self._table[..., :size] = weight[self._n].view(-1, gates, size)
            return self._table.data_ptr(), gates * whole
        kernels, width = self._plan.code.kernels, shape.inputs
        rows, length = shape.num_steps * shape.batch_size, shape.rows(gates)
        packed = memory.take(width * gates * whole * shape.itemsize)
        kernels.pack(width, gates, size, whole, self._at(weight), gates * size, packed.data_ptr())
        self._blocks.append(memory.take(rows * length * shape.itemsize))
        x = self._blocks[-1].data_ptr()
        kernels.product_on_threads(
            rows, gates * whole, width, 1, self._at(self._inputs), width, 0, packed.data_ptr(), x, length,
            self._layer.threads,
        )  # fmt: skip
        memory.give(packed)
        return x, length

    def _at(self, values: Tensor | None) -> int:
        """Returns the address of the run's part of ``values`` (N, ...), 0 for None."""
        return 0 if values is None else address(values, self._n)

    def forward(self, first: Sequence[Tensor], last: Sequence[Tensor]) -> None:
        """Computes the states of all time steps, and copies the last one, in place."""
        self._run(
            self._plan.forward, [*self._common(), *map(self._at, first), *map(self._at, last)]
        )

    def backward(
        self,
        outputs: Tensor,
        last: Sequence[Tensor | None],
        first: Sequence[Tensor | None],
        own: Parameters,
        inputs: Tensor | None,
    ) -> None:
        """Computes, in place: the gradients of the first state, of the parameters, and of float
        inputs (N, T, B, I).

        Args:
            outputs: The gradient of the outputs, (N, T, B, H).
            last: That of the last state; None for zero.
            first: Where to write the first state's; None where it is not wanted.
            own: Where to write the parameters'.
            inputs: Where to write the inputs'; None where it is not wanted.
        """
        rows = None if self._shape.tokens else self._inputs
        ends = [
            *map(self._at, (rows, outputs)),
            *map(self._at, last),
            *map(self._at, first),
            *self._vectors(own),
        ]
        ends += [self._at(own[name]) for name in self._plan.code.matrices]
        self._run(
            self._plan.backward,
            [*self._common(), *ends, *map(self._at, (own["W"], own.get("b"), inputs))],
        )

    def _common(self) -> list[int]:
        """Returns the addresses that both directions take, as ``cpp.interface`` orders them."""
        own = self._parameters
        tokens = self._at(self._inputs) if self._shape.tokens else 0
        matrices = [self._at(own[name]) for name in self._plan.code.matrices]
        ends = [*self._vectors(own), *matrices, self._at(self._states)]
        return [
            tokens,
            self._x,
            self._at(own["W"]),
            self._at(own.get("b")),
            self._at(self._noise),
            *ends,
        ]

    def _vectors(self, values: Parameters) -> list[int]:
        """Returns the addresses of the vectors among parameters, or among their gradients."""
        size = self._shape.hidden_size * self._shape.itemsize
        return [
            self._at(values[parameter]) + block * size
            for parameter, block in self._plan.code.vectors
        ]

    def _run(self, direction: "_Direction", outside: list[int]) -> None:
        shape, block = self._shape, memory.take(direction.scratch_bytes)
        tape, scratch = self._tape.data_ptr(), block.data_ptr()
        own = [(tape if on_tape else scratch) + offset for on_tape, offset in direction.places]
        pointers = [*own, *outside, self._plan.code.table]
        has_noise_per_step = self._noise is not None and self._noise.shape[1] > 1
        lengths = cpp.Lengths(
            num_steps=shape.num_steps,
            batch_size=shape.batch_size,
            hidden_size=shape.hidden_size,
            num_inputs=shape.inputs,
            training=shape.training,
            x_length=self._x_length,
            noise_step=shape.batch_size if has_noise_per_step else 0,
            chunk=shape.chunk,
            threads=self._plan.threads,
        )
        direction.function(
            (ctypes.c_long * len(lengths))(*lengths), (ctypes.c_void_p * len(pointers))(*pointers)
        )
        memory.give(block)


@dataclass(frozen=True)
class _Direction:
    """A function and its buffers: for each whether it lies on the tape, and where in its block, in
    bytes.
    """

    function: Callable[..., None]
    places: tuple[tuple[bool, int], ...]
    scratch_bytes: int


@dataclass(frozen=True)
class _Plan:
    """What follows from a layer and the sizes of a call."""

    code: Code
    forward: _Direction
    backward: _Direction
    tape_bytes: int
    threads: int


@functools.lru_cache(maxsize=256)
def _plan(layer: Layer, shape: Shape) -> _Plan:
    code = code_for(layer, dtype_of(layer.precision))
    face = code.interface
    tape_offsets, tape_bytes = layout(tuple(b for b in face.forward if b.tape), shape)

    def direction(function: Callable[..., None], buffers: Sequence[cpp.Buffer]) -> _Direction:
        offsets, size = layout(tuple(b for b in buffers if not b.tape), shape)
        places = [
            *((True, offset) for offset in tape_offsets),
            *((False, offset) for offset in offsets),
        ]
        return _Direction(function, tuple(places), size)

    operations = (
        layer.cell.flops_per_token(None, layer.hidden_size) * shape.num_steps * shape.batch_size
    )
    threads = max(
        1, min(layer.threads, shape.slices, int(operations / compiler.OPERATIONS_PER_THREAD))
    )
    return _Plan(
        code,
        direction(code.forward, face.forward),
        direction(code.backward, face.backward),
        tape_bytes,
        threads,
    )
