"""One direction's time loop in C++: its phases, of which ``kernels/recurrence.h`` has the parts."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from harness.engine.gpu.launches import Piece, Place, Product
from harness.engine.persistent import expressions
from harness.engine.persistent.meetings import Meetings
from harness.engine.persistent.places import Direction, gates, identifier, is_state, register
from harness.engine.tracing.program import Node


class TimeLoop:
    """One direction's time loop in C++."""

    def __init__(self, at: Direction):
        self.at = at
        self.meetings = Meetings(at)
        self._late: list[str] = []

    def text(self) -> Iterator[str]:
        """Yields the function of a block, and the kernel."""
        yield f"DEVICE void {self.at.name}_block(const Block& block, const Arguments& a) {{"
        yield from self._memory()
        yield from self._start()
        first, end, step = (
            ("int(a.steps) - 1", "t >= 0", "t--")
            if self.at.is_backward
            else ("0", "t < int(a.steps)", "t++")
        )
        if self.at.reads_x:
            yield "  long long token[PER];"
            yield from self._each([f"token[p] = token_at(block, a, e, {first});"], "  ")
        yield from self._fetch(*self._after(first), "  ")
        yield f"  for (int t = {first}; {end}; {step}) {{"
        yield from self._step()
        yield "  }"
        yield from self._end()
        yield "}"
        yield f"KERNEL({self.at.name}, {self.at.num_shared} * sizeof(real))"

    def _memory(self) -> Iterator[str]:
        position = 0
        for region in self.at.regions:
            for parity in range(region.parities):
                start = f"reinterpret_cast<{region.kind}*>(block.memory + {position})"
                yield f"  {region.kind}* const {region.name}_{parity} = {start};"
                position += region.padded
        for name in self.at.registers:
            yield f"  real {name}[PER];"
        if self.at.is_backward:
            for i in self.at.plan.sums:
                yield f"  real sum_{i}[PER] = {{}};"
        for product in self._matrices():
            shape = self.at.contraction(product)
            if shape.num_held:
                vectors = shape.num_held * shape.worker.words // 4
                yield f"  Word held_{product.matrix}[{vectors}][4];"

    def _matrices(self) -> Iterable[Product]:
        """Returns a product of each matrix."""
        return {product.matrix: product for product in self.at.products}.values()

    def _start(self) -> Iterator[str]:
        yield f"  zero(block, {self.at.num_shared} * sizeof(real));"
        yield "  block.sync();"
        for product in self._matrices():
            shape, matrix = self.at.contraction(product), f"a.matrix_{product.matrix}"
            take = "take_rows" if product.transposed else "take_columns"
            sizes = (
                self.at.num_gates(product), shape.width, shape.slice_terms, shape.held_terms
            )  # fmt: skip
            yield f"  {take}<{_listed(*sizes)}>(block, {matrix}, slice_{product.matrix}_0);"
            if shape.held:
                of = "Rows" if product.transposed else "Columns"
                sizes = (shape.outputs, shape.depth, shape.num_slices, shape.held)
                entry = f"{of}<{self.at.num_gates(product)}>"
                held = f"held_{product.matrix}"
                yield f"  hold<{entry}, {_listed(*sizes)}>(block, {matrix}, {held});"
        products = [p for p in self.at.products if not p.transposed]
        states = {self.at.operand(p): p.operand for p in products if is_state(p.operand)}
        for name, place in states.items():
            yield f"  take_first(block, a, a.{identifier(place.buffer)}, {name}_0);"
        lines = [f"{register(p)}[p] = a.{self._shared(p)};" for p in self.at.once]
        for before, _ in self.at.carried:
            lines.append(f"{register(before)}[p] = {self._first(before)};")
        yield from self._each(lines, "  ")
        # A block must not be written to before it has begun, nor before its memory is zero.
        yield f"  block.cluster_{'arrive' if self.meetings.is_open else 'sync'}();"

    def _first(self, before: Place) -> str:
        """Returns the value of what is carried, before the first time step of the loop."""
        if not self.at.is_backward:
            return f"a.{self._address(before, '0')}"
        for s, terms in enumerate(self.at.plan.carries):
            if terms[0] == replace(before, ahead=0):
                return f"a.last_gradient_{s}[place(row_at(block, a, e, 1, 0), H, e.unit)]"
        return "0"

    def _fetch(self, time: str, then: str, more: str, indent: str) -> Iterator[str]:
        """Yields loads of what no phase of this direction writes: they go on beside a product.

        Args:
            time: Of what is loaded.
            then: The time after it, of which tokens are loaded already.
            more: Whether there is such a time, in C++.
            indent: Of each line.
        """
        lines = [f"{register(p)}[p] = a.{self._address(p, time)};" for p in self.at.fetched]
        if self.at.reads_x:
            row = f"const unsigned row_x = row_of_x(block, a, e, {time}, token[p]);"
            ahead = f"if ({more}) token[p] = token_at(block, a, e, {then});"
            lines = [row, *lines, ahead]
        yield from self._each(lines, indent)

    def _after(self, time: str) -> tuple[str, str, str]:
        """Returns a time, the one after it, and whether there is such a one."""
        if self.at.is_backward:
            return time, f"{time} - 1", f"{time} > 0"
        return time, f"{time} + 1", f"{time} + 1 < int(a.steps)"

    def _step(self) -> Iterator[str]:
        _, then, more = self._after("t")
        last = max((k for k, s in enumerate(self.at.steps) if isinstance(s, Piece)), default=-1)
        group: list[Product] = []
        for k, step in enumerate(self.at.steps):
            if isinstance(step, Product):
                group.append(step)
                if k + 1 == len(self.at.steps) or isinstance(self.at.steps[k + 1], Piece):
                    yield from self._multiply(group)
                    group = []
                continue
            yield from self._piece(step)
            if step in self.meetings.early:
                yield from self._arrive()
            if k == last and self.at.fetched:
                yield f"    if ({more}) {{"
                yield from self._fetch(*self._after(then), "      ")
                yield "    }"
        yield from self._store_late()
        yield from self._each(
            [f"{register(before)}[p] = {register(after)}[p];" for before, after in self.at.carried],
            "    ",
        )

    def _arrive(self) -> Iterator[str]:
        """Yields that a block has sent what it had to; it waits for the others elsewhere.

        What goes into tensors follows, since an arrival waits for all that was stored before.
        """
        yield "    block.cluster_arrive();"
        yield from self._store_late()

    def _store_late(self) -> Iterator[str]:
        yield from self._each(self._late, "    ")
        self._late = []

    def _multiply(self, group: list[Product]) -> Iterator[str]:
        """Yields products of which none needs another's result."""
        transposed = group[0].transposed
        # The operand is there: in this block's memory, or sent by all blocks.
        if transposed:
            yield "    block.sync();"
        elif group[0] in self.meetings.arrived:
            yield "    block.cluster_wait();"
        else:
            yield "    block.cluster_sync();"
        for product in group:
            shape = self.at.contraction(product)
            sizes = (
                shape.outputs, shape.width, shape.depth, shape.left_width, shape.num_slices,
                shape.held,
            )  # fmt: skip
            held = f"held_{product.matrix}" if shape.held else "nullptr"
            yield (
                f"    product<{_listed(*sizes)}>(block, {self._operand_at(product)}, "
                f"slice_{product.matrix}_0, {held}, {self.at.part(product)});"
            )
        yield "    block.sync();"
        lines = []
        for product in group:
            shape, part = self.at.contraction(product), self.at.part(product)
            cut = _listed(shape.width, shape.num_slices)
            if transposed:
                yield f"    send_to_owners<{cut}>(block, {part}, {self.at.sent(product)});"
                value = f"collected<{cut}>(block, {part}, {self.at.sent(product)}, e)"
                lines.append(f"{register(product.result)}[p] = {value};")
                continue
            for k, gate in enumerate(gates(product)):
                value = f"whole<{cut}>({part}, e.own_row, {k} * U + e.own_unit)"
                lines.append(f"{register(gate)}[p] = {value};")
                if self.at.outlives(gate):
                    self._late.append(f"a.{self._address(gate, 't')} = {register(gate)}[p];")
        if transposed:
            yield from self._arrive()
            yield "    block.cluster_wait();"
        yield from self._each(lines, "    ")

    def _operand_at(self, product: Product) -> str:
        return self.at.operand_at(self.at.operand(product), _time(product.operand))

    def _piece(self, piece: Piece) -> Iterator[str]:
        loads = {load.index: load for load in piece.loads}
        known = {index: load.node for index, load in loads.items()} | dict(piece.nodes)
        all_passes = self.at.passes(piece)
        for i in sorted({i for one in all_passes for i in one.across}):
            yield f"    real across_{i}[PER];"
        for i in sorted(
            {i for place, i in piece.stores if place.buffer.per_step and i is not None}
        ):
            yield f"    real late_{i}[PER];"
        for one in all_passes:
            lines = [expressions.loaded(loads[i]) for i in one.read if i in loads]
            lines += [expressions.again(i, known[i]) for i in one.read if i not in loads]
            lines += [expressions.received(i, known[i]) for i in one.received]
            lines += [expressions.computed(i, known[i]) for i in one.computed]
            lines += [expressions.offered(i, known[i]) for i in one.offered]
            lines += [f"across_{i}[p] = {expressions.number(i, known[i])};" for i in one.across]
            if one is all_passes[-1]:
                lines += self._last(piece, known)
            yield from self._each(lines, "    ")
            if one.offered:
                yield "    block.sync();"
                yield from (f"    {expressions.sent(i, known[i])}" for i in one.offered)
                yield from self._arrive()
                yield "    block.cluster_wait();"

    def _last(self, piece: Piece, known: dict[int, Node]) -> list[str]:
        lines: list[str] = []
        for place, i in piece.stores:
            number = "real(0)" if i is None else expressions.number(i, known[i])
            lines += self._store(place, number, i)
        nodes = self.at.plan.schedule.program.nodes
        return lines + [f"sum_{k}[p] += v{nodes[k].args[0]};" for k in self.at.sums(piece)]

    def _store(self, place: Place, value: str, i: int | None) -> Iterator[str]:
        if place.buffer.per_step:
            # A value of a whole row is the same in all units.
            once = "if (e.unit == 0) " if place.buffer.width == 1 else ""
            late = value if i is None else f"late_{i}[p]"
            self._late.append(f"{once}a.{self._address(place, 't')} = {late};")
            if i is not None:
                yield f"{late} = {value};"
        if place in self.at.read or any(place == after for _, after in self.at.carried):
            yield f"{register(place)}[p] = {value};"
        if i is None:  # the memory is zero from the start
            return
        sent = {self.at.operand(p): p for p in self.at.products}
        for name, product in sent.items():
            wanted, size = product.operand, self.at.tiling.hidden_size
            if wanted.buffer != place.buffer:
                continue
            if not product.transposed:
                there = self.at.operand_at(name, _time(place))
                yield f"send_to_all(block, {there}, e, {value});"
            elif wanted.first <= place.first < wanted.first + wanted.width:
                at = f"e.own_row * {self.at.contraction(product).left_width} * PACKED"
                gate = (place.first - wanted.first) // size
                yield f"{name}_0[{at} + {gate} * U + e.own_unit] = operand({value});"

    def _end(self) -> Iterator[str]:
        lines = []
        if self.at.is_backward:
            for s, terms in enumerate(self.at.plan.carries):
                total = " + ".join(f"{register(replace(p, ahead=1))}[p]" for p in terms)
                lines.append(
                    f"a.first_gradient_{s}[place(row_at(block, a, e, 1, 0), H, e.unit)] = {total};"
                )
            for i in self.at.plan.sums:
                lines.append(
                    f"a.sum_{i}[place(row_at(block, a, e, 1, 0), H, e.unit)] = sum_{i}[p];"
                )
        yield from self._each(lines, "  ")
        if self.meetings.is_open:  # a block's memory must last while others write to it
            yield "  block.cluster_wait();"
        elif self.meetings.ends_with_a_send:
            yield "  block.cluster_sync();"

    def _shared(self, place: Place) -> str:
        return f"{identifier(place.buffer)}[place(block.run, {_column(place)})]"

    def _address(self, place: Place, time: str) -> str:
        buffer = place.buffer
        if buffer.name == "x":
            row = "row_x"
        else:
            length = f"a.steps + {buffer.extra}" if buffer.extra else "a.steps"
            row = f"row_at(block, a, e, {length}, {_time(place, time)})"
        return f"{identifier(buffer)}[place({row}, {_column(place)})]"

    def _each(self, lines: list[str], indent: str) -> Iterator[str]:
        """Yields what is done for each (unit, row) of a thread."""
        if not lines:
            return
        yield f"{indent}UNROLL for (int p = 0; p < PER; p++) {{"
        yield f"{indent}  const Element e = element(block, a, p);"
        yield f"{indent}  if (!e.inside) continue;"
        for line in lines:
            yield f"{indent}  {line}"
        yield f"{indent}}}"


def _listed(*sizes: int) -> str:
    return ", ".join(map(str, sizes))


def _time(place: Place, t: str = "t") -> str:
    return f"{t} + {place.ahead}" if place.ahead else t


def _column(place: Place) -> str:
    """Returns the width of a row, and where in it the number lies."""
    column = f"{place.first} + e.unit" if place.width > 1 else f"{place.first}"
    return f"{place.buffer.width}, {column}"
