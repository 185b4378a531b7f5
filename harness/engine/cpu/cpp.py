"""From a schedule to C++: ``forward`` and ``backward`` run all time steps of one run.

Threads take rows of the batch, which meet only in products over time; or, where there are too few
rows, units of all rows, and then they meet before every product. Buffers are rows of whole
vectors, so that no loop has a remainder; what stands in the padding is never read into a result.
Pointers come in one array and lengths in another; see :mod:`harness.engine.cpu.interface`.
"""

from collections.abc import Iterator

from harness.engine.cpu.compiler import KERNELS
from harness.engine.cpu.interface import SYMBOLS, Buffer, Lengths, interface
from harness.engine.tracing.program import MOVES, REDUCTIONS, Node
from harness.engine.tracing.schedule import Schedule, Stack, Stage

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
    "sin": "sine({})",
    "cos": "cosine({})",
    "atan": "arctangent({})",
    "erf": "error_function({})",
    "fmod": "modulo({}, {})",
    "cumsum": "running_sum({0}, sum_to_{0})",
    "roll": "rolled({row}, {1}, j, H)",
    "flip": "flipped({row}, j, H)",
    "part": "choose((numbered(j) >= {2}) & (numbered(j) < {3}), {0}, {1})",
    "lt": "{} < {}",
    "le": "{} <= {}",
    "eq": "{} == {}",
    "and": "{} & {}",
    "or": "{} | {}",
    "not": "~{}",
}
"""OPERATIONS in C++, over vectors; ``row`` is where an argument's whole row lies."""

HELPERS = {
    "cumsum": ("running_sum",),
    "sin": ("circular",),
    "cos": ("circular",),
    "atan": ("polynomial", "arctangent"),
    "erf": ("polynomial", "error"),
    "fmod": ("polynomial", "modulo"),
    "roll": ("units",),
    "flip": ("units",),
    "part": ("units",),
}
"""Operation -> the files ``kernels/*.inc`` that stand in the code that calls it.

A change of the headers would be one of every cell's code.
"""


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
        noise: tuple[str, ...] = (),
        reads_input: bool = False,
    ):
        self.schedule, self.program, self.nodes = schedule, schedule.program, schedule.program.nodes
        self.matrices, self.vectors, self.states = matrices, vectors, states
        # The blocks of a row of x: products with W, and then the input itself where it is read.
        self.gates, self.multiplied = (*gates, "input") if reads_input else gates, len(gates)
        self.biased, self.noise = biased, noise
        self.interface = interface(
            schedule, len(states), len(self.gates), self.multiplied, matrices, vectors
        )
        # A product's gate is read from the product, and by the gradient from the tape.
        self._reads_tape = False
        self._owner = {i: s for s, i in enumerate(self.program.state_gradients) if i is not None}
        # Threads may share the units where each is computed without its row's others.
        self.can_split_units = not any(
            node.kind == "row" or node.op in REDUCTIONS or node.op in MOVES or node.op == "cumsum"
            for node in self.nodes
        )

    def source(self) -> str:
        """Returns the whole file."""
        names = dict.fromkeys(name for node in self.nodes for name in HELPERS.get(node.op, ()))
        helpers = [(KERNELS / f"{name}.inc").read_text(encoding="utf-8") for name in names]
        return "\n".join(
            ['#include "layer.h"', "", *helpers, *self._forward(), "", *self._backward(), ""]
        )

    # One function.

    def _opening(self, buffers: tuple[Buffer, ...], outside: tuple[str, ...]) -> Iterator[str]:
        yield (
            "  const long "
            + ", ".join(
                f"{SYMBOLS.get(length, length)} = n[{i}]"
                for i, length in enumerate(Lengths._fields)
            )
            + ";"
        )
        yield (
            "  const long S = whole(H), state_ring = training ? T + 1 : 2, ring = training ? T : 1;"
        )
        yield (
            "  (void)I; (void)x_length; (void)noise_step; (void)chunk; (void)threads; "
            "(void)by_units; (void)state_ring; (void)ring;"
        )
        for i, pointer in enumerate([b.name for b in buffers] + list(outside)):
            kind = {"tokens": "const int64_t*", "kernels": "const Kernels*"}.get(pointer, "real*")
            yield f"  {kind} const {pointer} = ({kind})p[{i}]; (void){pointer};"
        for i, node in enumerate(self.nodes):
            if node.op == "constant":
                yield f"  const vec v{i} = {self._load(i)}; (void)v{i};"

    def _vectors(self) -> Iterator[str]:
        """What is made once a call: vectors on rows of whole vectors, and values of them alone."""
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
        opening = list(self._opening(face.forward, face.forward_outside))
        yield (
            "static void forward_part(const long* n, void* const* p, long thread, Meeting& "
            "meeting) {"
        )
        yield from opening
        yield from self._share()
        yield "  if (by_units) {"
        for name, fed in self.matrices.items():
            yield (
                f"    kernels->pack(H, {fed}, H, own_units, units, given_{name} + u_begin, {fed} * "
                f"H, packed_{name} + H * {fed} * u_begin);"
            )
        yield "  }"
        yield "  for (long t = 0; t < T; t++) {"
        if isinstance(self.schedule.forward[0], Stage):
            # It writes where the last step's products read, where no step has a place of its own.
            yield "    if (by_units && !training) kernels->meet(meeting);"
        yield from self._bases()
        for step in self.schedule.forward:
            yield from self._stage(step) if isinstance(step, Stage) else self._product(step)
        yield "  }\n}"
        yield 'extern "C" void forward(const long* n, void* const* p) {\n  Flush subnormal;'
        yield from opening
        yield "  if (!by_units) {"
        for name, fed in self.matrices.items():
            yield f"    kernels->pack(H, {fed}, H, H, S, given_{name}, {fed} * H, packed_{name});"
        yield "  }"
        yield from self._vectors()
        for s in range(len(self.states)):
            yield f"  unpack(state_{s}, first_state_{s}, B, H);"
        yield "  kernels->on_threads(threads, forward_part, n, p);"
        for s in range(len(self.states)):
            last = "T" if s == 0 else "T % state_ring"
            yield f"  repack(last_state_{s}, state_{s} + {last} * B * row_length(1, S), B, H);"
        yield "}"

    def _backward(self) -> Iterator[str]:
        self._reads_tape = True
        face = self.interface
        opening = list(self._opening(face.backward, face.backward_outside))
        yield (
            "static void backward_steps(const long* n, void* const* p, long from, long to, long "
            "thread, Meeting& meeting) {"
        )
        yield from opening
        yield from self._share()
        yield from self._steps_back()
        yield "}"
        yield (
            "static void backward_part(const long* n, void* const* p, long thread, Meeting& "
            "meeting) {"
        )
        yield from opening
        yield from self._share()
        yield "  (void)begin; (void)end; (void)units;"
        yield "  if (by_units) {"
        for name, fed in self.matrices.items():
            yield (
                f"    kernels->pack_transposed(own_units, {fed}, H, given_{name} + u_begin * {fed} "
                f"* H, {fed} * H, packed_{name} + u_begin * {fed} * H);"
            )
        yield "  }"
        yield "  for (long to = T; to > 0; to -= chunk) {"
        yield (
            "    const long from = to > chunk ? to - chunk : 0, rows = (to - from) * B, add = "
            "to < T;"
        )
        yield "    backward_steps(n, p, from, to, thread, meeting);"
        yield "    kernels->meet(meeting);"
        yield from self._over_time()
        yield "    kernels->meet(meeting);"
        yield "  }\n}"
        yield 'extern "C" void backward(const long* n, void* const* p) {\n  Flush subnormal;'
        yield from opening
        yield "  if (!by_units) {"
        for name, fed in self.matrices.items():
            yield (
                f"    kernels->pack_transposed(H, {fed}, H, given_{name}, {fed} * H, "
                f"packed_{name});"
            )
        yield "  }"
        if self.multiplied:
            yield "  if (input_gradients)"
            yield (
                f"    kernels->pack_transposed(I, {self.multiplied}, H, W, {self.multiplied} * H, "
                "packed_W);"
            )
        yield from self._vectors()
        for s in range(len(self.states)):
            yield f"  unpack(carry_{s}_0, last_gradient_{s}, B, H);"
        for buffer in face.backward:
            if buffer.name.startswith("sum_"):
                yield (
                    f"  std::memset({buffer.name}, 0, (B + SLICE - 1) / SLICE * S * sizeof(real));"
                )
        yield "  kernels->on_threads(threads, backward_part, n, p);"
        yield from self._closing()
        yield "}"

    def _share(self) -> Iterator[str]:
        """Which rows and which units a thread takes: some rows whole, or some units of all rows."""
        rows = "by_units ? {} : row_begin(B, thread{}, threads)"
        units = "by_units ? part_begin(S / ROUND, thread{}, threads) * ROUND : {}"
        yield f"  const long begin = {rows.format(0, '')}, end = {rows.format('B', ' + 1')};"
        yield f"  const long u_begin = {units.format('', 0)}, u_end = {units.format(' + 1', 'S')};"
        yield "  const long units = u_end - u_begin, own_units = (H < u_end ? H : u_end) - u_begin;"
        yield "  (void)own_units; (void)meeting;"

    def _steps_back(self) -> Iterator[str]:
        yield "  for (long t = to - 1; t >= from; t--) {"
        yield from self._bases()
        yield "    const bool direct = output_gradients && row_length(1, S) == H;"
        yield "    real* const given = output_gradients ? output_gradients + t * B * H : nullptr;"
        yield "    real* const output_gradient = direct ? given : unpacked_output_gradient;"
        yield "    if (!direct)"
        yield (
            "      unpack_units(output_gradient + begin * row_length(1, S), given ? given + begin "
            "* H : nullptr,"
        )
        yield "                   end - begin, H, u_begin, u_end);"
        for s in range(len(self.states)):
            yield f"    real *const in_{s} = (T - 1 - t) % 2 ? carry_{s}_1 : carry_{s}_0;"
            yield (
                f"    real *const out_{s} = (T - 1 - t) % 2 ? carry_{s}_0 : carry_{s}_1; "
                f"(void)in_{s};"
            )
        for k, stack in enumerate(self.schedule.stacks):
            yield (
                f"    real* const now_stack_{k} = stack_{k} + (t - from) * B * "
                f"row_length({len(stack)}, S);"
            )
        for step in self.schedule.backward:
            yield from self._stage(step) if isinstance(step, Stage) else self._transposed(step)
        rows = "    for (long b = begin; b < end; b++)"
        first, size = "b * row_length(1, S) + u_begin", "units * sizeof(real)"
        for s, i in enumerate(self.program.state_gradients):
            if i is None:
                yield f"{rows} std::memset(out_{s} + {first}, 0, {size});"
            elif self.nodes[i].op == "transposed" and self._owner[i] != s:
                # One product is the gradient of two states.
                owner = f"out_{self._owner[i]}"
                yield f"{rows} std::memcpy(out_{s} + {first}, {owner} + {first}, {size});"
        yield "  }"

    def _over_time(self) -> Iterator[str]:
        """The products over a chunk's time steps.

        Each thread takes a part of the columns, or of the rows.
        """
        for name, terms in self.program.matrix_gradients.items():
            width = f"{self.matrices[name]} * S"
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
        if self.multiplied < len(self.gates):
            yield "      for (long i = 0; i < count; i++)"
            yield (
                "        for (long j = 0; j < H; j++) wide[i * whole(I) + j] += "
                f"slopes[i * {length} + {width} + j];"
            )
        yield "      if (wide != to_rows) narrow(to_rows, wide, count, 1, I, whole(I));"
        yield "    }"

    def _closing(self) -> Iterator[str]:
        """What is left when all time steps are done."""
        yield from self._folded_sums()
        yield from self._once(self.schedule.epilogue)
        for s in range(len(self.states)):
            yield (
                f"  if (first_gradient_{s}) repack(first_gradient_{s}, T % 2 ? carry_{s}_1 : "
                f"carry_{s}_0, B, H);"
            )
        for v, name in enumerate(self.vectors):
            i = self.program.vector_gradients[name]
            if i is None:
                yield f"  std::memset(vector_gradient_{v}, 0, H * sizeof(real));"
            else:
                value = f"sum_{i}" if self.nodes[i].op == "batch_sum" else f"value_{i}"
                yield f"  repack(vector_gradient_{v}, {value}, 1, H);"
        for name, terms in self.program.matrix_gradients.items():
            fed = self.matrices[name]
            if terms:
                yield (
                    f"  if (S != H) narrow(gradient_{name}, wide_gradient_{name}, H, {fed}, H, S);"
                )
            else:
                yield f"  std::memset(gradient_{name}, 0, H * {fed} * H * sizeof(real));"
        gates = self.multiplied
        if gates:
            yield f"  if (!tokens && S != H) narrow(gradient_W, wide_gradient_W, I, {gates}, H, S);"
        for g, gate in enumerate(self.gates):
            if gate not in self.biased:
                continue
            to = f"gradient_b + {self.biased.index(gate)} * H"
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

    def _folded_sums(self) -> Iterator[str]:
        """The slices' sums become one, in the first."""
        for buffer in self.interface.backward:
            if buffer.name.startswith("sum_"):
                yield "  for (long slice = 1; slice * SLICE < B; slice++)"
                yield (
                    f"    for (long j = 0; j < S; j++) {buffer.name}[j] += {buffer.name}[slice * "
                    "S + j];"
                )

    def _stack(self, stack: Stack) -> tuple[str, str]:
        """Returns where a chunk's values side by side begin, and their row length."""
        index, first = self.schedule.place(stack)
        return f"stack_{index} + {first} * S", f"row_length({len(self.schedule.stacks[index])}, S)"

    def _operand(self, i: int) -> str:
        """Returns where a product's operand begins at the chunk's first time step."""
        node, step = self.nodes[i], "B * row_length(1, S)"
        if node.name.startswith("state."):
            return f"state_{self.states.index(node.name[6:])} + from * {step}"
        if i in self.program.new_state:
            return f"state_{self.program.new_state.index(i)} + (from + 1) * {step}"
        return f"kept_{i} + from * {step}"

    def _bases(self) -> Iterator[str]:
        """Where this time step's rows begin."""
        for s in range(len(self.states)):
            # The first state is the output, and has all its steps.
            ring = "" if s == 0 else " % state_ring"
            yield f"    real* const prev_{s} = state_{s} + t{ring} * B * row_length(1, S);"
            yield f"    real* const next_{s} = state_{s} + (t + 1){ring} * B * row_length(1, S);"
            yield f"    (void)prev_{s}; (void)next_{s};"
        for i in self.schedule.kept:
            length = "L" if self.nodes[i].kind == "row" else "row_length(1, S)"
            yield f"    real* const now_{i} = kept_{i} + t % ring * B * {length};"

    # Products.

    def _product(self, i: int) -> Iterator[str]:
        node = self.nodes[i]
        blocks = self.matrices[node.name]
        operand, length = self._rows(node.args[0]), f"row_length({blocks}, S)"
        yield "    if (by_units) kernels->meet(meeting);"
        yield (
            f"    kernels->product(end - begin, {blocks} * units, H, 1, {operand} + begin * "
            "row_length(1, S),"
        )
        yield (
            f"      row_length(1, S), 0, packed_{node.name} + H * {blocks} * u_begin, "
            f"product_{i} + begin * {length} + {blocks} * u_begin, {length});"
        )

    def _transposed(self, i: int) -> Iterator[str]:
        node = self.nodes[i]
        stack, first = self.schedule.place(node.args)
        length = f"row_length({len(self.schedule.stacks[stack])}, S)"
        operand = f"now_stack_{stack} + {first} * S"
        result = f"{self._rows(i)} + begin * row_length(1, S)"
        fed = self.matrices[node.name]
        yield "    if (by_units) kernels->meet(meeting);"
        yield (
            f"    kernels->product(end - begin, units, H, {len(node.args)}, {operand} + begin * "
            f"{length}, {length}, S,"
        )
        yield (
            f"      packed_{node.name} + u_begin * {fed} * H, {result} + u_begin, "
            "row_length(1, S));"
        )

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
        for i in sorted(across | self._copied(stage)):
            yield f"    real across_{i}[S];"
        yield "    for (long b = begin; b < end; b++) {"
        groups = {
            self.nodes[i].name.partition(".")[0]
            for i in stage.loaded
            if self.nodes[i].op == "input"
        }
        if "x" in groups:
            yield (
                "      const real* const x_row = x + (tokens ? tokens[t * B + b] : t * B + b) * "
                "x_length;"
            )
        if "noise" in groups:
            yield (
                "      const real* const noise_row = noise + (t * noise_step + b) * "
                f"{len(self.noise)} * S;"
            )
        rows = [i for i in stage.computed if self.nodes[i].kind == "row"]
        loaded_rows = [i for i in stage.loaded if self.nodes[i].kind == "row"]
        for i in loaded_rows:
            yield f"      {self._declare(i, f'load({self._rows(i)} + b * L)')}"
        for number in range(last + 1):
            for i in rows:
                if passes[i] == number and self.nodes[i].op not in REDUCTIONS:
                    yield f"      {self._declare(i, self._expression(i))}"
            yield from self._pass(stage, number, passes, across)
        for i in rows:
            if i in stage.kept or i in stage.crossing:
                yield f"      store({self._rows(i)} + b * L, {self._value(i, stored=True)});"
        yield "    }\n    }"

    def _passes(self, stage: Stage) -> dict[int, int]:
        """Returns the pass in which each node is ready.

        A node that reads whole rows of its arguments is ready one pass after them.
        """
        passes = dict.fromkeys(stage.loaded, 0)
        for i in stage.computed:
            node = self.nodes[i]
            reads_rows = node.op in REDUCTIONS or node.op in MOVES
            passes[i] = max((passes[a] for a in node.args), default=0) + reads_rows
        return passes

    def _across(self, stage: Stage, passes: dict[int, int]) -> set[int]:
        """Returns the values of a row that a later pass reads again."""
        computed = set(stage.computed)
        readers = [
            (a, passes[i] - (self.nodes[i].op in REDUCTIONS))
            for i in computed
            for a in self.nodes[i].args
        ]
        return {
            a
            for a, at in readers
            if a in computed and self.nodes[a].kind != "row" and at > passes[a]
        }

    def _copied(self, stage: Stage) -> set[int]:
        """Returns the loaded values whose rows are read in another order."""
        moved = {self.nodes[i].args[0] for i in stage.computed if self.nodes[i].op in MOVES}
        return moved & set(stage.loaded)

    def _pass(
        self, stage: Stage, number: int, passes: dict[int, int], across: set[int]
    ) -> Iterator[str]:
        reduced = [
            i for i in stage.computed if self.nodes[i].op in REDUCTIONS and passes[i] == number + 1
        ]
        computed = [
            i for i in stage.computed if self.nodes[i].kind != "row" and passes[i] == number
        ]
        stores = list(self._stores(stage, number, passes))
        sources = [self.nodes[i].args[0] for i in reduced]
        sums = [
            (i, self.nodes[i].args[0])
            for i in stage.sums
            if passes.get(self.nodes[i].args[0], 0) == number
        ]
        copied = sorted(self._copied(stage)) if number == 0 else []
        read = [i for _, i in stores if i is not None] + sources + [source for _, source in sums]
        loads = self._loads(computed, read + copied, across)
        if not (computed or stores or reduced or sums or copied):
            return
        for i in reduced:
            start = "splat(0)" if self.nodes[i].op == "row_sum" else "splat(-INFINITY)"
            yield f"      vec part_{i} = {start};"
        for i in computed:
            if self.nodes[i].op == "cumsum":
                yield f"      real sum_to_v{self.nodes[i].args[0]} = 0;"
        yield "      for (long j = u_begin; j < u_end; j += L) {"
        for line in loads:
            yield f"        {line}"
        for i in copied:
            yield f"        store(across_{i} + j, v{i});"
        for i in computed:
            yield f"        {self._declare(i, self._expression(i))}"
            if i in across:
                yield f"        store(across_{i} + j, {self._value(i, stored=True)});"
        for address, stored in stores:
            value = "splat(0)" if stored is None else self._value(stored, stored=True)
            yield f"        store({address}, {value});"
        for i, source in sums:
            target = f"sum_{i} + b / SLICE * S + j"
            yield f"        store({target}, load({target}) + v{source});"
        for i, source in zip(reduced, sources, strict=True):
            if self.nodes[i].op == "row_sum":
                yield f"        part_{i} = part_{i} + first(v{source}, H - j, 0);"
            else:
                yield f"        part_{i} = maximum(part_{i}, first(v{source}, H - j, -INFINITY));"
        yield "      }"
        for i in reduced:
            fold = "total" if self.nodes[i].op == "row_sum" else "largest"
            yield f"      const vec v{i} = splat({fold}(part_{i}));"

    def _stores(
        self, stage: Stage, number: int, passes: dict[int, int]
    ) -> Iterator[tuple[str, int | None]]:
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
        here = set(computed)
        arguments = [
            a
            for i in computed
            for k, a in enumerate(self.nodes[i].args)
            if k > 0 or self.nodes[i].op not in MOVES
        ]
        wanted = dict.fromkeys(arguments + read)
        lines = []
        for i in wanted:
            if i in here or self.nodes[i].kind == "row" or self.nodes[i].op == "constant":
                continue
            lines.append(
                self._declare(i, f"load(across_{i} + j)" if i in across else self._load(i))
            )
        return lines

    # Values.

    def _declare(self, i: int, expression: str) -> str:
        if not self.nodes[i].boolean:
            return f"const vec v{i} = {expression};"
        mask = f"is_true({expression})" if expression.startswith("load(") else expression
        return f"const ivec v{i} = {mask};"

    def _value(self, i: int, stored: bool) -> str:
        return f"choose(v{i}, splat(1), splat(0))" if stored and self.nodes[i].boolean else f"v{i}"

    def _expression(self, i: int) -> str:
        node = self.nodes[i]
        row = f"across_{node.args[0]}" if node.op in MOVES else ""
        return EXPRESSIONS[node.op].format(*(f"v{a}" for a in node.args), row=row)

    def _load(self, i: int) -> str:
        node: Node = self.nodes[i]
        one = "b * row_length(1, S) + j"
        if node.op == "constant":
            return f"splat((real){node.value!r})".replace("inf", "INFINITY").replace("nan", "NAN")
        if node.op == "gate" and not self._reads_tape:
            product = node.args[0]
            blocks = self.matrices[self.nodes[product].name]
            return (
                f"load(product_{product} + b * row_length({blocks}, S) + {blocks} * u_begin + "
                f"{int(node.value)} * units + j - u_begin)"
            )
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
            if group == "noise":
                return f"load(noise_row + {self.noise.index(name)} * S + j)"
            if group == "cotangent":
                s = self.states.index(name)
                return f"load(in_{s} + {one})" + (
                    f" + load(output_gradient + {one})" if s == 0 else ""
                )
        if node.kind == "vector":
            return f"load(value_{i} + j)"
        return f"load({self._rows(i)} + {one})"
