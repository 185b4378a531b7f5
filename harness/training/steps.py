"""A pack step by step: what an evaluation point says comes out, what is pruned there goes in."""

import time
from collections.abc import Generator
from dataclasses import replace

from harness.training.execution import out_of_memory
from harness.training.messages import Message, RunEnded, failure
from harness.training.pack import Pack
from harness.training.plan import Plan, Run

Steps = Generator[list[Message], set[str], None]
"""Yields the messages of an evaluation point, and is sent the ids of the runs to prune there."""


def steps(plan: Plan) -> Steps:
    """Trains a pack to its end; where memory does not suffice, again in packs half the size."""
    too_large = yield from _train(plan)
    half = (len(too_large) + 1) // 2
    for part in (too_large[:half], too_large[half:]):
        if part:
            yield from steps(replace(plan, runs=part))


def _train(plan: Plan) -> Generator[list[Message], set[str], tuple[Run, ...]]:
    """Trains a pack and returns the runs that are to be tried again in a smaller one."""
    can_shrink = len(plan.runs) > 1
    try:
        pack = Pack(plan)
    except Exception as error:  # of whatever kind: it ends these runs, not the study
        if can_shrink and out_of_memory(error):
            return plan.runs
        yield [failure(run.id, error, time.time()) for run in plan.runs]
        return ()
    too_large: set[str] = set()
    try:
        while messages := pack.advance():
            if can_shrink:
                ends = [m for m in messages if isinstance(m, RunEnded)]
                too_large |= {end.run for end in ends if end.out_of_memory}
            pruned = yield [m for m in messages if m.run not in too_large]
            if pruned:
                yield pack.drop(pruned)
    finally:
        pack.close()
    return tuple(run for run in plan.runs if run.id in too_large)
