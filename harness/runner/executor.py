"""Where packs run: in this process. Plans in, messages out; the scheduler listens and may prune."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

from harness.study.units import RunKey
from harness.training.execution import out_of_memory
from harness.training.messages import Message, RunEnded, failure
from harness.training.pack import Pack
from harness.training.plan import Plan, Run, shared

Listener = Callable[[Sequence[Message]], set[str]]
"""Given the messages of an evaluation point, returns the ids of the runs to prune."""


def cut(runs: list[Run], template: Plan) -> list[Plan]:
    """Returns packs of runs that agree in shapes, in their order, ``pack_size`` at most.

    The seeds of one setting stay together, since they are judged together; where there are more of
    them than ``pack_size``, they are a pack of their own.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(shared(run.settings)), []).append(run)
    plans = []
    for group in groups.values():
        size, pack = group[0].settings.pack_size, list[Run]()
        for _, seeds in groupby(group, lambda run: replace(RunKey.parse(run.id), draw=0)):
            together = list(seeds)
            if pack and len(pack) + len(together) > size:
                plans.append(replace(template, runs=tuple(pack)))
                pack = []
            pack += together
        plans.append(replace(template, runs=tuple(pack)))
    return plans


def execute(plan: Plan, listen: Listener) -> None:
    """Trains a pack to its end; where memory does not suffice, again in packs half the size.

    Raises:
        KeyboardInterrupt: As it came; the runs go on from their checkpoints another time.
    """
    too_large = _train(plan, listen)
    half = (len(too_large) + 1) // 2
    for part in (too_large[:half], too_large[half:]):
        if part:
            execute(replace(plan, runs=part), listen)


def _train(plan: Plan, listen: Listener) -> tuple[Run, ...]:
    """Trains a pack and returns the runs that are to be tried again in a smaller one."""
    can_shrink = len(plan.runs) > 1
    try:
        pack = Pack(plan)
    except Exception as error:  # of whatever kind: it ends these runs, not the study
        if can_shrink and out_of_memory(error):
            return plan.runs
        listen([failure(run.id, error, time.time()) for run in plan.runs])
        return ()
    too_large: set[str] = set()
    try:
        while messages := pack.advance():
            if can_shrink:
                ends = [m for m in messages if isinstance(m, RunEnded)]
                too_large |= {end.run for end in ends if end.out_of_memory}
            pruned = listen([m for m in messages if m.run not in too_large])
            if pruned:
                listen(pack.drop(pruned))
    finally:
        pack.close()
    return tuple(run for run in plan.runs if run.id in too_large)
