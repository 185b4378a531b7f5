"""What a few updates of an arm's pack show of its runs, before a launch."""

from contextlib import closing
from dataclasses import dataclass, replace

from harness import timing
from harness.preflight.cost import Pace, Packs, packs_of
from harness.preflight.resolve import first_values, pack_of, seconds_to_updates, study_pack_size
from harness.settings import Budget, Settings
from harness.study import Study
from harness.study.units import Unit
from harness.training import runtime
from harness.training.execution import resolve_device, threads_of
from harness.training.pack import Pack

PROBE_SECONDS = 2.0
PROBE_UPDATES = 20


@dataclass(frozen=True)
class Probe:
    """What a few updates of an arm's pack show of its runs.

    Attributes:
        arm: Its key.
        settings: With the first values of the ranges that are searched; a budget of seconds is one
            of updates.
        num_evaluations: Evaluation points of a run.
        targets_per_update: Of a run; where updates differ, the mean.
        packs: How its runs, of all repeats, train together.
        fingerprint: Of its text.
        threads: As its runs take them.
        device: cpu or cuda.
    """

    arm: str
    settings: Settings
    hidden_size: int
    num_parameters: int
    num_states: int
    flops_per_token: int
    num_updates: int
    num_evaluations: int
    targets_per_update: float
    packs: Packs
    pace: Pace
    fingerprint: str
    threads: int
    device: str

    @property
    def num_runs(self) -> int:
        """All trials, finalists and replicates; those that there are in any case."""
        return sum(self.packs.trials) + sum(self.packs.finalists) + sum(self.packs.replicates)

    @property
    def num_more_runs(self) -> int:
        """Trials and replicates that may be added to these."""
        return sum(self.packs.more) + sum(self.packs.more_trials)

    @property
    def num_tokens(self) -> float:
        """What a run trains on."""
        return self.num_updates * self.targets_per_update

    @property
    def _num_tests(self) -> int:
        """How many evaluations' worth of steps a replicate is tested on at its end."""
        return 1 + sum(self.settings.test_lengths or ())

    @property
    def seconds(self) -> float:
        """Estimated seconds of all these runs; a replicate reads the test split once besides."""
        searching = self._seconds((*self.packs.trials, *self.packs.finalists), 0)
        return searching + self._seconds(self.packs.replicates, self._num_tests)

    @property
    def more_seconds(self) -> float:
        """Estimated seconds of all that may be added."""
        return self._seconds(self.packs.more_trials, 0) + self._seconds(
            self.packs.more, self._num_tests
        )

    def _seconds(self, packs: tuple[int, ...], tests: int) -> float:
        return sum(
            self.pace.seconds(pack, self.num_updates, self.num_evaluations + tests)
            for pack in packs
        )


def probe_arm(study: Study, arm: str, settings: Settings, *, is_brief: bool = False) -> Probe:
    """Returns what a few updates of an arm's pack of the study's size show.

    They do not show what an evaluation costs.

    Args:
        study: The whole study, or that of the arm's condition.
        arm: Its key.
        settings: As :func:`harness.preflight.resolve.resolve` returns them.
        is_brief: Of the pack only as many runs are made as work at a time.

    Raises:
        ValueError: The arm cannot be trained as it stands; its name comes first in the message.
    """
    part = study.under(Unit.parse(arm).condition)
    tuned = replace(settings, **first_values(part))
    size = (_at_a_time if is_brief else study_pack_size)(study, tuned)
    try:
        plan = pack_of(study, arm, seconds_to_updates(study, arm, tuned), size)
        with closing(Pack(plan)) as pack, timing.Watch() as watch:
            seconds = runtime.update_seconds(pack)
    except (ValueError, OSError) as error:
        raise type(error)(f"{arm}: {error}") from error
    arch = pack.model.arch
    concurrent_runs = pack.threads if pack.device.type == "cpu" else None
    return Probe(
        arm=arm,
        settings=plan.settings,
        hidden_size=arch.hidden_size,
        num_parameters=arch.num_parameters(),
        num_states=arch.num_states(),
        flops_per_token=arch.flops_per_token(),
        num_updates=pack.num_updates,
        num_evaluations=len(pack.points),
        targets_per_update=pack.task.targets_per_update,
        packs=packs_of(part, plan.settings),
        pace=Pace(
            len(plan.runs),
            concurrent_runs,
            seconds,
            None,
            f"by a few updates of each pack{_busy(watch)}, evaluation on top",
        ),
        fingerprint=pack.task.fingerprint,
        threads=pack.threads,
        device=pack.device.type,
    )


def _at_a_time(study: Study, settings: Settings) -> int:
    """Returns the runs of a pack that work at a time: more of them take turns on a CPU."""
    size = study_pack_size(study, settings)
    return min(size, threads_of(settings)) if resolve_device(settings.device) == "cpu" else size


def short_training(study: Study, arm: Probe) -> Pace:
    """Returns an arm's pace by two seconds of its pack's training and one evaluation.

    The training is 20 updates at most.
    """
    # Where the budget is one update, each is the last, and after it `advance` has nothing left to
    # do but evaluate.
    settings = replace(arm.settings, budget=Budget(updates=1), evaluations=1)
    pack = Pack(pack_of(study, arm.arm, settings, arm.pace.pack))
    try:
        pack.train_updates(runtime.WARM_UP_UPDATES)
        with timing.Watch() as first:
            pack.train_updates(1)
        count = max(1, min(PROBE_UPDATES, int(PROBE_SECONDS / first.seconds)))
        with timing.Watch() as training:
            pack.train_updates(count)
        with timing.Watch() as evaluation:
            pack.advance()
    finally:
        pack.close()
    return replace(
        arm.pace,
        update_seconds=training.seconds / count,
        evaluation_seconds=evaluation.seconds,
        source=f"by a short training{_busy(training)}",
    )


def _busy(watch: timing.Watch) -> str:
    return " on a busy machine" if watch.busy else ""
