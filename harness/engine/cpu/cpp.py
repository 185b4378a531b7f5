"""From a schedule to C++: ``forward`` and ``backward`` run all time steps of one run.

Threads take rows of the batch, which meet only in products over time; or, where there are too few
rows, units of all rows, and then they meet before every product. Buffers are rows of whole
vectors, so that no loop has a remainder; what stands in the padding is never read into a result.
Pointers come in one array and lengths in another; see :mod:`harness.engine.cpu.interface`.
"""

from collections.abc import Iterator

from harness.engine.cpu.compiler import KERNELS
from harness.engine.cpu.interface import SYMBOLS, Buffer, Lengths, interface
from harness.engine.cpu.over_time import OverTime
from harness.engine.cpu.stages import Stages, is_of_rows
from harness.engine.cpu.values import HELPERS, Values
from harness.engine.tracing.schedule import Schedule, Stage


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
        self.biased = biased
        self.interface = interface(
            schedule, len(states), len(self.gates), self.multiplied, matrices, vectors
        )
        self.values = Values(schedule, matrices, vectors, self.gates, states, biased, noise)
        self.stages = Stages(self.values)
        self.over_time = OverTime(self.values, self.multiplied)
        # Threads may share the units where each is computed without its row's others.
        self.can_split_units = not any(is_of_rows(node) for node in self.nodes)

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
                yield f"  const vec v{i} = {self.values.load(i)}; (void)v{i};"

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
                    yield f"    {self.values.declare(a, self.values.load(a))}"
            done.add(i)
            yield f"    {self.values.declare(i, self.values.expression(i))}"
            yield f"    store(value_{i} + j, {self.values.value(i, stored=True)});"
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
            yield from self.stages.write(step) if isinstance(step, Stage) else self._product(step)
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
        self.values.reads_tape = True
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
        yield from self.over_time.products()
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
            yield from (
                self.stages.write(step) if isinstance(step, Stage) else self._transposed(step)
            )
        rows = "    for (long b = begin; b < end; b++)"
        first, size = "b * row_length(1, S) + u_begin", "units * sizeof(real)"
        for s, i in enumerate(self.program.state_gradients):
            if i is None:
                yield f"{rows} std::memset(out_{s} + {first}, 0, {size});"
            elif self.nodes[i].op == "transposed" and self.values.owners[i] != s:
                # One product is the gradient of two states.
                owner = f"out_{self.values.owners[i]}"
                yield f"{rows} std::memcpy(out_{s} + {first}, {owner} + {first}, {size});"
        yield "  }"

    def _closing(self) -> Iterator[str]:
        """What is left when all time steps are done."""
        yield from self._folded_sums()
        yield from self._once(self.schedule.epilogue)
        yield from self.over_time.results()

    def _folded_sums(self) -> Iterator[str]:
        """The slices' sums become one, in the first."""
        for buffer in self.interface.backward:
            if buffer.name.startswith("sum_"):
                yield "  for (long slice = 1; slice * SLICE < B; slice++)"
                yield (
                    f"    for (long j = 0; j < S; j++) {buffer.name}[j] += {buffer.name}[slice * "
                    "S + j];"
                )

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
        operand, length = self.values.rows(node.args[0]), f"row_length({blocks}, S)"
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
        result = f"{self.values.rows(i)} + begin * row_length(1, S)"
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
