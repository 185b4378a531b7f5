"""Where the values of a time loop lie: registers, a block's shared memory, or tensors.

A (unit, row) belongs to one thread for all time steps, so that what only pointwise pieces write and
read stays in that thread's registers; products read what all blocks of a cluster have sent.
"""

import functools
from dataclasses import dataclass, replace

from harness.engine.gpu.launches import Buffer, Layout, Piece, Place, Product, Step
from harness.engine.persistent.passes import Pass, passes
from harness.engine.persistent.tiling import (
    MOST_OTHERS,
    ROWS,
    Contraction,
    Tiling,
    rounded_up,
)

ALIGNMENT = 4
"""Words: what is loaded at once begins at a multiple of it."""


@dataclass(frozen=True)
class Region:
    """Part of a block's shared memory.

    Attributes:
        name: In C++.
        words: Its length; a word is as long as a real number.
        parities: 2 where what is sent at one time step may still be read at the next.
        kind: Of its numbers in C++: those that products multiply are factors.
    """

    name: str
    words: int
    parities: int = 1
    kind: str = "real"

    @property
    def padded(self) -> int:
        """The words up to the next one."""
        return rounded_up(self.words, ALIGNMENT)


def register(place: Place) -> str:
    """Returns the name of the registers that hold a place's values."""
    return f"{identifier(place.buffer)}_{place.first // max(1, place.width)}_{place.ahead}"


def identifier(buffer: Buffer) -> str:
    """Returns a buffer's name in C++."""
    return buffer.name.replace(".", "_")


def is_state(place: Place) -> bool:
    """Returns whether a place is of a state, which has a value before the first time step too."""
    return place.buffer.per_step and place.buffer.extra == 1


def gates(product: Product) -> list[Place]:
    """Returns the places of a forward product's gates, H values each."""
    size, whole = product.operand.width, product.result
    return [replace(whole, first=k * size, width=size) for k in range(whole.width // size)]


def _loads(steps: tuple[Step, ...]) -> list[Place]:
    pieces = [step for step in steps if isinstance(step, Piece)]
    return [place for piece in pieces for load in piece.loads for place in load.places]


class Direction:
    """One direction's time loop: what lies where.

    Attributes:
        plan: Whose.
        precision: What the operands of products are rounded to.
        is_backward: Which direction.
        tiling: How the layer is cut.
        name: Of the kernel.
        steps: The phases of a time step.
        pieces: Those that are pointwise.
        products: The others.
        once: What is loaded before the first time step.
        fetched: What is loaded at every time step, since none of these phases writes it.
        read: What the phases write and read.
    """

    def __init__(self, plan: Layout, precision: str, is_backward: bool, tiling: Tiling):
        """Takes one direction of a layout."""
        self.plan, self.precision = plan, precision
        self.is_backward, self.tiling = is_backward, tiling
        self.name = "backward" if is_backward else "forward"
        self.steps = plan.backward if is_backward else plan.forward
        self.pieces = [step for step in self.steps if isinstance(step, Piece)]
        self.products = [step for step in self.steps if isinstance(step, Product)]
        loads = _loads(self.steps)
        stored = [place for piece in self.pieces for place, _ in piece.stores]
        written = {place.buffer.name for place in stored}
        written |= {product.result.buffer.name for product in self.products}
        self.once = list(dict.fromkeys(p for p in loads if p.buffer.shared))
        self.fetched = list(
            dict.fromkeys(p for p in loads if not p.buffer.shared and p.buffer.name not in written)
        )
        self.read = {p for p in loads if p.buffer.name in written}
        other = plan.forward if is_backward else plan.backward
        self._read_by_other = set(_loads(other))

    @property
    def reads_x(self) -> bool:
        """Whether a time step needs its row of x."""
        return any(place.buffer.name == "x" for place in self.fetched)

    @functools.cached_property
    def carried(self) -> list[tuple[Place, Place]]:
        """(before, after) a time step, of what one step leaves in registers for the next."""
        if self.is_backward:
            places = [replace(p, ahead=0) for terms in self.plan.carries for p in terms]
            return [(replace(p, ahead=1), p) for p in places]
        before = [p for p in self.read if p.ahead == 0 and is_state(p)]
        return [(p, replace(p, ahead=1)) for p in sorted(before, key=register)]

    @functools.cached_property
    def registers(self) -> list[str]:
        """The registers of every (unit, row) of a thread."""
        places = [*self.once, *self.fetched, *self.read]
        places += [place for pair in self.carried for place in pair]
        places += [place for product in self.products for place in self.results(product)]
        return sorted({register(place) for place in places})

    def results(self, product: Product) -> list[Place]:
        """Returns where a product's result lies, gate by gate."""
        return [product.result] if product.transposed else gates(product)

    def contraction(self, product: Product) -> Contraction:
        """Returns the shape of a block's part of a product."""
        return self._contractions[product.matrix]

    @functools.cached_property
    def _contractions(self) -> dict[str, Contraction]:
        """By matrix; the first ones have what registers are left."""
        most = min(self.tiling.num_held, self.tiling.worker(self.precision).most_held)
        left = most if self._spares_registers else 0
        found: dict[str, Contraction] = {}
        for product in self.products:
            if product.matrix in found:
                continue
            own = self.num_gates(product) * self.tiling.num_units
            size = self.tiling.hidden_size
            sizes = (own, size) if product.transposed else (size, own)
            shape = self.tiling.contraction(*sizes, self.precision).holding(left)
            found[product.matrix] = shape
            left -= shape.worker.words * shape.num_held
        return found

    @property
    def _spares_registers(self) -> bool:
        """Whether a thread's registers can hold words of matrices besides.

        Ordinary instructions need twice as many for a product, and totals of rows keep many. Sums
        over the batch are backward's alone.
        """
        count = len(self.registers) + (len(self.plan.sums) if self.is_backward else 0)
        is_one_pass = all(len(self.passes(piece)) == 1 for piece in self.pieces)
        is_light = count * self.tiling.num_elements <= MOST_OTHERS and is_one_pass
        return self.precision != "float64" and is_light

    @functools.cached_property
    def groups(self) -> list[list[Product]]:
        """The products between two pointwise pieces, which need nothing of one another."""
        found: list[list[Product]] = []
        previous: Step | None = None
        for step in self.steps:
            if isinstance(step, Product):
                if isinstance(previous, Product):
                    found[-1].append(step)
                else:
                    found.append([step])
            previous = step
        return found

    def part(self, product: Product) -> str:
        """Returns where the parts of a product's sums lie: where an earlier group's lay."""
        before = self._before(product)
        return f"(parts_0 + {sum(self.contraction(p).part_numbers for p in before)})"

    def sent(self, product: Product) -> str:
        """Returns where the owners of the units get them.

        Of two places a group takes the one that the group before did not take: another block may
        still read that.
        """
        number = next(g for g, group in enumerate(self.groups) if product in group)
        parity = f"(t + {number}) % 2" if len(self.groups) % 2 else str(number % 2)
        return f"(({parity} ? sent_1 : sent_0) + {len(self._before(product)) * self._num_sent})"

    def _before(self, product: Product) -> list[Product]:
        """Returns the products of its group that stand before it."""
        (group,) = [group for group in self.groups if product in group]
        return group[: group.index(product)]

    @property
    def _num_sent(self) -> int:
        """The numbers that a block's units get of a product, from the other blocks."""
        return (self.tiling.num_blocks - 1) * ROWS * self.tiling.num_units

    def operand_at(self, name: str, time: str) -> str:
        """Returns where an operand lies at a time, in C++."""
        return f"(({time}) % 2 ? {name}_1 : {name}_0)" if self._parities[name] == 2 else f"{name}_0"

    @functools.cached_property
    def _parities(self) -> dict[str, int]:
        """By operand: 1 where it is not sent again before all blocks have read it.

        That is where another product's barrier lies between.
        """
        found: dict[str, int] = {}
        for product in self.products:
            name = self.operand(product)
            found[name] = max(found.get(name, 1), 2 if self._is_overtaken(product) else 1)
        return found

    def _is_overtaken(self, product: Product) -> bool:
        if product.transposed:  # only its own block writes it
            return False
        if is_state(product.operand):
            return True
        name = product.operand.buffer.name
        writing = next(
            k
            for k, step in enumerate(self.steps)
            if isinstance(step, Piece) and name in {place.buffer.name for place, _ in step.stores}
        )
        is_first = not any(isinstance(step, Product) for step in self.steps[:writing])
        return is_first and product in self.groups[-1]

    def num_gates(self, product: Product) -> int:
        """Returns how many gates a product's matrix has."""
        wide = product.operand if product.transposed else product.result
        return wide.width // self.tiling.hidden_size

    @functools.cached_property
    def regions(self) -> list[Region]:
        """The block's shared memory."""
        found: dict[str, Region] = {}
        for product in self.products:
            shape, name = self.contraction(product), self.operand(product)
            slice_ = Region(f"slice_{product.matrix}", shape.matrix_words, kind="Factor")
            operand = Region(name, ROWS * shape.left_width, self._parities[name], "Factor")
            found |= {region.name: region for region in (slice_, operand)}
        if self.products:
            parts = [sum(self.contraction(p).part_numbers for p in group) for group in self.groups]
            found["parts"] = Region("parts", max(parts))
        if any(product.transposed for product in self.products):
            most = max(len(group) for group in self.groups)
            found["sent"] = Region("sent", most * self._num_sent, 2)
        for piece in self.pieces:
            for one in self.passes(piece):
                for i in one.offered:
                    terms = Region(f"terms_{i}", ROWS * self.tiling.terms_width)
                    totals = Region(f"totals_{i}", self.tiling.num_blocks * ROWS, 2)
                    found |= {terms.name: terms, totals.name: totals}
        return list(found.values())

    @functools.cached_property
    def num_shared(self) -> int:
        """The words of the block's shared memory."""
        return sum(region.padded * region.parities for region in self.regions)

    def operand(self, product: Product) -> str:
        """Returns the region that holds a product's operand."""
        place = product.operand
        first = place.first // self.tiling.hidden_size
        return f"operand_{identifier(place.buffer)}_{first}"

    @functools.cached_property
    def pointers(self) -> list[str]:
        """The tensors that the loop reads and writes, beside the tokens."""
        names = [identifier(p.buffer) for p in (*self.once, *self.fetched)]
        names += [identifier(place.buffer) for place, _ in self.stores()]
        for product in self.products:
            names.append(f"matrix_{product.matrix}")
            if any(self.outlives(place) for place in self.results(product)):
                names.append(identifier(product.result.buffer))
        if self.is_backward:
            ends = range(len(self.plan.carries))
            names += [f"{end}_gradient_{s}" for end in ("last", "first") for s in ends]
            names += [f"sum_{i}" for i in self.plan.sums]
        return sorted(set(names))

    def stores(self) -> list[tuple[Place, int | None]]:
        """Returns what pieces store in tensors."""
        return [
            (place, i)
            for piece in self.pieces
            for place, i in piece.stores
            if place.buffer.per_step
        ]

    def outlives(self, place: Place) -> bool:
        """Returns whether the other direction reads it."""
        return place.buffer.per_step and place in self._read_by_other

    def passes(self, piece: Piece) -> list[Pass]:
        """Returns a piece's passes, of which the last one stores and adds up."""
        nodes = self.plan.schedule.program.nodes
        wanted = {i for _, i in piece.stores if i is not None}
        return passes(piece, wanted | {nodes[i].args[0] for i in self.sums(piece)})

    def sums(self, piece: Piece) -> list[int]:
        """Returns the sums over the batch whose terms this piece is the first to have."""
        if not self.is_backward:
            return []
        nodes = self.plan.schedule.program.nodes

        def home(source: int) -> Piece:
            computing = [p for p in self.pieces if source in dict(p.nodes)]
            loading = [p for p in self.pieces if source in {load.index for load in p.loads}]
            return [*computing, *loading][0]

        return [i for i in self.plan.sums if home(nodes[i].args[0]) is piece]
