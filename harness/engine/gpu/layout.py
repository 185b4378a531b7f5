"""Where a schedule's values lie on a device, and so what every launch reads and writes."""

import functools
from collections.abc import Iterable
from dataclasses import replace

from harness.engine.base import Layer
from harness.engine.gpu.launches import Buffer, Layout, Load, Piece, Place, Product, Step
from harness.engine.tracing.program import Node
from harness.engine.tracing.schedule import Schedule, Stack, Stage, schedule
from harness.engine.tracing.trace import trace, vector_names


def alone(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Returns the steps of a direction; a piece that has no other beside it knows it."""
    match steps:
        case (Piece() as piece,):
            return (replace(piece, is_alone=True),)
    return steps


def layout(layer: Layer) -> Layout:
    """Returns the layout of a layer's program.

    Raises:
        Untraceable: The step cannot be traced.
    """
    # Neither the rounding of operands nor the threads change what is computed.
    precision = "float64" if layer.precision == "float64" else "float32"
    return _layout(replace(layer, precision=precision, threads=1))


@functools.lru_cache(maxsize=256)
def _layout(layer: Layer) -> Layout:
    return _Builder(layer, schedule(trace(layer), adds_late=True)).layout()


class _Builder:
    """Finds the places of one schedule."""

    def __init__(self, layer: Layer, plan: Schedule):
        self.layer, self.plan = layer, plan
        self.program, self.nodes = plan.program, plan.program.nodes
        self.size = layer.hidden_size
        self.given = vector_names(layer)
        self.products = {
            name: len(gates) for name, gates in layer.cell.recurrent_products().items()
        }
        kept = set(plan.kept) | set(self.program.new_state)
        self.carried = {i for _, i in plan.carried}
        self.kept_products = {self.nodes[i].args[0] for i in kept if self.nodes[i].op == "gate"}

    def layout(self) -> Layout:
        forward = alone(self.steps("forward", self.plan.forward))
        backward = alone(self.with_copies(self.steps("backward", self.plan.backward)))
        outers = {
            name: tuple((self.single(term.operand), self.stacked(term.cotangent)) for term in terms)
            for name, terms in self.program.matrix_gradients.items()
        }
        sums = {i: self.summed(i) for i, n in enumerate(self.nodes) if n.op == "batch_sum"}
        vectors = {
            i: self.single(i)
            for i, n in enumerate(self.nodes)
            if n.op == "input" and n.kind == "vector"
        }
        vectors |= {i: self.single(i) for i in self.plan.prologue}
        gradient = self.stacked(self.program.input_gradients)
        carries = tuple(
            (self.carry(s), *(self.carried_term(i) for t, i in self.plan.carried if t == s))
            for s in range(len(self.program.state_gradients))
        )
        return Layout(
            self.plan, self.size, vectors, forward, backward, carries, sums, outers, gradient
        )

    def steps(self, name: str, steps: tuple[Stage | int, ...]) -> tuple[Step, ...]:
        """Returns the launches; a stage that only keeps what lies in its place already is none."""
        launches = [self.step(f"{name}_{k}", step) for k, step in enumerate(steps)]
        return tuple(step for step in launches if isinstance(step, Product) or step.stores)

    def step(self, name: str, step: Stage | int) -> Step:
        if isinstance(step, Stage):
            return self.piece(name, step)
        node = self.nodes[step]
        if node.op == "product":
            return Product(self.single(node.args[0]), node.name, False, self.whole(step))
        return Product(self.stacked(node.args), node.name, True, self.single(step))

    def piece(self, name: str, stage: Stage) -> Piece:
        stores: list[tuple[Place, int | None]] = [
            (self.state(s, ahead=1), i) for s, i in stage.new_states
        ]
        stores += [
            (self.single(i), i) for i in (*stage.kept, *stage.crossing) if i in stage.computed
        ]
        stores += [(self.block(s, b), i) for s, b, i in stage.blocks]
        stores += [(self.carry(s), i) for s, i in stage.carries]
        sums = {i: self.summed(i) for i in stage.sums}
        stores += [
            (place, self.nodes[i].args[0])
            for i, place in sums.items()
            if place.buffer.name == f"sum.{i}"
        ]
        return self.piece_of(name, stage.loaded, stage.computed, stores)

    def with_copies(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """Returns the steps with what writes the states' gradients that no step of these does.

        Such a gradient is zero, or a product that is also another state's: the first can be written
        at any time, the second takes a piece of its own.
        """
        zeros: list[tuple[Place, int | None]] = []
        missing: list[tuple[Place, int | None]] = []
        for s, i in enumerate(self.program.state_gradients):
            if i is None:
                zeros.append((self.carry(s), i))
            elif self.nodes[i].op == "transposed" and self.single(i) != self.carry(s):
                missing.append((self.carry(s), i))
        pieces = [k for k, step in enumerate(steps) if isinstance(step, Piece)]
        if zeros and pieces and not missing:
            home = steps[pieces[-1]]
            assert isinstance(home, Piece)
            home = replace(home, stores=(*home.stores, *zeros))
            return *steps[: pieces[-1]], home, *steps[pieces[-1] + 1 :]
        if not zeros + missing:
            return steps
        loaded = {i for _, i in missing if i is not None}
        return *steps, self.piece_of("backward_copies", loaded, (), zeros + missing)

    def piece_of(
        self,
        name: str,
        loaded: Iterable[int],
        computed: Iterable[int],
        stores: list[tuple[Place, int | None]],
    ) -> Piece:
        scalars = {i for i in loaded if self.nodes[i].op == "constant"}
        nodes = tuple((i, self.nodes[i]) for i in sorted(scalars | set(computed)))
        loads = tuple(Load(i, self.nodes[i], self.places(i)) for i in sorted(set(loaded) - scalars))
        return Piece(name, self.size, loads, nodes, tuple(stores))

    def single(self, i: int) -> Place:
        """Returns the one place of a node."""
        (place,) = self.places(i)
        return place

    def places(self, i: int) -> tuple[Place, ...]:
        """Returns where a node lies, once it is computed or given."""
        node = self.nodes[i]
        if node.op == "input":
            return self.input(*node.name.split(".", 1))
        if i in self.plan.prologue:
            return (self.vector(len(self.given) + self.plan.prologue.index(i)),)
        if node.op == "gate":
            whole, first = self.whole(node.args[0]), int(node.value) * self.size
            return (replace(whole, first=first, width=self.size),)
        width = self.width(node)
        if i in self.program.new_state:
            # A value that is equal in all units is read from the first one.
            return (replace(self.state(self.program.new_state.index(i), ahead=1), width=width),)
        if i in self.plan.kept:
            return (Place(Buffer(f"kept.{i}", width, per_step=True), 0, width),)
        if node.op == "transposed" and i in self.program.state_gradients:
            return (self.carry(self.program.state_gradients.index(i)),)
        if node.op == "transposed" and i in self.carried:
            return (self.carried_term(i),)
        return (Place(Buffer(f"{node.op}.{i}", width, extra=1), 0, width),)

    def width(self, node: Node) -> int:
        return 1 if node.kind == "row" else self.size

    def input(self, group: str, name: str) -> tuple[Place, ...]:
        cell = self.layer.cell
        if group in ("x", "noise"):
            names = cell.input_products() if group == "x" else cell.noise
            whole = Buffer(group, len(names) * self.size, per_step=True)
            return (Place(whole, names.index(name) * self.size, self.size),)
        if group == "vector":
            return (self.vector(self.given.index(name)),)
        s = cell.state.index(name)
        if group == "state":
            return (self.state(s, ahead=0),)
        later = [self.carry(s, ahead=1)]
        later += [self.carried_term(i, ahead=1) for t, i in self.plan.carried if t == s]
        if s > 0:
            return tuple(later)
        return *later, Place(Buffer("gradient", self.size, per_step=True), 0, self.size)

    def state(self, s: int, ahead: int) -> Place:
        return Place(Buffer(f"state.{s}", self.size, per_step=True, extra=1), 0, self.size, ahead)

    def carry(self, s: int, ahead: int = 0) -> Place:
        """Returns where the gradient of the state before step t lies.

        With ``ahead`` = 1 it is that of the state after step t.
        """
        return Place(Buffer(f"carry.{s}", self.size, extra=2), 0, self.size, ahead)

    def carried_term(self, i: int, ahead: int = 0) -> Place:
        """Returns where a product lies that is a term of a state's gradient."""
        return Place(Buffer(f"carried.{i}", self.size, extra=2), 0, self.size, ahead)

    def vector(self, k: int) -> Place:
        count = len(self.given) + len(self.plan.prologue)
        whole = Buffer("vectors", count * self.size, extra=1, shared=True)
        return Place(whole, k * self.size, self.size)

    def whole(self, product: int) -> Place:
        """Returns where all gates of a product lie.

        They are there for all time steps where the gradient reads one of them.
        """
        width = self.products[self.nodes[product].name] * self.size
        kept = product in self.kept_products
        buffer = Buffer(f"product.{product}", width, per_step=kept, extra=0 if kept else 1)
        return Place(buffer, 0, width)

    def block(self, stack: int, block: int) -> Place:
        whole = Buffer(f"stack.{stack}", len(self.plan.stacks[stack]) * self.size, per_step=True)
        return Place(whole, block * self.size, self.size)

    def stacked(self, stack: Stack) -> Place:
        return replace(self.block(*self.plan.place(stack)), width=len(stack) * self.size)

    def summed(self, i: int) -> Place:
        """Returns where the rows of a sum over the batch lie: often a product needs them too."""
        source = self.nodes[i].args[0]
        for s, stack in enumerate(self.plan.stacks):
            if source in stack:
                return self.block(s, stack.index(source))
        return Place(Buffer(f"sum.{i}", self.size, per_step=True), 0, self.size)
