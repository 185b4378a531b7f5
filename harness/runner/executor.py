"""Where packs run: in this process. Plans in, records out; the driver listens and may prune."""

import time
from collections.abc import Callable
from dataclasses import replace

from harness.training.messages import Plan, Record, Run, shared
from harness.training.pack import Pack, out_of_memory

Listener = Callable[[list[Record]], set[str]]
"""Given the records of an evaluation point, returns the ids of the runs to prune."""


def cut(runs: list[Run], template: Plan) -> list[Plan]:
    """Returns packs of the runs: those that agree in shapes, in their order, at most ``pack_size``
    together.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(shared(run.settings)), []).append(run)
    plans = []
    for group in groups.values():
        size = group[0].settings.pack_size
        plans += [
            replace(template, runs=tuple(group[i : i + size])) for i in range(0, len(group), size)
        ]
    return plans


def execute(plan: Plan, listen: Listener) -> None:
    """Trains a pack to its end. Where memory does not suffice, the runs are trained again in packs
    half the size.

    Raises:
        KeyboardInterrupt: As it came; the runs go on from their checkpoints another time.
    """
    short = _train(plan, listen)
    half = (len(short) + 1) // 2
    for part in (short[:half], short[half:]):
        if part:
            execute(replace(plan, runs=part), listen)


def failures(plan: Plan, error: Exception) -> list[Record]:
    """Returns the ends of runs that could not even begin."""
    info = {"state": "failed", "message": f"{type(error).__name__}: {error}"}
    return [Record(run.id, "end", 0, time.time(), info=info) for run in plan.runs]


def _train(plan: Plan, listen: Listener) -> tuple[Run, ...]:
    """Trains a pack and returns the runs for which memory did not suffice, where a smaller pack can
    still be tried.
    """
    can_shrink = len(plan.runs) > 1
    try:
        pack = Pack(plan)
    except Exception as error:  # of whatever kind: it ends these runs, not the study
        if can_shrink and out_of_memory(error):
            return plan.runs
        listen(failures(plan, error))
        return ()
    short: set[str] = set()
    try:
        while records := pack.advance():
            if can_shrink:
                short |= {r.run for r in records if r.info.get("out_of_memory")}
            pruned = listen([r for r in records if r.run not in short])
            if pruned:
                listen(pack.drop(pruned))
    finally:
        pack.close()
    return tuple(run for run in plan.runs if run.id in short)
