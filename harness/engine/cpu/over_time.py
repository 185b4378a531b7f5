"""Gradients that are sums over time, in C++: those of matrices, biases, vectors and inputs."""

from collections.abc import Iterator

from harness.engine.cpu.values import Values
from harness.engine.tracing.schedule import Stack


class OverTime:
    """Writes the products over a chunk of time steps, and where their results go."""

    def __init__(self, values: Values, multiplied: int):
        """``multiplied``: how many blocks of the input's gradient are products with W."""
        self.values, self.multiplied = values, multiplied
        self.schedule, self.program = values.schedule, values.program

    def products(self) -> Iterator[str]:
        """Yields the products over a chunk's time steps.

        Each thread takes a part of the columns, or of the rows.
        """
        for name, terms in self.program.matrix_gradients.items():
            width = f"{self.values.matrices[name]} * S"
            for index, term in enumerate(terms):
                stack, length = self._stack(term.cotangent)
                yield (
                    f"    kernels->outer_part(H, {width}, rows, {self._operand(term.operand)}, "
                    "row_length(1, S),"
                )
                yield (
                    f"      {stack}, {length}, S == H ? gradient_{name} : wide_gradient_{name}, "
                    f"{width},"
                )
                yield f"      {'add' if index == 0 else '1'}, thread, threads);"
        stack, length = self._stack(self.program.input_gradients)
        width = f"{self.multiplied} * S"
        yield "    if (tokens) {"
        yield (
            f"      kernels->scatter_part(rows, I, {self.multiplied}, H, S, tokens + from * B, "
            f"{stack}, {length}, gradient_W,"
        )
        yield "        add, thread, threads);"
        if self.multiplied:
            yield "    } else {"
            yield (
                f"      kernels->outer_part(I, {width}, rows, inputs + from * B * I, I, {stack}, "
                f"{length},"
            )
            yield f"        S == H ? gradient_W : wide_gradient_W, {width}, add, thread, threads);"
            yield (
                f"      kernels->sum_part(rows, {width}, {stack}, {length}, bias_sum, add, "
                "thread, threads);"
            )
        yield "    }"
        yield "    if (input_gradients) {"
        yield "      const long first = part_begin(rows, thread, threads);"
        yield "      const long count = part_begin(rows, thread + 1, threads) - first;"
        yield "      real* const to_rows = input_gradients + (from * B + first) * I;"
        yield (
            "      real* const wide = whole(I) == I ? to_rows : wide_input_gradients + first * "
            "whole(I);"
        )
        yield f"      const real* const slopes = {stack} + first * {length};"
        if self.multiplied:
            yield (
                f"      kernels->product(count, whole(I), H, {self.multiplied}, slopes, {length}, "
                "S, packed_W,"
            )
            yield "        wide, whole(I));"
        else:
            yield "      std::memset(wide, 0, count * whole(I) * sizeof(real));"
        if self.multiplied < len(self.values.gates):
            yield "      for (long i = 0; i < count; i++)"
            yield (
                "        for (long j = 0; j < H; j++) wide[i * whole(I) + j] += "
                f"slopes[i * {length} + {width} + j];"
            )
        yield "      if (wide != to_rows) narrow(to_rows, wide, count, 1, I, whole(I));"
        yield "    }"

    def results(self) -> Iterator[str]:
        """Yields what copies the gradients to where they are wanted, after the last chunk."""
        for s in range(len(self.values.states)):
            yield (
                f"  if (first_gradient_{s}) repack(first_gradient_{s}, T % 2 ? carry_{s}_1 : "
                f"carry_{s}_0, B, H);"
            )
        for v, name in enumerate(self.values.vectors):
            i = self.program.vector_gradients[name]
            if i is None:
                yield f"  std::memset(vector_gradient_{v}, 0, H * sizeof(real));"
            else:
                value = f"sum_{i}" if self.values.nodes[i].op == "batch_sum" else f"value_{i}"
                yield f"  repack(vector_gradient_{v}, {value}, 1, H);"
        for name, terms in self.program.matrix_gradients.items():
            fed = self.values.matrices[name]
            if terms:
                yield (
                    f"  if (S != H) narrow(gradient_{name}, wide_gradient_{name}, H, {fed}, H, S);"
                )
            else:
                yield f"  std::memset(gradient_{name}, 0, H * {fed} * H * sizeof(real));"
        gates = self.multiplied
        if gates:
            yield f"  if (!tokens && S != H) narrow(gradient_W, wide_gradient_W, I, {gates}, H, S);"
        for g, gate in enumerate(self.values.gates):
            if gate not in self.values.biased:
                continue
            to = f"gradient_b + {self.values.biased.index(gate)} * H"
            yield (
                f"  if (gradient_b && !tokens) std::memcpy({to}, bias_sum + {g} * S, H * "
                "sizeof(real));"
            )
            yield "  if (gradient_b && tokens) {"
            yield f"    std::memset({to}, 0, H * sizeof(real));"
            yield "    for (long v = 0; v < I; v++)"
            yield (
                f"      for (long j = 0; j < H; j++) ({to})[j] += gradient_W[(v * {gates} + {g}) "
                "* H + j];"
            )
            yield "  }"

    def _stack(self, stack: Stack) -> tuple[str, str]:
        """Returns where a chunk's values side by side begin, and their row length."""
        index, first = self.schedule.place(stack)
        return f"stack_{index} + {first} * S", f"row_length({len(self.schedule.stacks[index])}, S)"

    def _operand(self, i: int) -> str:
        """Returns where a product's operand begins at the chunk's first time step."""
        node, step = self.values.nodes[i], "B * row_length(1, S)"
        if node.name.startswith("state."):
            return f"state_{self.values.states.index(node.name[6:])} + from * {step}"
        if i in self.program.new_state:
            return f"state_{self.program.new_state.index(i)} + (from + 1) * {step}"
        return f"kept_{i} + from * {step}"
