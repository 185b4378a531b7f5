"""Where the blocks of a cluster meet within a time step: when each has sent, and when it must wait.

A block arrives as soon as it has sent, and waits where it reads what the others sent: what it does
between the two hides how long the others take.
"""

from harness.engine.gpu.launches import Piece, Product
from harness.engine.persistent.places import Direction


class Meetings:
    """The barriers of one direction's time step.

    Attributes:
        early: Pieces behind which a block arrives, since it sends nothing before it waits.
        arrived: The first products of those groups before which it has arrived already.
        is_open: Whether a step ends between an arrival and the wait that belongs to it.
        ends_with_a_send: Whether something is sent that no barrier of the same step follows.
    """

    def __init__(self, at: Direction):
        """Takes the phases of a time step; the first one follows the last one."""
        events = list(_events(at))
        after = [*events[1:], *events[:1]]
        pairs = [
            (mine, theirs)
            for (kind, mine), (next_kind, theirs) in zip(events, after, strict=True)
            if (kind, next_kind) == ("send", "wait")
        ]
        self.early = [piece for piece, _ in pairs]
        self.arrived = [product for _, product in pairs]
        self.ends_with_a_send = bool(events) and events[-1][0] == "send"
        self.is_open = self.ends_with_a_send and events[-1][1] in self.early


def _events(at: Direction) -> "list[tuple[str, Piece | Product]]":
    """Returns what concerns other blocks: something is sent, or waited for, or both at once."""
    found: list[tuple[str, Piece | Product]] = []
    sent = [product.operand.buffer for product in at.products if not product.transposed]
    firsts = [group[0] for group in at.groups]
    for step in at.steps:
        if isinstance(step, Product):
            if step in firsts:
                found.append(("exchange" if step.transposed else "wait", step))
            continue
        found += [("exchange", step) for one in at.passes(step) if one.offered]
        if any(i is not None and place.buffer in sent for place, i in step.stores):
            found.append(("send", step))
    return found
