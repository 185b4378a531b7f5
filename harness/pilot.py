"""Before a launch: the engine of the study, two updates of every arm, and what the design can show."""

from dataclasses import dataclass, replace
from typing import Any

import cells
from cells.base import Cell
from harness import engine, noise, runtime, statistics
from harness.plan import Plan, Run
from harness.settings import Budget, Settings
from harness.study import Choices, Study
from harness.train import Pack, resolve_device
from harness.variation import varied_cell


class DesignError(ValueError):
    """The design cannot reach its own threshold."""


@dataclass(frozen=True)
class Pilot:
    """What two updates of an arm's pack show, and what its runs will cost."""

    arm: str
    settings: Settings
    hidden_size: int
    num_parameters: int
    num_states: int
    flops_per_token: int
    num_updates: int
    update_seconds: float
    """Of one run in a pack of the study's size."""
    num_runs: int
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Estimated seconds of all runs of the arm, evaluation and timing not counted."""
        return self.update_seconds * self.num_updates * self.num_runs


def resolve(study: Study) -> tuple[dict[str, Settings], list[str]]:
    """Returns every arm's settings, ``engine: auto`` resolved once for all of them, and what was passed over.

    Raises:
        ValueError: A cell, an engine or a device is not to be had.
    """
    for path in study.cell_files:
        cells.load_file(path)
    open_arms = [arm.settings for arm in study.arms if arm.settings.engine == "auto"]
    chosen: dict[tuple[str, str], Any] = {}
    notes: list[str] = []
    for device, precision in {(s.device, s.precision) for s in open_arms}:
        own = [_cell_of(study, s) for s in open_arms if (s.device, s.precision) == (device, precision)]
        chosen[device, precision], passed = engine.resolve(own, resolve_device(device), precision)
        notes += passed
    settings = {arm.name: arm.settings for arm in study.arms}
    for name, own_settings in settings.items():
        if own_settings.engine == "auto":
            settings[name] = replace(own_settings, engine=chosen[own_settings.device, own_settings.precision])
    return settings, notes


def _cell_of(study: Study, settings: Settings) -> type[Cell]:
    """Returns the cell with all that its settings, or those that are searched, vary in its step."""
    for name in study.tune.space if study.tune else ():
        if name in (*noise.FIELDS, "state_clip"):
            settings = replace(settings, **{name: 0.5})  # type: ignore[arg-type]
    return varied_cell(settings)


def first_values(study: Study) -> dict[str, Any]:
    """Returns the first value of every range, for what must be known before a search: shapes and costs."""
    if study.tune is None:
        return {}
    return {f: v.choices[0] if isinstance(v, Choices) else v.low for f, v in study.tune.space.items()}


def pack_of(study: Study, arm: str, settings: Settings, size: int) -> Plan:
    """Returns a plan of ``size`` runs of an arm that leaves nothing behind: for pilots and timings."""
    runs = tuple(Run(f"{arm}/pilot/{k}", (study.replicate.first_seed + k,), settings) for k in range(size))
    return Plan(runs, objective=study.measure.objective, read_test=False, cell_files=study.cell_files)


def study_pack_size(study: Study, settings: Settings) -> int:
    """Returns how many replicates train together."""
    return min(settings.pack_size, study.replicate.seeds)


def seconds_to_updates(study: Study, arm: str, settings: Settings) -> Settings:
    """Returns settings whose budget in seconds is one in updates, by the measured speed of a run alone."""
    seconds = settings.budget.seconds
    if seconds is None:
        return settings
    probe = replace(settings, budget=Budget(updates=100))
    each = runtime.update_seconds(pack_of(study, arm, probe, 1), updates=10)
    return replace(settings, budget=Budget(updates=max(1, round(seconds / each))))


def pilot(study: Study, arm: str, settings: Settings) -> Pilot:
    """Returns what two updates of the arm's pack show.

    Raises:
        ValueError: The arm cannot be trained as it stands; its name comes first in the message.
    """
    tuned = replace(settings, **first_values(study))
    size = study_pack_size(study, tuned)
    try:
        plan = pack_of(study, arm, seconds_to_updates(study, arm, tuned), size)
        pack = Pack(plan)
        arch, num_updates, notes = pack.model.arch, pack.num_updates, list(pack.notes)
        pack.close()
        seconds = runtime.update_seconds(plan)
    except (ValueError, OSError) as error:
        raise type(error)(f"{arm}: {error}") from error
    return Pilot(
        arm,
        plan.settings,
        arch.hidden_size,
        arch.num_parameters(),
        arch.num_states(),
        arch.flops_per_token(),
        num_updates,
        seconds / size,
        study.replicate.seeds + (study.tune.trials if study.tune else 0),
        tuple(notes),
    )


def design_problem(study: Study) -> str | None:
    """Returns why the study cannot reach its own threshold, and what to do; None where it can."""
    comparisons = len(study.arms) - 1
    reach = statistics.smallest_p(study.replicate.seeds)
    threshold = study.measure.threshold
    if reach <= threshold / comparisons:
        return None
    needed = statistics.seeds_needed(comparisons, threshold)
    return (
        f"replicate.seeds: the smallest sign-flip p, 2/2^n, must not exceed {threshold:g}/{comparisons} "
        f"({comparisons} comparisons), but got seeds={study.replicate.seeds}, whose smallest p is {reach:.3g}. "
        f"Write seeds: {needed} or more, or give --force."
    )
