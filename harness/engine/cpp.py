"""From a schedule to C++: two functions, ``forward`` and ``backward``, that run all time steps of one run.

Buffers are rows of whole vectors, so that no loop has a remainder; what stands in the padding is never read into a
result. Pointers come in one array, in the order of :func:`buffers`; lengths in another.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.engine.program import Node
from harness.engine.schedule import Schedule, Stage

EXPRESSIONS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "abs": "absolute({})",
    "sign": "sign({})",
    "minimum": "minimum({}, {})",
    "maximum": "maximum({}, {})",
    "where": "choose({}, {}, {})",
    "sqrt": "root({})",
    "rsqrt": "reciprocal_root({})",
    "exp": "exponential({})",
    "expm1": "exponential_minus_1({})",
    "log": "logarithm({})",
    "log1p": "logarithm_of_1_plus({})",
    "sigmoid": "sigmoid({})",
    "tanh": "hyperbolic_tangent({})",
    "lt": "{} < {}",
    "le": "{} <= {}",
    "eq": "{} == {}",
    "and": "{} & {}",
    "or": "{} | {}",
    "not": "~{}",
}
"""OPERATIONS in C++, over vectors."""

LENGTHS = ("T", "B", "H", "training", "x_length")
"""The integers of a call. Not training: nothing is kept, every time step writes to the same place."""

Span = Literal["state", "time", "step", "once"]


@dataclass(frozen=True)
class Buffer:
    """Memory of a call: rows of ``blocks`` times H units, or of one vector register where ``blocks`` is 0.

    ``span`` says how many rows: (T + 1) * B, T * B, B or 1; ``tape`` whether the backward call reads what the forward
    call wrote.
    """

    name: str
    span: Span
    blocks: int
    tape: bool = False


@dataclass(frozen=True)
class Interface:
    """What the generated functions take, in order: their buffers, then pointers from outside, the product last."""

    forward: tuple[Buffer, ...]
    backward: tuple[Buffer, ...]
    forward_outside: tuple[str, ...]
    backward_outside: tuple[str, ...]


def interface(
    schedule: Schedule, states: int, gates: int, matrices: dict[str, int], vectors: tuple[str, ...]
) -> Interface:
    """Returns the buffers of a schedule's code.

    Args:
        schedule: What runs.
        states: The number of the cell's states.
        gates: The number of its gates.
        matrices: Name -> gates that it feeds.
        vectors: The names of what has size H.
    """
    nodes = schedule.program.nodes

    def blocks(i: int) -> int:
        return 0 if nodes[i].kind == "row" else 1

    def crossing(steps: tuple) -> list[Buffer]:
        return [Buffer(f"cross_{i}", "step", blocks(i)) for s in steps if isinstance(s, Stage) for i in s.crossing]

    tape = [Buffer(f"state_{s}", "state", 1, tape=True) for s in range(states)]
    tape += [Buffer(f"kept_{i}", "time", blocks(i), tape=True) for i in schedule.kept]
    once = [Buffer(f"vector_{v}", "once", 1) for v in range(len(vectors))]
    once += [Buffer("bias", "once", gates)]
    once += [Buffer(f"value_{i}", "once", 1) for i in schedule.prologue]
    forward = [*tape, *once, *crossing(schedule.forward)]
    forward += [Buffer(f"product_{i}", "step", matrices[nodes[i].name]) for i in schedule.forward if isinstance(i, int)]
    backward = [*tape, *once, *crossing(schedule.backward)]
    backward += [Buffer(f"stack_{k}", "time", len(stack)) for k, stack in enumerate(schedule.stacks)]
    backward += [Buffer(f"carry_{s}_{side}", "step", 1) for s in range(states) for side in (0, 1)]
    backward += [Buffer(f"transposed_{i}", "step", 1) for i in schedule.backward if isinstance(i, int)]
    backward += [Buffer(f"sum_{i}", "once", 1) for i, n in enumerate(nodes) if n.op == "batch_sum"]
    backward += [Buffer(f"value_{i}", "once", 1) for i in schedule.epilogue]
    backward += [Buffer("output_gradient", "step", 1)]
    common = ["tokens", "x", "b"] + [f"given_vector_{v}" for v in range(len(vectors))]
    common += [f"packed_{name}" for name in matrices]
    forward_outside = [*common, "outputs", *(f"{end}_state_{s}" for end in ("first", "last") for s in range(states))]
    backward_outside = [*common, "output_gradients"]
    backward_outside += [f"{end}_gradient_{s}" for end in ("last", "first") for s in range(states)]
    backward_outside += [f"vector_gradient_{v}" for v in range(len(vectors))]
    return Interface(tuple(forward), tuple(backward), (*forward_outside, "product"), (*backward_outside, "product"))


class Emitter:
    """Writes the source."""

    def __init__(
        self,
        schedule: Schedule,
        matrices: dict[str, int],
        vectors: tuple[str, ...],
        gates: tuple[str, ...],
        states: tuple[str, ...],
        biased: tuple[str, ...],
    ):
        self.schedule, self.program, self.nodes = schedule, schedule.program, schedule.program.nodes
        self.matrices, self.vectors, self.gates, self.states = matrices, vectors, gates, states
        self.biased = biased
        self.interface = interface(schedule, len(states), len(gates), matrices, vectors)
        self._reads_tape = False  # a product's gate is read from the product, and by the gradient from the tape
        self._owner = {i: s for s, i in enumerate(self.program.state_gradients) if i is not None}

    def source(self) -> str:
        """Returns the whole file."""
        return "\n".join(['#include "vector.h"', "", *self._forward(), "", *self._backward(), ""])

    # One function.

    def _opening(self, name: str, own: tuple[Buffer, ...], outside: tuple[str, ...]) -> Iterator[str]:
        yield f'extern "C" void {name}(const long* n, void* const* p) {{'
        yield "  Flush subnormal;"
        yield "  const long " + ", ".join(f"{length} = n[{i}]" for i, length in enumerate(LENGTHS)) + ";"
        yield "  const long S = whole(H), state_ring = training ? T + 1 : 2, ring = training ? T : 1;"
        yield "  (void)state_ring; (void)ring;"
        for i, pointer in enumerate([b.name for b in own] + list(outside)):
            kind = {"tokens": "const int64_t*", "product": "Product*"}.get(pointer, "real*")
            yield f"  {kind} const {pointer} = ({kind})p[{i}]; (void){pointer};"
        for i, node in enumerate(self.nodes):
            if node.op == "constant":
                yield f"  const vec v{i} = {self._load(i)}; (void)v{i};"
        for v in range(len(self.vectors)):
            yield f"  unpack(vector_{v}, given_vector_{v}, 1, H);"
        for g, gate in enumerate(self.gates):
            source = f"b + {self.biased.index(gate)} * H" if gate in self.biased else "nullptr"
            yield f"  unpack(bias + {g} * S, b ? {source} : nullptr, 1, H);"
        yield from self._once(self.schedule.prologue)

    def _once(self, computed: tuple[int, ...]) -> Iterator[str]:
        """Values of H units, computed in their own loop."""
        if not computed:
            return
        yield "  for (long j = 0; j < S; j += L) {"
        done: set[int] = set()
        for i in computed:
            for a in self.nodes[i].args:
                if a not in done and self.nodes[a].op != "constant":
                    done.add(a)
                    yield f"    {self._declare(a, self._load(a))}"
            done.add(i)
            yield f"    {self._declare(i, self._expression(i))}"
            yield f"    store(value_{i} + j, {self._value(i, stored=True)});"
        yield "  }"

    def _forward(self) -> Iterator[str]:
        face = self.interface
        yield from self._opening("forward", face.forward, face.forward_outside)
        for s in range(len(self.states)):
            yield f"  unpack(state_{s}, first_state_{s}, B, H);"
        yield "  for (long t = 0; t < T; t++) {"
        yield from self._bases()
        for step in self.schedule.forward:
            yield from self._stage(step) if isinstance(step, Stage) else self._product(step)
        yield "    repack(outputs + t * B * H, next_0, B, H);"
        yield "  }"
        for s in range(len(self.states)):
            yield f"  repack(last_state_{s}, state_{s} + T % state_ring * B * row_length(1, S), B, H);"
        yield "}"

    def _backward(self) -> Iterator[str]:
        self._reads_tape = True
        face = self.interface
        yield from self._opening("backward", face.backward, face.backward_outside)
        for s in range(len(self.states)):
            yield f"  unpack(carry_{s}_0, last_gradient_{s}, B, H);"
        for buffer in face.backward:
            if buffer.name.startswith("sum_"):
                yield f"  std::memset({buffer.name}, 0, S * sizeof(real));"
        yield "  for (long t = T - 1; t >= 0; t--) {"
        yield from self._bases()
        yield "    unpack(output_gradient, output_gradients ? output_gradients + t * B * H : nullptr, B, H);"
        for s in range(len(self.states)):
            yield f"    real *const in_{s} = (T - 1 - t) % 2 ? carry_{s}_1 : carry_{s}_0;"
            yield f"    real *const out_{s} = (T - 1 - t) % 2 ? carry_{s}_0 : carry_{s}_1; (void)in_{s};"
        for k, stack in enumerate(self.schedule.stacks):
            yield f"    real* const now_stack_{k} = stack_{k} + t * B * row_length({len(stack)}, S);"
        for step in self.schedule.backward:
            yield from self._stage(step) if isinstance(step, Stage) else self._transposed(step)
        for s, i in enumerate(self.program.state_gradients):
            if i is None:
                yield f"    std::memset(out_{s}, 0, B * row_length(1, S) * sizeof(real));"
            elif self.nodes[i].op == "transposed" and self._owner[i] != s:  # one product, two states
                yield f"    std::memcpy(out_{s}, out_{self._owner[i]}, B * row_length(1, S) * sizeof(real));"
        yield "  }"
        yield from self._once(self.schedule.epilogue)
        for s in range(len(self.states)):
            yield f"  repack(first_gradient_{s}, T % 2 ? carry_{s}_1 : carry_{s}_0, B, H);"
        for v, name in enumerate(self.vectors):
            i = self.program.vector_gradients[name]
            value = None if i is None else f"sum_{i}" if self.nodes[i].op == "batch_sum" else f"value_{i}"
            if value is None:
                yield f"  std::memset(vector_gradient_{v}, 0, H * sizeof(real));"
            else:
                yield f"  repack(vector_gradient_{v}, {value}, 1, H);"
        yield "}"

    def _bases(self) -> Iterator[str]:
        """Where this time step's rows begin."""
        for s in range(len(self.states)):
            yield f"    real* const prev_{s} = state_{s} + t % state_ring * B * row_length(1, S);"
            yield f"    real* const next_{s} = state_{s} + (t + 1) % state_ring * B * row_length(1, S);"
            yield f"    (void)prev_{s}; (void)next_{s};"
        for i in self.schedule.kept:
            length = "L" if self.nodes[i].kind == "row" else "row_length(1, S)"
            yield f"    real* const now_{i} = kept_{i} + t % ring * B * {length};"

    # Products.

    def _product(self, i: int) -> Iterator[str]:
        node = self.nodes[i]
        blocks = self.matrices[node.name]
        operand = self._rows(node.args[0])
        yield f"    product(B, {blocks} * S, H, 1, {operand}, row_length(1, S), 0, packed_{node.name}, "
        yield f"            product_{i}, row_length({blocks}, S));"

    def _transposed(self, i: int) -> Iterator[str]:
        node = self.nodes[i]
        stack, first = self.schedule.place(node.args)
        length = f"row_length({len(self.schedule.stacks[stack])}, S)"
        yield f"    product(B, S, H, {len(node.args)}, now_stack_{stack} + {first} * S, {length}, S,"
        yield f"            packed_{node.name}, {self._rows(i)}, row_length(1, S));"

    def _rows(self, i: int) -> str:
        """Returns where a (B, H) value of this time step begins."""
        node = self.nodes[i]
        if node.op == "transposed":
            return f"out_{self._owner[i]}" if i in self._owner else f"transposed_{i}"
        if node.op == "input" and node.name.startswith("state."):
            return f"prev_{self.states.index(node.name[6:])}"
        if i in self.program.new_state:
            return f"next_{self.program.new_state.index(i)}"
        return f"now_{i}" if i in self.schedule.kept else f"cross_{i}"

    # A stage: for every row, passes over its units; a pass ends where a reduction is needed.

    def _stage(self, stage: Stage) -> Iterator[str]:
        passes = self._passes(stage)
        last = max(passes.values(), default=0)
        across = self._across(stage, passes)
        yield "    {"
        for i in sorted(across):
            yield f"    real across_{i}[S];"
        yield "    for (long b = 0; b < B; b++) {"
        if any(self.nodes[i].op == "input" and self.nodes[i].name.startswith("x.") for i in stage.loaded):
            yield "      const real* const x_row = x + (tokens ? tokens[t * B + b] : t * B + b) * x_length;"
        rows = [i for i in stage.computed if self.nodes[i].kind == "row"]
        loaded_rows = [i for i in stage.loaded if self.nodes[i].kind == "row"]
        for i in loaded_rows:
            yield f"      {self._declare(i, f'load({self._rows(i)} + b * L)')}"
        for number in range(last + 1):
            for i in rows:
                if passes[i] == number and self.nodes[i].op not in ("row_sum", "row_max"):
                    yield f"      {self._declare(i, self._expression(i))}"
            yield from self._pass(stage, number, passes, across)
        for i in rows:
            if i in stage.kept or i in stage.crossing:
                yield f"      store({self._rows(i)} + b * L, {self._value(i, stored=True)});"
        yield "    }\n    }"

    def _passes(self, stage: Stage) -> dict[int, int]:
        """Returns in which pass each node is ready: one more than its arguments' where it reduces them."""
        found = dict.fromkeys(stage.loaded, 0)
        for i in stage.computed:
            node = self.nodes[i]
            found[i] = max((found[a] for a in node.args), default=0) + (node.op in ("row_sum", "row_max"))
        return found

    def _across(self, stage: Stage, passes: dict[int, int]) -> set[int]:
        """Returns the values of a row that a later pass reads again."""
        own = set(stage.computed)
        readers = [
            (a, passes[i] - (self.nodes[i].op in ("row_sum", "row_max"))) for i in own for a in self.nodes[i].args
        ]
        return {a for a, at in readers if a in own and self.nodes[a].kind != "row" and at > passes[a]}

    def _pass(self, stage: Stage, number: int, passes: dict[int, int], across: set[int]) -> Iterator[str]:
        reduced = [i for i in stage.computed if self.nodes[i].op in ("row_sum", "row_max") and passes[i] == number + 1]
        computed = [i for i in stage.computed if self.nodes[i].kind != "row" and passes[i] == number]
        stores = list(self._stores(stage, number, passes))
        sources = [self.nodes[i].args[0] for i in reduced]
        sums = [(i, self.nodes[i].args[0]) for i in stage.sums if passes.get(self.nodes[i].args[0], 0) == number]
        read = [i for _, i in stores if i is not None] + sources + [source for _, source in sums]
        loads = self._loads(computed, read, across)
        if not (computed or stores or reduced or sums):
            return
        for i in reduced:
            start = "splat(0)" if self.nodes[i].op == "row_sum" else "splat(-INFINITY)"
            yield f"      vec part_{i} = {start};"
        yield "      for (long j = 0; j < S; j += L) {"
        for line in loads:
            yield f"        {line}"
        for i in computed:
            yield f"        {self._declare(i, self._expression(i))}"
            if i in across:
                yield f"        store(across_{i} + j, {self._value(i, stored=True)});"
        for address, stored in stores:
            yield f"        store({address}, {'splat(0)' if stored is None else self._value(stored, stored=True)});"
        for i, source in sums:
            yield f"        store(sum_{i} + j, load(sum_{i} + j) + v{source});"
        for i, source in zip(reduced, sources, strict=True):
            if self.nodes[i].op == "row_sum":
                yield f"        part_{i} = part_{i} + first(v{source}, H - j, 0);"
            else:
                yield f"        part_{i} = maximum(part_{i}, first(v{source}, H - j, -INFINITY));"
        yield "      }"
        for i in reduced:
            fold = "total" if self.nodes[i].op == "row_sum" else "largest"
            yield f"      const vec v{i} = splat({fold}(part_{i}));"

    def _stores(self, stage: Stage, number: int, passes: dict[int, int]) -> Iterator[tuple[str, int | None]]:
        """Yields (address, node) of what a pass stores."""

        def here(i: int | None) -> bool:
            return (0 if i is None else passes.get(i, 0)) == number

        one = "b * row_length(1, S) + j"
        for s, i in stage.new_states:
            if here(i):
                yield f"next_{s} + {one}", i
        for i in (*stage.kept, *stage.crossing):
            if self.nodes[i].kind != "row" and here(i):
                yield f"{'now' if i in self.schedule.kept else 'cross'}_{i} + {one}", i
        for k, block, gate in stage.blocks:
            if here(gate):
                length = f"row_length({len(self.schedule.stacks[k])}, S)"
                yield f"now_stack_{k} + b * {length} + {block} * S + j", gate
        for s, i in stage.carries:
            if here(i):
                yield f"out_{s} + {one}", i

    def _loads(self, computed: list[int], read: list[int], across: set[int]) -> list[str]:
        """Returns the declarations of what a pass reads and does not compute."""
        own = set(computed)
        wanted = dict.fromkeys([a for i in computed for a in self.nodes[i].args] + read)
        lines = []
        for i in wanted:
            if i in own or self.nodes[i].kind == "row" or self.nodes[i].op == "constant":
                continue
            lines.append(self._declare(i, f"load(across_{i} + j)" if i in across else self._load(i)))
        return lines

    # Values.

    def _declare(self, i: int, expression: str) -> str:
        if not self.nodes[i].boolean:
            return f"const vec v{i} = {expression};"
        return f"const ivec v{i} = {f'is_true({expression})' if expression.startswith('load(') else expression};"

    def _value(self, i: int, stored: bool) -> str:
        return f"choose(v{i}, splat(1), splat(0))" if stored and self.nodes[i].boolean else f"v{i}"

    def _expression(self, i: int) -> str:
        node = self.nodes[i]
        return EXPRESSIONS[node.op].format(*(f"v{a}" for a in node.args))

    def _load(self, i: int) -> str:
        node: Node = self.nodes[i]
        one = "b * row_length(1, S) + j"
        if node.op == "constant":
            return f"splat((real){node.value!r})".replace("inf", "INFINITY").replace("nan", "NAN")
        if node.op == "gate" and not self._reads_tape:
            product = node.args[0]
            blocks = self.matrices[self.nodes[product].name]
            return f"load(product_{product} + b * row_length({blocks}, S) + {int(node.value)} * S + j)"
        if node.op == "batch_sum":
            return f"load(sum_{i} + j)"
        if node.op == "input":
            group, _, name = node.name.partition(".")
            if group == "vector":
                return f"load(vector_{self.vectors.index(name)} + j)"
            if group == "x":
                g = self.gates.index(name)
                shift = f" + load(bias + {g} * S + j)" if name in self.biased else ""
                return f"load(x_row + {g} * S + j){shift}"
            if group == "cotangent":
                s = self.states.index(name)
                return f"load(in_{s} + {one})" + (f" + load(output_gradient + {one})" if s == 0 else "")
        if node.kind == "vector":
            return f"load(value_{i} + j)"
        return f"load({self._rows(i)} + {one})"
