"""Threads that train packs beside each other, of which none waits for another.

A run rests at an evaluation point until it has been judged, and with it those that are judged
together; meanwhile the threads train others. See docs/decisions/shards.md.
"""

import math
from collections.abc import Sequence
from queue import SimpleQueue
from typing import NamedTuple

from harness.engine import beside
from harness.training.messages import Message
from harness.training.pack import Pack, Turn, shard_threads
from harness.training.plan import Plan
from harness.training.shard import Shard


class Said(NamedTuple):
    """What a pack says of some of its runs, which now rest."""

    pack: Pack
    messages: list[Message]


class _Group:
    """Shards that wait for one another, and where they are on their way to the next point.

    Attributes:
        shards: Those that still train.
        sent: Those whose turn has begun, until it is taken.
        unsent: Those whose turn is to begin.
    """

    def __init__(self, pack: Pack, shards: Sequence[Shard]):
        self.pack, self.shards = pack, list(shards)
        self.unsent: list[Shard] = []
        self.sent: dict[Shard, Turn | None] = {}

    def is_resting(self) -> bool:
        """Returns whether no turn has begun or is to begin."""
        return not self.unsent and not self.sent

    def go_on(self) -> None:
        """Lets those that are furthest behind go next; there may be none left to go."""
        self.leave_what_has_ended()
        self.unsent = self.pack.furthest_behind(self.shards) if self.shards else []

    def leave_what_has_ended(self) -> None:
        """Holds those alone that still train."""
        self.shards = [shard for shard in self.shards if shard in self.pack.shards]

    def turned(self) -> dict[Shard, Turn] | None:
        """Returns the turns of all that went, in their order; None while one is on its way."""
        turns = {shard: turn for shard, turn in self.sent.items() if turn is not None}
        if self.unsent or len(turns) < len(self.sent):
            return None
        self.sent = {}
        return turns


class Crew:
    """Threads, and the packs that they train.

    All methods are called by one thread, which judges what is said.
    """

    def __init__(self, threads: int):
        """Takes how many threads work at once; a run may have several of them."""
        self._threads, self._pool = threads, shard_threads(threads)
        self._groups: list[_Group] = []
        self._packs: list[Pack] = []
        self._busy: dict[Shard, int] = {}
        self._done: SimpleQueue[tuple[_Group, Shard, Turn | BaseException]] = SimpleQueue()

    def open(self, plan: Plan) -> None:
        """Takes in a pack.

        Raises:
            ValueError: It cannot be trained; or whatever else its making raises.
        """
        pack = Pack(plan, self._pool)
        self._packs.append(pack)
        self._groups += [_Group(pack, shards) for shards in pack.groups()]

    @property
    def packs(self) -> list[Pack]:
        """The packs that train."""
        self._leave_what_has_ended()
        return list(self._packs)

    def has_room(self) -> bool:
        """Returns whether one more pack would find a thread that has nothing to do.

        Beside a pack on an accelerator there is none: what it computes on has no room for two.
        """
        self._leave_what_has_ended()
        if any(pack.device.type != "cpu" for pack in self._packs):
            return False
        used = sum(min(len(pack.shards), pack.most_threads) for pack in self._packs)
        return used < self._threads

    def next(self) -> Said | None:
        """Returns what is said next; None where nothing is left to train.

        Those of whom it is said rest until the next call, before which they may be dropped.
        """
        while True:
            for group in [each for each in self._groups if each.is_resting()]:
                if messages := group.pack.remembered(group.shards):
                    return Said(group.pack, messages)
                group.go_on()
            self._leave_what_has_ended()
            self._send()
            if not self._busy:
                return None
            group, shard, turn = beside.taken(self._done)
            del self._busy[shard]
            if isinstance(turn, BaseException):
                raise turn
            group.sent[shard] = turn
            if turns := group.turned():
                return Said(group.pack, group.pack.take(group.shards, turns))

    def _leave_what_has_ended(self) -> None:
        """Holds nothing of what has ended: the next pack may need its memory."""
        for group in self._groups:
            group.leave_what_has_ended()
        self._groups = [group for group in self._groups if group.shards]
        for pack in self._packs:
            if not pack.shards:
                pack.close()
        self._packs = [pack for pack in self._packs if pack.shards]

    def _send(self) -> None:
        """Gives the threads that are free to those that wait for one.

        The pack that came first goes first, and of a pack the run that is furthest behind; so all
        of its runs end at about the same time. Where there are more threads than runs, some runs
        have several. One more waits in the threads' own queue: a thread that has ended a turn goes
        on with it, while what it has done is told and judged. Nothing waits there before what came
        earlier and has no thread yet.
        """
        waiting = [(group, shard) for group in self._groups for shard in group.unsent]
        waiting.sort(key=lambda pair: (self._packs.index(pair[0].pack), pair[1].update))
        free, nobody_waits = self._threads - sum(self._busy.values()), True
        for position, (group, shard) in enumerate(waiting):
            used = sum(self._busy.get(each, 0) for each in group.pack.shards)
            fair = math.ceil(free / (len(waiting) - position))
            threads = min(fair, group.pack.most_threads - used)
            if nobody_waits and len(self._busy) == self._threads == group.pack.most_threads:
                threads = 1  # each thread has a turn of its own: this one waits for the first end
            nobody_waits = nobody_waits and threads > 0
            if threads > 0:
                free -= threads
                self._busy[shard] = threads
                group.unsent.remove(shard)
                group.sent[shard] = None
                group.pack.submit(self._work, group, shard, threads)

    def _work(self, group: _Group, shard: Shard, threads: int) -> None:
        try:
            turn: Turn | BaseException = group.pack.turn(shard, threads)
        except BaseException as error:  # or the crew would wait for ever
            turn = error
        self._done.put((group, shard, turn))

    def close(self) -> None:
        """Ends the threads; a shard that is training stops after its present update.

        One whose update does not end soon is left.
        """
        for pack in self._packs:
            pack.close()
        self._pool.end()
