"""Runs that are judged together, also where memory lets them train only one after the other.

The seeds of a trial are pruned by their mean. Where their pack does not fit in memory some of them
have ended before others begin; so what is said of a run waits until all have come as far.
"""

import time
from collections.abc import Iterable, Sequence

from harness.tasks.objective import loss_of
from harness.training.messages import Evaluation, Message, RunEnded, RunStarted, pruned_at
from harness.training.plan import Plan


class Together:
    """Takes what packs say, and gives it back point by point of those that are judged together.

    What is said of other runs it gives back at once.
    """

    def __init__(self, plans: Sequence[Plan]):
        """Takes all packs that will speak; none of the runs has begun."""
        self._loss = loss_of(plans[0].objective)
        seeds: dict[str, list[str]] = {}
        for run in (run for plan in plans for run in plan.runs):
            if run.judged_with is not None:
                seeds.setdefault(run.judged_with, []).append(run.id)
        # A single one too: the others may have ended before a kill. It goes on from a checkpoint
        # that may be of a later point than the one they were judged at.
        trials = [_Trial(runs) for runs in seeds.values()]
        self._trial_of = {run: trial for trial in trials for run in trial.runs}
        self._others: list[Message] = []

    def take(self, messages: Sequence[Message]) -> None:
        """Takes what is said at once: of a run at most its start, points in order, and its end."""
        evaluated = {each.run for each in messages if isinstance(each, Evaluation)}
        for message in messages:
            trial = self._trial_of.get(message.run)
            if trial is None:
                self._others.append(message)
            else:
                trial.take(message, is_evaluated=message.run in evaluated)

    def give(self) -> list[Message]:
        """Returns what may be told now, of a trial one point; nothing is left if it is empty."""
        told, self._others = self._others, []
        for trial in dict.fromkeys(self._trial_of.values()):
            told += trial.give()
        return told

    def prune(self, runs: Iterable[str], dropped: Sequence[Message]) -> list[Message]:
        """Returns how runs end that are pruned now, also those that had gone on.

        Args:
            runs: Their ids.
            dropped: The ends of those among them that were in training.
        """
        now = time.time()
        ends = [end for end in dropped if end.run not in self._trial_of]
        for run in sorted(runs):
            if trial := self._trial_of.get(run):
                last = trial.prune(run)
                ends += [pruned_at(last, self._loss, now)] if last else []
        return ends


class _Trial:
    """Runs of which nothing is told before all have come as far, or have ended.

    Points are counted from 1. A run's start belongs to its first point, and its end to that on the
    way to which it ended.
    """

    def __init__(self, runs: Sequence[str]):
        self.runs = tuple(runs)
        self._points = dict.fromkeys(runs, 0)
        self._ended: set[str] = set()
        self._num_told = 0
        self._waiting: list[tuple[int, Message]] = []
        self._last: dict[str, Evaluation] = {}

    def take(self, message: Message, is_evaluated: bool) -> None:
        """Takes a message; ``is_evaluated`` says whether its run came to a point just now.

        Of a run that has ended or was pruned nothing more is taken.
        """
        run, first = message.run, self._num_told + 1
        if run in self._ended:
            return
        if isinstance(message, RunStarted):
            # It may have begun before and not have fitted: it says again what it said.
            self._forget(run)
            self._points[run] = 0
            point = 1
        elif isinstance(message, Evaluation):
            self._points[run] += 1
            point = self._points[run]
        else:
            self._ended.add(run)
            point = max(self._points[run] + (not is_evaluated), first)
        if point >= first or isinstance(message, RunEnded):
            self._waiting.append((point, message))

    def give(self) -> list[Message]:
        """Returns what is said at the next point, once nobody is behind it."""
        if not self._waiting:
            return []
        point = min(point for point, _ in self._waiting)
        if any(self._points[run] < point for run in self.runs if run not in self._ended):
            return []
        told = [message for at, message in self._waiting if at == point]
        self._waiting = [each for each in self._waiting if each[0] != point]
        self._num_told = point
        self._last |= {each.run: each for each in told if isinstance(each, Evaluation)}
        return told

    def prune(self, run: str) -> Evaluation | None:
        """Ends a run where it was told of last, and returns that point."""
        self._ended.add(run)
        self._forget(run)
        return self._last.get(run)

    def _forget(self, run: str) -> None:
        self._waiting = [each for each in self._waiting if each[1].run != run]
