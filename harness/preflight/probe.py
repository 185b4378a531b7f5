"""Before a launch: the engine of the study, a few updates of every arm, and whether the design can
show anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cells
from cells.base import Cell
from harness import engine, timing
from harness.model import masks
from harness.model.regularization import varied_cell
from harness.preflight.cost import Pace, Packs, packs_of
from harness.settings import Budget, Settings
from harness.statistics import inference
from harness.study import Choices, Study, is_repeated
from harness.study.units import Unit
from harness.training import runtime
from harness.training.messages import Plan, Run
from harness.training.pack import Pack, resolve_device

PILOT_SECONDS = 2.0
PILOT_UPDATES = 20


class DesignError(ValueError):
    """The design cannot reach its own threshold."""


@dataclass(frozen=True)
class Pilot:
    """What a few updates of an arm's pack show of its runs.

    Attributes:
        arm: Its key.
        settings: Where ranges are searched, with their first values; a budget of seconds is one of
            updates.
        num_evaluations: Evaluation points of a run.
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
    packs: Packs
    pace: Pace
    fingerprint: str
    threads: int
    device: str

    @property
    def num_runs(self) -> int:
        """All trials and replicates; of a sequential design those that it has in any case."""
        return sum(self.packs.trials) + sum(self.packs.replicates)

    @property
    def num_tokens(self) -> int:
        """What a run trains on."""
        return self.num_updates * self.settings.batch_size * self.settings.bptt_length

    @property
    def seconds(self) -> float:
        """Estimated seconds of all these runs; a replicate reads the test split once besides."""
        return self._seconds(self.packs.trials, 0) + self._seconds(self.packs.replicates, 1)

    @property
    def more_seconds(self) -> float:
        """Estimated seconds of all that a sequential design may add."""
        return self._seconds(self.packs.more, 1)

    def _seconds(self, packs: tuple[int, ...], tests: int) -> float:
        return sum(
            self.pace.seconds(pack, self.num_updates, self.num_evaluations + tests)
            for pack in packs
        )


def resolve(study: Study) -> tuple[dict[str, Settings], list[str]]:
    """Returns every arm's settings by its key, ``engine: auto`` resolved once for all, and what was
    passed over.

    Raises:
        ValueError: A cell, an engine or a device is not to be had.
    """
    for path in study.cell_files:
        cells.load_file(path)
    open_arms = [arm for arm in study.arms if arm.settings.engine == "auto"]
    chosen: dict[tuple[str, str], Any] = {}
    notes: list[str] = []
    for device, precision in {(arm.settings.device, arm.settings.precision) for arm in open_arms}:
        alike = [
            a for a in open_arms if (a.settings.device, a.settings.precision) == (device, precision)
        ]
        own = [_cell_of(study.under(arm.condition), arm.settings) for arm in alike]
        chosen[device, precision], passed = engine.resolve(own, resolve_device(device), precision)
        notes += passed
    settings = {arm.key: arm.settings for arm in study.arms}
    for name, own_settings in settings.items():
        if own_settings.engine == "auto":
            settings[name] = replace(
                own_settings, engine=chosen[own_settings.device, own_settings.precision]
            )
    return settings, notes


def _cell_of(study: Study, settings: Settings) -> type[Cell]:
    """Returns the cell with all that its settings, or those that are searched, vary in its step."""
    for name in study.tune.space if study.tune else ():
        if name in (*masks.FIELDS, "state_clip"):
            settings = replace(settings, **{name: 0.5})  # type: ignore[arg-type]
    return varied_cell(settings)


def first_values(study: Study) -> dict[str, Any]:
    """Returns the first value of every range, for what must be known before a search: shapes and
    costs.
    """
    if study.tune is None:
        return {}
    return {
        f: v.choices[0] if isinstance(v, Choices) else v.low for f, v in study.tune.space.items()
    }


def pack_of(study: Study, arm: str, settings: Settings, size: int) -> Plan:
    """Returns a plan of ``size`` runs of an arm that leaves nothing behind: for pilots and
    timings.
    """
    runs = tuple(
        Run(f"{arm}/pilot/{k}", (study.replicate.first_seed + k,), settings) for k in range(size)
    )
    return Plan(
        runs, objective=study.measure.objective, read_test=False, cell_files=study.cell_files
    )


def study_pack_size(study: Study, settings: Settings) -> int:
    """Returns how many replicates train together."""
    return min(settings.pack_size, study.replicate.seeds)


def seconds_to_updates(study: Study, arm: str, settings: Settings) -> Settings:
    """Returns settings whose budget in seconds is one in updates, by the measured speed of a run
    alone.
    """
    seconds = settings.budget.seconds
    if seconds is None:
        return settings
    probe = replace(settings, budget=Budget(updates=100))
    each = runtime.update_seconds(pack_of(study, arm, probe, 1), updates=10)
    return replace(settings, budget=Budget(updates=max(1, round(seconds / each))))


def pilot(study: Study, arm: str, settings: Settings) -> Pilot:
    """Returns what two updates of an arm's pack of the study's size show; what an evaluation costs
    they do not.

    Args:
        study: The whole study, or that of the arm's condition.
        arm: Its key.
        settings: As :func:`resolve` returns them.

    Raises:
        ValueError: The arm cannot be trained as it stands; its name comes first in the message.
    """
    part = study.under(Unit.parse(arm).condition)
    tuned = replace(settings, **first_values(part))
    try:
        plan = pack_of(
            study, arm, seconds_to_updates(study, arm, tuned), study_pack_size(study, tuned)
        )
        pack = Pack(plan)
        pack.close()
        with timing.Watch() as watch:
            seconds = runtime.update_seconds(plan)
    except (ValueError, OSError) as error:
        raise type(error)(f"{arm}: {error}") from error
    arch = pack.model.arch
    lanes = pack.threads if pack.device.type == "cpu" else None
    return Pilot(
        arm=arm,
        settings=plan.settings,
        hidden_size=arch.hidden_size,
        num_parameters=arch.num_parameters(),
        num_states=arch.num_states(),
        flops_per_token=arch.flops_per_token(),
        num_updates=pack.num_updates,
        num_evaluations=len(pack.points),
        packs=packs_of(part, plan.settings),
        pace=Pace(
            len(plan.runs),
            lanes,
            seconds,
            None,
            f"by two updates of each pack{_busy(watch)}, evaluation on top",
        ),
        fingerprint=pack.task.fingerprint,
        threads=pack.threads,
        device=pack.device.type,
    )


def short_training(study: Study, arm: Pilot) -> Pace:
    """Returns an arm's pace by two seconds of its pack's training, 20 updates at most, and one
    evaluation.
    """
    # Where the budget is one update, each is the last, and after it `advance` has nothing left to
    # do but evaluate.
    settings = replace(arm.settings, budget=Budget(updates=1), evaluations=1)
    pack = Pack(pack_of(study, arm.arm, settings, arm.pace.pack))
    try:
        pack.train_updates(runtime.WARM_UP_UPDATES)
        with timing.Watch() as first:
            pack.train_updates(1)
        count = max(1, min(PILOT_UPDATES, int(PILOT_SECONDS / first.seconds)))
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
        source=f"by a short pilot{_busy(training)}",
    )


def _busy(watch: timing.Watch) -> str:
    return " on a busy machine" if watch.busy else ""


def num_comparisons(study: Study) -> int:
    """Returns how many arms of a condition are tested against its baseline: those that read its
    text.
    """
    from harness.report.arm_results import text_of  # late: it loads matplotlib

    text = text_of(study.baseline.settings)
    return sum(text_of(arm.settings) == text for arm in study.arms if not arm.is_baseline)


def num_pairs(study: Study) -> int:
    """Returns how many pairs the test has; of a sequential design those of its first stage."""
    return (
        study.tune.repeats
        if study.tune is not None and is_repeated(study)
        else study.replicate.seeds
    )


def design_problem(study: Study) -> str | None:
    """Returns all why the study cannot reach its own threshold, and what to do; None where it can.

    Every condition is a family of comparisons of its own.
    """
    parts = [study.under(condition) for condition in study.conditions]
    return "\n".join(dict.fromkeys(line for part in parts for line in _problems(part))) or None


def _problems(part: Study) -> Iterator[str]:
    comparisons, phase = num_comparisons(part), part.measure.runtime
    if comparisons == 0:
        yield (
            f"compare: an arm must read the text of the baseline ({part.baseline.key}) to be compared with it, but "
            "none does. Write texts under across, or give --force."
        )
    else:
        field, name = (
            ("tune.repeats", "repeats") if is_repeated(part) else ("replicate.seeds", "seeds")
        )
        if part.replicate.until is not None:
            field, name = "replicate.seeds.first", "first"
        yield from _too_few(
            field, name, num_pairs(part), "sign-flip", comparisons, part.measure.threshold
        )
    if phase is not None:
        speeds = len(part.arms) - 1
        yield from _too_few(
            "measure.runtime.rounds",
            "rounds",
            phase.rounds,
            "sign-test",
            speeds,
            part.measure.threshold,
        )


def _too_few(
    field: str, name: str, count: int, test: str, comparisons: int, threshold: float
) -> Iterator[str]:
    """Yields a problem where all of ``count`` signs agreeing cannot pass Holm's first step."""
    reach, needed = inference.smallest_p(count), inference.seeds_needed(comparisons, threshold)
    if reach > threshold / comparisons:
        yield (
            f"{field}: the smallest {test} p, 2/2^n, must not exceed {threshold:g}/{comparisons} "
            f"({comparisons} comparison{'s' if comparisons > 1 else ''}), but got {name}={count}, whose smallest p is "
            f"{reach:.3g}. Write {name}: {needed} or more, or give --force."
        )
