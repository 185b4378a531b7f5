"""A pointwise piece in passes: between two of them the blocks of a cluster exchange sums of a row.

A value of a whole row, and a sum up to each unit, need units of all blocks. So the pass before
offers the terms, and the pass after has the result.
"""

from dataclasses import dataclass

from harness.engine.gpu.launches import Layout, Piece, Product
from harness.engine.tracing.program import REDUCTIONS, Node

EXCHANGED = (*REDUCTIONS, "cumsum")
"""Operations whose result needs other blocks."""


@dataclass(frozen=True)
class Pass:
    """What every (unit, row) does between two exchanges.

    Attributes:
        received: Exchanged nodes whose result is there from now on.
        computed: Nodes, in order.
        offered: Exchanged nodes whose terms are there now.
        read: What it reads of the piece's loads and constants, and of earlier passes.
        across: What it has that a later pass reads.
    """

    received: tuple[int, ...]
    computed: tuple[int, ...]
    offered: tuple[int, ...]
    read: tuple[int, ...]
    across: tuple[int, ...]


def is_exchanged(node: Node, arguments: dict[int, Node]) -> bool:
    """Returns whether a node needs other units; where H is 1 a row has no other."""
    return node.op in EXCHANGED and arguments[node.args[0]].kind in ("full", "vector")


def exchanges(plan: Layout) -> bool:
    """Returns whether a unit needs another one's values in a time step, as in a product."""
    steps = (*plan.forward, *plan.backward)
    return any(isinstance(step, Product) or len(passes(step, set())) > 1 for step in steps)


def passes(piece: Piece, wanted: set[int]) -> list[Pass]:
    """Returns a piece's passes.

    Args:
        piece: The piece.
        wanted: What is stored or added up in the last pass.
    """
    nodes = dict(piece.nodes)
    known = {load.index: load.node for load in piece.loads} | nodes
    since: dict[int, int] = {}
    for i, node in piece.nodes:
        before = max((since.get(a, 0) for a in node.args), default=0)
        since[i] = before + is_exchanged(node, known)
    count = max(since.values(), default=0) + 1
    found: list[tuple[list[int], list[int], list[int], set[int]]] = []
    for number in range(count):
        here = [i for i in nodes if since[i] == number]
        received = [i for i in here if is_exchanged(nodes[i], known)]
        computed = [i for i in here if i not in received and nodes[i].op != "constant"]
        next_ones = [i for i in nodes if since[i] == number + 1]
        offered = [i for i in next_ones if is_exchanged(nodes[i], known)]
        uses = {a for i in computed for a in nodes[i].args} | {nodes[i].args[0] for i in offered}
        uses |= wanted if number == count - 1 else set()
        found.append((received, computed, offered, uses - {*received, *computed}))
    made = []
    for k, (received, computed, offered, read) in enumerate(found):
        later = {i for *_, other in found[k + 1 :] for i in other}
        across = sorted({*received, *computed} & later)
        parts = (received, computed, offered, sorted(read), across)
        made.append(Pass(*(tuple(part) for part in parts)))
    return made
