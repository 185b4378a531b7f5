"""Where packs run: in this process, or as a Ray cluster has room (``ray_executor``).

Plans in, messages out; the scheduler listens and may prune. See docs/decisions/executors.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Protocol

from harness.study.units import RunKey
from harness.training.messages import Message
from harness.training.plan import Plan, Run, shared_values
from harness.training.steps import Steps, steps

Listener = Callable[[Sequence[Message]], set[str]]
"""Given the messages of an evaluation point, returns the ids of the runs to prune."""


class ExecutorError(ValueError):
    """What is to train cannot be used; the message says why."""


class Executor(Protocol):
    """Trains the packs of a round, which may run beside each other."""

    def execute(self, plans: Sequence[Plan], listen: Listener) -> None:
        """Trains packs to their ends; ``listen`` is called in this process and thread.

        Raises:
            KeyboardInterrupt: As it came; the runs go on from their checkpoints another time.
        """

    def rest(self) -> None:
        """Ends what still works, so that a clock in this process measures nothing else.

        Raises:
            RuntimeError: Others work where this process runs; the message says so.
        """

    def check_rest(self) -> None:
        """Looks whether anything works again after :meth:`rest`.

        Raises:
            RuntimeError: It does; the message says so.
        """

    def close(self) -> None:
        """Ends everything that was started."""


class Inline:
    """Trains packs beside each other, on this process's threads."""

    def execute(self, plans: Sequence[Plan], listen: Listener) -> None:
        """Trains packs to their ends, begun in their order."""
        training = steps(plans)
        try:
            pruned: set[str] | None = None
            while (messages := advance(training, pruned)) is not None:
                pruned = listen(messages)
        finally:
            training.close()

    def rest(self) -> None:
        """Does nothing: between two packs nothing works here."""

    def check_rest(self) -> None:
        """Does nothing, likewise."""

    def close(self) -> None:
        """Does nothing: no more was started than what has ended."""


def cut(runs: list[Run], template: Plan) -> list[Plan]:
    """Returns packs of runs that agree in shapes, in their order, ``pack_size`` at most.

    The seeds of one setting stay together, since they are judged together; where there are more of
    them than ``pack_size``, they are a pack of their own.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(shared_values(run.settings), []).append(run)
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


def advance(training: Steps, pruned: set[str] | None) -> list[Message] | None:
    """Returns what the next step says; None at the end. Nothing is pruned before the first."""
    try:
        return next(training) if pruned is None else training.send(pruned)
    except StopIteration:
        return None
