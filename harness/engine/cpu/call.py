"""One run's call of the compiled functions: the sizes of its memory, and what they are given."""

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from harness.engine.base import Layer, Parameters
from harness.engine.cpu import compiler
from harness.engine.cpu.compiled import Code, code_for
from harness.engine.cpu.interface import Buffer, Lengths
from harness.engine.cpu.memory import Shape, layout, memory, padded
from harness.engine.cpu.products import address
from harness.engine.rounding import dtype_of


class Call:
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
        self._plan = plan(layer, self._shape)
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

    def _run(self, direction: "Direction", outside: list[int]) -> None:
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
class Direction:
    """A compiled function and its buffers.

    Attributes:
        function: Takes the lengths and the pointers.
        places: For each buffer whether it lies on the tape, and where in its block, in bytes.
    """

    function: Callable[..., None]
    places: tuple[tuple[bool, int], ...]


@dataclass(frozen=True)
class Plan:
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
    forward: Direction
    backward: Direction
    tape_bytes: int
    scratch_bytes: int
    threads: int
    by_units: bool


@functools.lru_cache(maxsize=256)
def plan(layer: Layer, shape: Shape) -> Plan:
    """Returns the plan of a layer's calls of one shape."""
    code = code_for(layer)
    face = code.interface
    tape_offsets, tape_bytes = layout(tuple(b for b in face.forward if b.tape), shape)

    def direction(
        function: Callable[..., None], buffers: Sequence[Buffer]
    ) -> tuple[Direction, int]:
        offsets, size = layout(tuple(b for b in buffers if not b.tape), shape)
        places = [(True, offset) for offset in tape_offsets]
        places += [(False, offset) for offset in offsets]
        return Direction(function, tuple(places)), size

    forward, forward_bytes = direction(code.forward, face.forward)
    backward, backward_bytes = direction(code.backward, face.backward)
    scratch_bytes = max(forward_bytes, backward_bytes) if shape.training else forward_bytes
    threads, by_units = shares(layer, shape, code.can_split_units)
    return Plan(code, forward, backward, tape_bytes, scratch_bytes, threads, by_units)


def shares(layer: Layer, shape: Shape, can_split_units: bool) -> tuple[int, bool]:
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


def tape_bytes(layer: Layer, num_steps: int, batch_size: int) -> int:
    """Returns the bytes that one run of a layer keeps from its forward to its backward pass.

    Its outputs are among them.
    """
    dtype = dtype_of(layer.precision)
    shape = Shape(num_steps, batch_size, layer.hidden_size, 1, True, dtype.itemsize, True)
    output_bytes = (num_steps + 1) * batch_size * shape.rows(1) * dtype.itemsize
    return plan(layer, shape).tape_bytes + output_bytes
