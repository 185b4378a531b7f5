"""When a program's nodes are computed and where their values wait.

A stage is one pass over the rows of a batch; a product stands between two. Forward, a value is kept
over all time steps if the gradient reads it and it costs more than a load; cheap ones are computed
again from what is kept.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from harness.engine.tracing.program import OPERATIONS, REDUCTIONS, Node, Program

Stack = tuple[int | None, ...]
"""Values side by side, one a gate, None for zero.

They are the operand of a transposed or an outer product.
"""


@dataclass(frozen=True)
class Stage:
    """One pointwise piece.

    Attributes:
        computed: Its nodes, in order.
        loaded: What it reads that is not computed in it.
        crossing: Those of its nodes that a later stage of the same time step reads, and nothing
            keeps.
        new_states: (state, node) to store as the state after the step.
        kept: Nodes to store for the backward pass, or as a product's operand; a gate among them may
            be one it loads.
        blocks: (stack, block, node) to store in a stack; no node is zero.
        carries: (state, node) to store as the gradient of the state before the step.
        sums: ``batch_sum`` nodes to add to.
    """

    computed: tuple[int, ...]
    loaded: tuple[int, ...]
    crossing: tuple[int, ...] = ()
    new_states: tuple[tuple[int, int], ...] = ()
    kept: tuple[int, ...] = ()
    blocks: tuple[tuple[int, int, int | None], ...] = ()
    carries: tuple[tuple[int, int], ...] = ()
    sums: tuple[int, ...] = ()


@dataclass(frozen=True)
class Schedule:
    """A program in the order of its execution; products are given by their nodes.

    Attributes:
        prologue: Nodes that depend on vectors alone, computed once before the first time step.
        forward: Stages and product nodes of one time step.
        backward: Stages and transposed nodes of one time step.
        epilogue: Nodes made of the sums over all time steps, computed once at the end.
        kept: Nodes with a place for every time step, besides the states.
        stacks: Stacks with a place for every time step, none of them part of another.
        carried: (state, transposed node) whose result is a further term of the gradient of the
            state before the step: it is added where that gradient is read.
    """

    program: Program
    prologue: tuple[int, ...]
    forward: tuple[Stage | int, ...]
    backward: tuple[Stage | int, ...]
    epilogue: tuple[int, ...]
    kept: tuple[int, ...]
    stacks: tuple[Stack, ...]
    carried: tuple[tuple[int, int], ...] = ()

    def place(self, stack: Stack) -> tuple[int, int]:
        """Returns which of ``stacks`` holds these values side by side, and from which block on."""
        return _place(stack, self.stacks)


def schedule(program: Program, adds_late: bool = False) -> Schedule:
    """Returns the order of a program's execution.

    Args:
        program: One time step.
        adds_late: Whether a state's gradient may be left as terms, which the earlier time step adds
            when it reads them: that saves the stage that does nothing but add products.
    """
    forward = program.forward()
    sums = {i for i, n in enumerate(program.nodes) if n.op == "batch_sum"}
    after_sums = {i for i in range(len(program.nodes)) if program.ancestors([i]) & sums}
    prologue = {
        i for i, n in enumerate(program.nodes) if n.kind == "vector" and n.op != "input"
    } - after_sums
    kept = _kept(program, forward, prologue | after_sums)
    leaves = set(prologue) | {
        i for i, n in enumerate(program.nodes) if n.op in ("input", "constant")
    }
    steps = _Pass(program, leaves, "product", kept).forward()
    known = leaves | kept | set(program.new_state)
    stacks = _stacks(program)
    gradients, carried = _carried(program, adds_late)
    back = _Pass(program, known, "transposed", set()).backward(sums, stacks, gradients)
    return Schedule(
        program,
        tuple(sorted(prologue)),
        steps,
        back,
        tuple(sorted(after_sums - sums)),
        tuple(sorted(kept)),
        stacks,
        carried,
    )


def _carried(
    program: Program, adds_late: bool
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """Returns, as (state, node), what stages store of the states' gradients, and what products do.

    A product that is all of a gradient, as the program has it, stores its result itself: it is
    neither. The order of the terms is that of the sum, so that no bit changes.
    """
    nodes = program.nodes
    num_uses = Counter(a for node in nodes for a in node.args)
    num_uses.update(i for i in program.state_gradients if i is not None)
    stored: list[tuple[int, int]] = []
    carried: list[tuple[int, int]] = []
    for s, i in enumerate(program.state_gradients):
        products: list[int] = []
        while i is not None and adds_late and nodes[i].op == "add" and num_uses[i] == 1:
            ours = [a for a in nodes[i].args if nodes[a].op == "transposed" and num_uses[a] == 1]
            if len(ours) != 1:  # of two products, a stage adds them
                break
            (rest,) = set(nodes[i].args) - set(ours)
            products.insert(0, ours[0])
            i = rest
        if i is not None and nodes[i].op != "transposed":
            stored.append((s, i))
        elif products:  # the rest is a product too, whose place is that of the whole gradient
            i = program.state_gradients[s]
            assert i is not None
            stored, products = [*stored, (s, i)], []
        carried += [(s, product) for product in products]
    return tuple(stored), tuple(carried)


def _place(stack: Stack, stacks: tuple[Stack, ...]) -> tuple[int, int]:
    for index, whole in enumerate(stacks):
        for first in range(len(whole) - len(stack) + 1):
            if whole[first : first + len(stack)] == stack:
                return index, first
    raise AssertionError("every stack has a place")


def _stacks(program: Program) -> tuple[Stack, ...]:
    """Returns the stacks that products need, longest first.

    Those that are a run of another are left out.
    """
    wanted: list[Stack] = [program.input_gradients]
    wanted += [t.cotangent for terms in program.matrix_gradients.values() for t in terms]
    wanted += [n.args for n in program.nodes if n.op == "transposed"]
    stacks: tuple[Stack, ...] = ()
    for stack in sorted(dict.fromkeys(wanted), key=len, reverse=True):
        if not any(stack == w[i : i + len(stack)] for w in stacks for i in range(len(w))):
            stacks += (stack,)
    return stacks


def _costly(node: Node) -> bool:
    return (
        node.op in REDUCTIONS
        or node.op in ("gate", "product")
        or (node.op in OPERATIONS and OPERATIONS[node.op].costly)
    )


def _kept(program: Program, forward: set[int], once: set[int]) -> set[int]:
    """Returns the forward nodes to store for every time step."""
    nodes, states = program.nodes, set(program.new_state)
    free = {i for i in forward if nodes[i].op in ("input", "constant") or i in states or i in once}
    operands = {nodes[i].args[0] for i in program.products(forward)}
    kept = (operands - free) | {i for i in operands if nodes[i].name.startswith(("x.", "noise."))}
    needed = {
        a for i, n in enumerate(nodes) if i not in forward for a in n.args if a in forward
    } - free
    kept |= {i for i in needed if _costly(nodes[i])}
    # What is compared with its row's largest unit must be that very number: computed again, it may
    # be rounded elsewhere.
    for i, node in enumerate(nodes):
        if node.op == "eq" and i not in forward and any(nodes[a].kind == "row" for a in node.args):
            kept |= needed & set(node.args)

    def recomputable(i: int) -> bool:
        return (
            i in free
            or i in kept
            or (not _costly(nodes[i]) and all(recomputable(a) for a in nodes[i].args))
        )

    for i in sorted(needed):
        if not recomputable(i):
            kept.add(i)
    return kept


class _Pass:
    """Cuts one direction of a time step into stages."""

    def __init__(self, program: Program, leaves: set[int], product: str, kept: set[int]):
        self.program, self.leaves, self.product, self.kept = program, leaves, product, kept
        self.nodes = program.nodes
        self._levels: dict[int, int] = {}
        self.home: dict[int, int] = {}  # node -> the stage that computes it

    def level(self, i: int) -> int:
        """Returns how many products, one after another, must be done before the node."""
        if i not in self._levels:
            node = self.nodes[i]
            below = 0 if i in self.leaves else max((self.level(a) for a in node.args), default=0)
            self._levels[i] = below + (node.op == self.product and i not in self.leaves)
        return self._levels[i]

    def closure(self, stage: int, roots: Iterable[int]) -> tuple[set[int], set[int]]:
        """Returns what a stage computes for its roots, and what it loads."""
        computed: set[int] = set()
        loaded: set[int] = set()
        waiting = list(roots)
        while waiting:
            i = waiting.pop()
            if i in computed or i in loaded:
                continue
            if (
                i in self.leaves
                or self.nodes[i].op in ("gate", "transposed")
                or self.home.get(i, stage) < stage
            ):
                loaded.add(i)
            else:
                computed.add(i)
                waiting.extend(self.nodes[i].args)
        self.home |= dict.fromkeys(computed, stage)
        return computed, loaded

    def forward(self) -> tuple[Stage | int, ...]:
        """Returns the forward stages and products of a time step."""
        program = self.program
        products = program.products(program.forward())
        last = max((self.level(i) for i in products), default=0)
        plans = []
        for stage in range(last + 1):
            operands = {
                self.nodes[i].args[0]
                for i in products
                if self.level(self.nodes[i].args[0]) == stage
            }
            roots = operands | (set(program.new_state) if stage == last else set())
            ready = [i for i in products if self.nodes[i].args[0] in operands]
            plans.append((*self.closure(stage, roots), ready))
        steps: list[Stage | int] = []
        later = self._read_later([loaded for _, loaded, _ in plans])
        waiting = set(self.kept)
        for (computed, loaded, ready), after in zip(plans, later, strict=True):
            states = [(s, i) for s, i in enumerate(program.new_state) if i in computed]
            if computed is plans[-1][0]:
                # A state that is an input, a constant or the like is written at the end.
                states += [
                    (s, i)
                    for s, i in enumerate(program.new_state)
                    if i in loaded and i not in self.home
                ]
            crossing = (computed & after) - self.kept - set(program.new_state)
            if computed or states or waiting & loaded:
                steps.append(
                    Stage(
                        tuple(sorted(computed)),
                        tuple(sorted(loaded)),
                        tuple(sorted(crossing)),
                        tuple(states),
                        tuple(sorted(waiting & (computed | loaded))),
                    )
                )
                waiting -= computed | loaded
            steps += ready
        return tuple(steps)

    def backward(
        self,
        sums: set[int],
        stacks: tuple[Stack, ...],
        carries: tuple[tuple[int, int], ...],
    ) -> tuple[Stage | int, ...]:
        """Returns the backward stages and transposed products of a time step.

        Everything is done as early as it can be. ``carries`` is what stages store of the gradients
        of the states.
        """
        products = [i for i, n in enumerate(self.nodes) if n.op == "transposed"]
        blocks = [(s, b, i) for s, stack in enumerate(stacks) for b, i in enumerate(stack)]
        summed = {i: self.nodes[i].args[0] for i in sorted(sums)}

        def at(stage: int, i: int | None) -> bool:
            return (0 if i is None else self.level(i)) == stage

        roots = (
            {i for _, _, i in blocks if i is not None}
            | {i for _, i in carries}
            | set(summed.values())
        )
        plans = []
        for stage in range(max((self.level(i) for i in roots), default=0) + 1):
            ready = [i for i in products if max(self.level(a) for a in self.nodes[i].args) == stage]
            plans.append((*self.closure(stage, [i for i in roots if at(stage, i)]), ready))
        steps: list[Stage | int] = []
        later = self._read_later([loaded for _, loaded, _ in plans])
        for stage, ((computed, loaded, ready), after) in enumerate(zip(plans, later, strict=True)):
            piece = Stage(
                tuple(sorted(computed)),
                tuple(sorted(loaded)),
                tuple(sorted(computed & after)),
                blocks=tuple(b for b in blocks if at(stage, b[2])),
                carries=tuple(c for c in carries if at(stage, c[1])),
                sums=tuple(i for i, source in summed.items() if at(stage, source)),
            )
            if computed or piece.blocks or piece.carries or piece.sums:
                steps.append(piece)
            steps += ready
        return tuple(steps)

    @staticmethod
    def _read_later(loaded: list[set[int]]) -> list[set[int]]:
        """Returns, for every stage, what the stages after it load."""
        return [set().union(*loaded[i + 1 :]) for i in range(len(loaded))]
