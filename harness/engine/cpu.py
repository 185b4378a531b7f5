"""Generated C++ on a CPU: a run's recurrence on one thread, from the program of its cell.

A call takes one run after another; training spreads a pack's runs over plain threads, since a call releases the
interpreter's lock. Products over all time steps at once may use ``layer.threads``; no result depends on how many.
"""

import contextlib
import ctypes
import functools
import mmap
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cells.base import Cell
from harness.engine import compiler, cpp
from harness.engine.base import Layer, Parameters, State, dtype_of
from harness.engine.schedule import Schedule, schedule
from harness.engine.trace import Untraceable, trace, vector_names

REAL = {torch.float32: "float", torch.float64: "double"}
ROUND = 16
"""Rows of buffers are whole multiples of it; as in ``kernels/vector.h``."""
LARGE = 1 << 21
"""Bytes from which a block asks for large pages."""


class Cpu:
    """Any cell whose step can be traced, in float32 and float64."""

    name = "cpu"

    def refusal(self, cell: type[Cell], device: str, precision: str) -> str | None:
        """Returns why the generated code does not run the cell there, or None where it does."""
        if device != "cpu":
            return f"it runs on a CPU, not on {device}"
        if precision not in ("float32", "float64"):
            return f"it does not round operands to {precision}"
        if compiler.find() is None:
            return "no C++ compiler was found (g++, clang++ or CXX)"
        try:
            code_for(Layer(cell, ROUND, 1, precision), dtype_of(precision))
        except Untraceable as error:
            return f"{cell.name}: {error}"
        except compiler.CompileError as error:
            return str(error).splitlines()[0]
        return None

    def run(self, layer: Layer, parameters: Parameters, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs a layer; see :class:`harness.engine.base.Engine`.

        Raises:
            Untraceable: The step cannot be generated; :meth:`refusal` says so beforehand.
            IndexError: A token is none of W's rows.
        """
        names, tensors = tuple(parameters), (*state, *parameters.values())
        if not inputs.is_floating_point():
            _check_range(inputs, parameters["W"].shape[1], "token")
        training = torch.is_grad_enabled() and (inputs.requires_grad or any(t.requires_grad for t in tensors))
        found = _Run.apply(layer, names, training, inputs, *tensors)
        return found[0], tuple(found[1:])


def _check_range(indices: Tensor, size: int, what: str) -> None:
    """Raises an error of an index at which compiled code would read, or write, what is not its own."""
    low, high = torch.aminmax(indices)
    if low < 0 or high >= size:
        raise IndexError(f"{what}: must lie in 0 to {size - 1}, but got {low.item()} to {high.item()}.")


@dataclass(frozen=True)
class Code:
    """A layer's compiled functions and what they take; ``vectors`` are (parameter, block of H units in it)."""

    schedule: Schedule
    interface: cpp.Interface
    matrices: dict[str, int]
    vectors: tuple[tuple[str, int], ...]
    forward: Callable[..., None]
    backward: Callable[..., None]
    kernels: ctypes.CDLL


_lock = threading.Lock()


def code_for(layer: Layer, dtype: torch.dtype) -> Code:
    """Returns the compiled functions of a layer, from memory, from the cache folder, or from the compiler."""
    with _lock:  # one thread compiles, the others wait for it
        return _code(replace(layer, threads=1), dtype)


@functools.lru_cache(maxsize=256)
def _code(layer: Layer, dtype: torch.dtype) -> Code:
    cell = layer.cell
    plan = schedule(trace(layer))
    matrices = {name: len(gates) for name, gates in cell.recurrent_products().items()}
    vectors = vector_names(layer)
    biased = tuple(g for g in cell.gates if g not in cell.unbiased)
    emitter = cpp.Emitter(plan, matrices, vectors, cell.gates, cell.state, biased)
    library = compiler.load(cell.name, emitter.source(), f"REAL={REAL[dtype]}")
    for function in (library.forward, library.backward):
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p], None
    places = tuple(_vector_place(layer, name) for name in vectors)
    return Code(plan, emitter.interface, matrices, places, library.forward, library.backward, products(dtype))


def _vector_place(layer: Layer, name: str) -> tuple[str, int]:
    """Returns the parameter that holds a vector, or one gate of a recurrent bias, and which block of it that is."""
    parameter, _, gate = name.partition(".")
    specs = layer.cell.parameters(1, layer.hidden_size, layer.biases)
    gates = next(spec.gates for spec in specs if spec.name == parameter)
    return parameter, gates.index(gate)


@functools.cache
def products(dtype: torch.dtype) -> ctypes.CDLL:
    """Returns the compiled products of a number type."""
    source = (compiler.KERNELS / "products.cpp").read_text(encoding="utf-8")
    library = compiler.load("products", source, f"REAL={REAL[dtype]}")
    long, pointer = ctypes.c_long, ctypes.c_void_p
    signatures = {
        "pack": [long] * 4 + [pointer, long, pointer],
        "pack_transposed": [long] * 3 + [pointer, long, pointer],
        "product_on_threads": [long] * 4 + [pointer, long, long, pointer, pointer, long, long],
        "outer": [long] * 3 + [pointer, long, pointer, long, pointer, long, long, long],
        "scatter": [long] * 5 + [pointer, pointer, long, pointer, long],
        "cross_entropy": [long] * 3 + [pointer] * 5 + [ctypes.c_double] + [pointer] * 4 + [long],
    }
    for name, types in signatures.items():
        function = getattr(library, name)
        function.argtypes, function.restype = types, None
    return library


def padded(size: int) -> int:
    """Returns the units of a buffer's row that hold ``size`` units."""
    return -(-size // ROUND) * ROUND


def row_length(blocks: int, size: int, itemsize: int) -> int:
    """Returns the numbers from one row of a buffer to the next; as in ``kernels/vector.h``."""
    length = blocks * padded(size)
    return length + ROUND if length * itemsize % 2048 == 0 else length


class Memory:
    """Blocks of memory that calls borrow: fresh ones would cost a page fault every 4 KiB of every update."""

    def __init__(self, most: int = 16):
        self._free: list[Tensor] = []
        self._most = most
        self._lock = threading.Lock()

    def take(self, num_bytes: int) -> Tensor:
        """Returns a block of that size, its content arbitrary, beginning at a multiple of 64."""
        with self._lock:
            for i in reversed(range(len(self._free))):
                if self._free[i].numel() == num_bytes:
                    return self._free.pop(i)
        return _block(num_bytes)

    def give(self, block: Tensor) -> None:
        """Takes a block back; the oldest one goes where there are many."""
        with self._lock:
            self._free.append(block)
            del self._free[: -self._most]


def _block(num_bytes: int) -> Tensor:
    """Returns fresh memory, in large pages where the system has them: rows lie pages apart."""
    if num_bytes < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(num_bytes, dtype=torch.uint8)
    pages = mmap.mmap(-1, num_bytes)
    with contextlib.suppress(OSError):  # a system without them
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.uint8)


memory = Memory()


@dataclass(frozen=True)
class Shape:
    """The sizes of a call."""

    num_steps: int
    batch_size: int
    hidden_size: int
    itemsize: int
    training: bool

    def rows(self, blocks: int) -> int:
        """Returns the numbers in a buffer's row."""
        return row_length(blocks, self.hidden_size, self.itemsize)

    def elements(self, buffer: cpp.Buffer) -> int:
        """Returns the numbers of a buffer."""
        steps, batch = self.num_steps, self.batch_size
        count = {
            "state": (steps + 1 if self.training else 2) * batch,
            "time": (steps if self.training else 1) * batch,
            "step": batch,
            "once": 1,
        }[buffer.span]
        return count * (self.rows(buffer.blocks) if buffer.blocks else 64 // self.itemsize)


@functools.lru_cache(maxsize=256)
def layout(buffers: tuple[cpp.Buffer, ...], shape: Shape) -> tuple[tuple[int, ...], int]:
    """Returns where each buffer begins in a block, in bytes, and the block's size."""
    offsets, end = [], 0
    for buffer in buffers:
        offsets.append(end)
        end += -(-shape.elements(buffer) * shape.itemsize // 64) * 64
    return tuple(offsets), end


def tape_bytes(layer: Layer, num_steps: int, batch_size: int) -> int:
    """Returns the memory that one run of a layer keeps from its forward to its backward pass."""
    dtype = dtype_of(layer.precision)
    code = code_for(layer, dtype)
    shape = Shape(num_steps, batch_size, layer.hidden_size, dtype.itemsize, True)
    return layout(tuple(b for b in code.interface.forward if b.tape), shape)[1]


def cross_entropy(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    shares: Tensor | None,
    scale: float,
    gradients: tuple[Tensor, Tensor, Tensor] | None,
    threads: int = 1,
) -> Tensor:
    """Returns ``scale`` times every run's summed cross-entropy of a read-out, (N,); not differentiable.

    Args:
        rows: (N, M, H).
        weight: (N, H, V).
        bias: (N, V).
        targets: (N, M), int64.
        shares: How often each row counts, (N, M); None where each counts once.
        scale: What the losses are multiplied by.
        gradients: Where to write those of rows, weight and bias; None where they are not wanted.
        threads: For the products; the result does not depend on it.

    Raises:
        IndexError: A target is none of the V outputs.
    """
    _check_range(targets, weight.shape[2], "target")
    function, (num_runs, num_rows, size) = products(rows.dtype).cross_entropy, rows.shape
    rows, weight, bias, targets = rows.contiguous(), weight.contiguous(), bias.contiguous(), targets.contiguous()
    shares = None if shares is None else shares.to(rows.dtype).contiguous()
    losses = torch.empty(num_runs, dtype=torch.float64)
    for n in range(num_runs):
        ends = (None, None, None) if gradients is None else [g[n].data_ptr() for g in gradients]
        share = None if shares is None else shares[n].data_ptr()
        function(
            num_rows, size, weight.shape[2], rows[n].data_ptr(), weight[n].data_ptr(), bias[n].data_ptr(),
            targets[n].data_ptr(), share, scale, losses[n].data_ptr(), *ends, threads,
        )  # fmt: skip
    return losses.to(rows.dtype)


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx, layer, names, training, inputs, *tensors):
        num_states = len(layer.cell.state)
        values = [t.contiguous() for t in tensors]
        state, parameters = values[:num_states], dict(zip(names, values[num_states:], strict=True))
        own = inputs.transpose(0, 1).contiguous()
        calls = [_Call(layer, n, own, parameters, training) for n in range(own.shape[0])]
        num_runs, num_steps, batch_size = own.shape[:3]
        outputs = parameters["W"].new_empty(num_runs, num_steps, batch_size, layer.hidden_size)
        last = [torch.empty_like(s) for s in state]
        for n, call in enumerate(calls):
            call.forward(outputs[n], [s[n] for s in state], [s[n] for s in last])
        if training:
            ctx.calls = calls
        else:
            for call in calls:
                call.end()
        return outputs.transpose(0, 1), *last

    @staticmethod
    @once_differentiable
    def backward(ctx, output_gradient, *last_gradients):
        if ctx.calls is None:
            raise RuntimeError("a layer's gradient can be taken once: its memory has gone to the next call")
        calls, ctx.calls = ctx.calls, None
        first = calls[0]
        outputs = output_gradient.transpose(0, 1).contiguous()
        lasts = [g.contiguous() for g in last_gradients]
        inputs = torch.empty_like(first.inputs) if ctx.needs_input_grad[3] else None
        states = [torch.empty_like(g) for g in lasts]
        gradients = {name: torch.empty_like(p) for name, p in first.parameters.items()}
        for n, call in enumerate(calls):
            call.backward(
                outputs[n],
                [g[n] for g in lasts],
                [g[n] for g in states],
                {name: g[n] for name, g in gradients.items()},
                None if inputs is None else inputs[n],
            )
            call.end()
        ahead = None if inputs is None else inputs.transpose(0, 1)
        return None, None, None, ahead, *states, *gradients.values()


class _Call:
    """One run's way through a layer: its memory, from the forward to the end of the backward pass."""

    def __init__(self, layer: Layer, n: int, inputs: Tensor, parameters: Parameters, training: bool):
        self.layer, self.n, self.inputs, self.parameters = layer, n, inputs, parameters
        weight = parameters["W"]
        self.code = code_for(layer, weight.dtype)
        _, num_steps, batch_size = inputs.shape[:3]
        self.shape = Shape(num_steps, batch_size, layer.hidden_size, weight.element_size(), training)
        tape = tuple(b for b in self.code.interface.forward if b.tape)
        self._tape_offsets, size = layout(tape, self.shape)
        self._tape = memory.take(size)
        self._blocks = [self._tape]
        self._own = {name: values[n] for name, values in parameters.items()}
        self._x, self._x_length = self._input_rows()

    def end(self) -> None:
        """Gives the memory back."""
        for block in self._blocks:
            memory.give(block)
        self._blocks = []

    def _borrow(self, num_elements: int) -> int:
        """Returns the address of that many numbers, until the end of the call."""
        block = memory.take(num_elements * self.shape.itemsize)
        self._blocks.append(block)
        return block.data_ptr()

    def _input_rows(self) -> tuple[int, int]:
        """Returns the address and the row length of W x: of W's rows for tokens, else of all time steps' products."""
        size, gates = self.layer.hidden_size, len(self.layer.cell.gates)
        weight, whole = self._own["W"], padded(size)
        length = self.shape.rows(gates)
        kernels = self.code.kernels
        if not self.inputs.is_floating_point():
            if whole == size:
                return weight.data_ptr(), gates * size
            table = weight.new_zeros(weight.shape[0], gates, whole)
            table[..., :size] = weight.view(-1, gates, size)
            self._table = table
            return table.data_ptr(), gates * whole
        rows, width = self.shape.num_steps * self.shape.batch_size, weight.shape[0]
        packed = memory.take(width * gates * whole * self.shape.itemsize)
        kernels.pack(width, gates, size, whole, weight.data_ptr(), gates * size, packed.data_ptr())
        x = self._borrow(rows * length)
        kernels.product_on_threads(
            rows, gates * whole, width, 1, self.inputs[self.n].data_ptr(), width, 0, packed.data_ptr(), x, length,
            self.layer.threads,
        )  # fmt: skip
        memory.give(packed)
        return x, length

    def _pointers(self, buffers: Sequence[cpp.Buffer], outside: Sequence[int]) -> tuple[ctypes.Array, Tensor, dict]:
        """Returns the addresses of a function's arguments, the block that holds its scratch, and these by name."""
        scratch = tuple(b for b in buffers if not b.tape)
        offsets, size = layout(scratch, self.shape)
        block = memory.take(size)
        start, tape = block.data_ptr(), self._tape.data_ptr()
        own = [tape + o for o in self._tape_offsets] + [start + o for o in offsets]
        names = {b.name: address for b, address in zip(buffers, own, strict=True)}
        values = own + list(outside)
        return (ctypes.c_void_p * len(values))(*values), block, names

    def _lengths(self) -> ctypes.Array:
        shape = self.shape
        values = (shape.num_steps, shape.batch_size, shape.hidden_size, shape.training, self._x_length)
        return (ctypes.c_long * len(values))(*values)

    def _common(self, packed: dict[str, int]) -> list[int]:
        """Returns the addresses that both directions take, as ``cpp.interface`` orders them."""
        tokens = 0 if self.inputs.is_floating_point() else self.inputs[self.n].data_ptr()
        bias = self._own["b"].data_ptr() if "b" in self._own else 0
        return [tokens, self._x, bias, *self._vectors(self._own), *packed.values()]

    def _vectors(self, values: Parameters) -> list[int]:
        """Returns the addresses of the vectors among parameters, or among their gradients."""
        size = self.layer.hidden_size * self.shape.itemsize
        return [values[parameter].data_ptr() + block * size for parameter, block in self.code.vectors]

    def _packed(self, pack: Callable[[str, int, int], None]) -> tuple[list[Tensor], dict[str, int]]:
        """Returns blocks of memory and, by name, the matrices that ``pack(name, gates, address)`` wrote there."""
        blocks, packed = [], {}
        for name, gates in self.code.matrices.items():
            size = self.layer.hidden_size
            blocks.append(memory.take(size * gates * padded(size) * self.shape.itemsize))
            packed[name] = blocks[-1].data_ptr()
            pack(name, gates, packed[name])
        return blocks, packed

    def forward(self, outputs: Tensor, first: list[Tensor], last: list[Tensor]) -> None:
        """Computes the outputs (T, B, H) and the last state, in place."""
        code, size, kernels = self.code, self.layer.hidden_size, self.code.kernels

        def pack(name: str, gates: int, to: int) -> None:
            kernels.pack(size, gates, size, padded(size), self._own[name].data_ptr(), gates * size, to)

        blocks, packed = self._packed(pack)
        ends = [outputs.data_ptr(), *(s.data_ptr() for s in first), *(s.data_ptr() for s in last)]
        pointers, block, _ = self._pointers(code.interface.forward, [*self._common(packed), *ends, _address(kernels)])
        code.forward(self._lengths(), pointers)
        for used in (*blocks, block):
            memory.give(used)

    def backward(
        self, outputs: Tensor, last: list[Tensor], first: list[Tensor], own: Parameters, inputs: Tensor | None
    ) -> None:
        """Computes, in place: the gradients of the first state, of the parameters, and of float inputs (T, B, I)."""
        code, size, kernels = self.code, self.layer.hidden_size, self.code.kernels

        def pack(name: str, gates: int, to: int) -> None:
            kernels.pack_transposed(size, gates, size, self._own[name].data_ptr(), gates * size, to)

        blocks, packed = self._packed(pack)
        ends = [outputs.data_ptr(), *(s.data_ptr() for s in last), *(s.data_ptr() for s in first)]
        ends += self._vectors(own)
        pointers, block, places = self._pointers(
            code.interface.backward, [*self._common(packed), *ends, _address(kernels)]
        )
        code.backward(self._lengths(), pointers)
        self._matrix_gradients(own, places)
        self._input_gradients(own, inputs, places)
        for used in (*blocks, block):
            memory.give(used)

    def _stack(self, stack: tuple, places: dict[str, int]) -> tuple[int, int]:
        """Returns the address and the row length of values side by side."""
        index, first = self.code.schedule.place(stack)
        length = self.shape.rows(len(self.code.schedule.stacks[index]))
        return places[f"stack_{index}"] + first * padded(self.layer.hidden_size) * self.shape.itemsize, length

    def _operand(self, i: int, places: dict[str, int]) -> int:
        """Returns where the values of all time steps of a product's operand begin."""
        program = self.code.schedule.program
        node = program.nodes[i]
        if node.name.startswith("state."):
            return places[f"state_{self.layer.cell.state.index(node.name.partition('.')[2])}"]
        if i in program.new_state:
            step = self.shape.batch_size * self.shape.rows(1) * self.shape.itemsize
            return places[f"state_{program.new_state.index(i)}"] + step
        return places[f"kept_{i}"]

    def _matrix_gradients(self, own: Parameters, places: dict[str, int]) -> None:
        size, rows = self.layer.hidden_size, self.shape.num_steps * self.shape.batch_size
        for name, terms in self.code.schedule.program.matrix_gradients.items():
            gates = self.code.matrices[name]
            result = _Result(own[name], gates, size)
            for index, term in enumerate(terms):
                gradient, length = self._stack(term.cotangent, places)
                self.code.kernels.outer(
                    size, gates * padded(size), rows, self._operand(term.operand, places), self.shape.rows(1),
                    gradient, length, result.address, gates * padded(size), index, self.layer.threads,
                )  # fmt: skip
            result.finish(bool(terms))

    def _input_gradients(self, own: Parameters, inputs: Tensor | None, places: dict[str, int]) -> None:
        cell, size = self.layer.cell, self.layer.hidden_size
        gates, rows, whole = len(cell.gates), self.shape.num_steps * self.shape.batch_size, padded(size)
        stack, length = self._stack(self.code.schedule.program.input_gradients, places)
        weight, kernels, threads = own["W"], self.code.kernels, self.layer.threads
        width = weight.shape[0]
        if not self.inputs.is_floating_point():
            tokens = self.inputs[self.n].data_ptr()
            kernels.scatter(rows, width, gates, size, whole, tokens, stack, length, weight.data_ptr(), threads)
            sums = weight.sum(0) if "b" in own else None
        else:
            result = _Result(weight, gates, size)
            kernels.outer(
                width, gates * whole, rows, self.inputs[self.n].data_ptr(), width, stack, length, result.address,
                gates * whole, 0, threads,
            )  # fmt: skip
            result.finish(True)
            sums = None
            if "b" in own:
                ones = weight.new_ones(rows, 1)
                sums = weight.new_empty(gates * size)
                total = _Result(sums, gates, size)
                kernels.outer(
                    1, gates * whole, rows, ones.data_ptr(), 1, stack, length, total.address, gates * whole, 0, threads
                )
                total.finish(True)
        if sums is not None:
            biased = [g for g, gate in enumerate(cell.gates) if gate not in cell.unbiased]
            own["b"].copy_(sums.view(gates, size)[biased].flatten())
        if inputs is not None:
            packed = memory.take(padded(width) * gates * size * self.shape.itemsize)
            kernels.pack_transposed(width, gates, size, self._own["W"].data_ptr(), gates * size, packed.data_ptr())
            result = _Result(inputs, 1, width)
            kernels.product_on_threads(
                rows, padded(width), size, gates, stack, length, whole, packed.data_ptr(), result.address,
                padded(width), threads,
            )  # fmt: skip
            result.finish(True)
            memory.give(packed)


class _Result:
    """Where a product writes rows of whole vectors: the tensor itself where its rows are such, else beside it."""

    def __init__(self, tensor: Tensor, blocks: int, size: int):
        self._tensor, self._blocks, self._size = tensor, blocks, size
        whole = padded(size)
        self._beside = None if whole == size else tensor.new_empty(tensor.numel() // (blocks * size), blocks, whole)
        self.address = (tensor if self._beside is None else self._beside).data_ptr()

    def finish(self, written: bool) -> None:
        """Brings the result into the tensor; zero where nothing was written."""
        if not written:
            self._tensor.zero_()
        elif self._beside is not None:
            self._tensor.view(-1, self._blocks, self._size).copy_(self._beside[..., : self._size])


def _address(kernels: ctypes.CDLL) -> int:
    return ctypes.cast(kernels.product, ctypes.c_void_p).value or 0
