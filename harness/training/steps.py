"""Packs step by step: what an evaluation point says comes out, what is pruned there goes in."""

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from harness.timing import out_of_memory
from harness.training.crew import Crew, Said
from harness.training.execution import threads_of
from harness.training.messages import Message, RunEnded, failure
from harness.training.pack import Pack
from harness.training.plan import Plan
from harness.training.together import Together

Steps = Generator[list[Message], set[str] | None, None]
"""Yields the messages of an evaluation point, and is sent the ids of the runs to prune there."""


class _Queue:
    """Packs that wait for a thread.

    What did not fit in memory comes again in packs half the size, first of all and one after the
    other: beside each other they would take what the whole took. A single run comes once more at
    the end, where it has the memory for itself.

    Attributes:
        too_large: The ids of the runs that did not fit, until their pack has ended.
    """

    def __init__(self, plans: Sequence[Plan]):
        self._waiting, self._last = deque(plans), deque[Plan]()
        self._is_last = len(plans) == len(plans[0].runs) == 1
        self._whole = {run.id: number for number, plan in enumerate(plans) for run in plan.runs}
        self.too_large = set[str]()

    def take(self, packs: Sequence[Pack]) -> Plan | None:
        """Returns the next pack, None where there is none for now.

        Args:
            packs: Those that train. A part of what did not fit waits for the other parts, and a
                run that needs the memory for itself for all.
        """
        training = {self._whole_of(pack.plan) for pack in packs}
        for plan in self._waiting:
            if self._whole_of(plan) not in training:
                self._waiting.remove(plan)
                return plan
        if packs or not self._last:
            return None
        self._is_last = True
        return self._last.popleft()

    def prune(self, run_ids: set[str]) -> None:
        """Lets runs go that are pruned while they wait."""
        self.too_large -= run_ids
        self._waiting, self._last = (
            deque(rest for plan in plans if (rest := _without(run_ids, plan)))
            for plans in (self._waiting, self._last)
        )

    def _whole_of(self, plan: Plan) -> int:
        """Returns the number of the pack that a pack was, or is a part of."""
        return self._whole[plan.runs[0].id]

    def is_empty(self) -> bool:
        """Returns whether nothing waits."""
        return not self._waiting and not self._last

    def is_retried(self, plan: Plan) -> bool:
        """Returns whether runs of a pack that do not fit are tried again."""
        return len(plan.runs) > 1 or not self._is_last

    def retry(self, plan: Plan) -> None:
        """Tries those runs again of a pack that has ended that were too large."""
        runs = tuple(run for run in plan.runs if run.id in self.too_large)
        self.too_large -= {run.id for run in runs}
        if runs == plan.runs and len(runs) == 1:
            self._last.append(plan)
            return
        half = (len(runs) + 1) // 2
        parts = [part for part in (runs[:half], runs[half:]) if part]
        self._waiting.extendleft(replace(plan, runs=part) for part in reversed(parts))


def _without(run_ids: set[str], plan: Plan) -> Plan | None:
    """Returns a pack without some runs; None where no other is in it."""
    runs = tuple(run for run in plan.runs if run.id not in run_ids)
    return replace(plan, runs=runs) if runs else None


def steps(plans: Sequence[Plan]) -> Steps:
    """Trains packs beside each other to their ends, begun in their order."""
    if not plans:
        return
    queue, crew = _Queue(plans), Crew(max(threads_of(plan.settings) for plan in plans))
    together = Together(plans)
    try:
        while True:
            while crew.has_room() and (plan := queue.take(crew.packs)) is not None:
                yield from _open(crew, plan, queue, together)
            said = crew.next()
            if said is not None:
                yield from _judge(said, queue, together)
                del said  # with what its pack holds, before the next one is opened
            elif queue.is_empty():
                return
    finally:
        crew.close()


def _open(crew: Crew, plan: Plan, queue: _Queue, together: Together) -> Steps:
    """Takes a pack in; its runs end as failed where that cannot be done."""
    try:
        crew.open(plan)
    except Exception as error:  # of whatever kind: it ends these runs, not the study
        if out_of_memory(error) and queue.is_retried(plan):
            queue.too_large |= {run.id for run in plan.runs}
            queue.retry(plan)
        else:
            together.take([failure(run.id, error, time.time()) for run in plan.runs])
            yield from _tell(queue, together, None)


def _judge(said: Said, queue: _Queue, together: Together) -> Steps:
    """Passes on what a pack says, but of runs that are tried again, and drops what is pruned."""
    pack, messages = said
    if queue.is_retried(pack.plan):
        ends = [message for message in messages if isinstance(message, RunEnded)]
        queue.too_large |= {end.run for end in ends if end.out_of_memory}
    together.take([message for message in messages if message.run not in queue.too_large])
    yield from _tell(queue, together, pack)
    if not pack.shards:
        queue.retry(pack.plan)


def _tell(queue: _Queue, together: Together, pack: Pack | None) -> Steps:
    """Tells what may be told, and drops what is pruned then.

    All that trains of it is in a pack; some may wait for another.
    """
    while told := together.give():
        if pruned := (yield told):
            queue.prune(pruned)
            dropped = [] if pack is None else pack.drop(pruned)
            if left := together.prune(pruned, dropped):
                yield left


def train(plan: Plan) -> Iterator[list[Message]]:
    """Trains a pack to its end; yields the messages of one evaluation point at a time.

    Raises:
        ValueError: The plan cannot be trained; one of INPUT_ERRORS.
    """
    crew = Crew(threads_of(plan.settings))
    try:
        crew.open(plan)
        while said := crew.next():
            yield said.messages
    finally:
        crew.close()
