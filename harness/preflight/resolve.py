"""What a study leaves open, resolved before anything trains: engines, pack sizes, budgets."""

from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import Any

import cells
from cells.base import Cell
from harness import engine
from harness.model import masks
from harness.model.regularization import regularized_cell
from harness.settings import Budget, Settings
from harness.study import Choices, Study
from harness.study.fields import default_of
from harness.training import runtime
from harness.training.execution import passed_over, resolve_device
from harness.training.pack import Pack
from harness.training.plan import Plan, Run


def resolve(study: Study) -> tuple[dict[str, Settings], list[str]]:
    """Returns every arm's settings by its key, and notes on what is done otherwise than asked for.

    Such are engines and a GPU that were passed over, and evaluations without updates left.
    ``engine: auto`` is resolved once for all arms of a device and a precision; see
    :func:`harness.engine.resolve_each`.

    Raises:
        ValueError: A cell, an engine or a device is not to be had.
    """
    for path in study.cell_files:
        cells.load_file(path)
    open_arms = [arm for arm in study.arms if arm.settings.engine == "auto"]
    settings = {arm.key: arm.settings for arm in study.arms}
    devices = dict.fromkeys(arm.settings.device for arm in study.arms)
    notes = [*_of_evaluations(study), *chain.from_iterable(map(passed_over, devices))]
    for device, precision in {(arm.settings.device, arm.settings.precision) for arm in open_arms}:
        alike = [
            a for a in open_arms if (a.settings.device, a.settings.precision) == (device, precision)
        ]
        variants = [_cell_of(study.under(arm.condition), arm.settings) for arm in alike]
        biases = [arm.settings.biases for arm in alike]
        names, passed = engine.resolve_each(variants, resolve_device(device), precision, biases)
        notes += passed
        for arm, name in zip(alike, names, strict=True):
            settings[arm.key] = _on(arm.settings, name)
    return settings, notes


def _of_evaluations(study: Study) -> list[str]:
    """Returns notes on evaluations that were asked for and that no update is left for."""
    asked = dict.fromkeys(
        (arm.settings.evaluations, arm.settings.budget.updates) for arm in study.arms
    )
    return [
        f"fix.evaluations: at most one is made an update, but got evaluations={count:,} and "
        f"updates={updates:,}; {updates:,} are made. Write evaluations: {updates}."
        for count, updates in asked
        if isinstance(count, int) and count != default_of("evaluations")
        if updates is not None and count > updates
    ]


def _on(settings: Settings, name: Any) -> Settings:
    """Returns settings with an engine, whose name is one that a study may give."""
    return replace(settings, engine=name)


def runs_on(name: str, study: Study, settings: Settings) -> bool:
    """Returns whether an engine runs an arm; ``study`` is its condition's."""
    cell, device = _cell_of(study, settings), resolve_device(settings.device)
    return any(
        each.name == name
        and each.refusal(cell, device, settings.precision, settings.biases) is None
        for each in engine.ENGINES
    )


def _cell_of(study: Study, settings: Settings) -> type[Cell]:
    """Returns the cell with all that its settings, or those that are searched, vary in its step."""
    for name in study.tune.space if study.tune else ():
        if name in (*masks.FIELDS, "state_clip"):
            settings = replace(settings, **{name: 0.5})  # type: ignore[arg-type]
    return regularized_cell(settings)


def first_values(study: Study) -> dict[str, Any]:
    """Returns the first value of every range, for what must be known before a search.

    That is shapes and costs.
    """
    if study.tune is None:
        return {}
    return {
        f: v.choices[0] if isinstance(v, Choices) else v.low for f, v in study.tune.space.items()
    }


def other_layers(study: Study) -> list[dict[str, Any]]:
    """Returns what a search may change a layer's kernels to, field by field.

    They are a field's other choices, or the end of its range.
    """
    space = study.tune.space if study.tune else {}
    fields = [f for f in space if f in ("hidden_size", "biases", "state_clip", *masks.FIELDS)]
    others: list[dict[str, Any]] = []
    for field in fields:
        domain = space[field]
        values = domain.choices[1:] if isinstance(domain, Choices) else (domain.high,)
        others += [{field: value} for value in values]
    return others


def pack_of(study: Study, arm: str, settings: Settings, size: int) -> Plan:
    """Returns a plan of ``size`` runs of an arm that leaves nothing behind: for probes and
    timings.
    """
    runs = tuple(
        Run(f"{arm}/probe/{k}", (study.replicate.first_seed + k,), settings) for k in range(size)
    )
    return Plan(
        runs, objective=study.measure.objective, read_test=False, cell_files=study.cell_files
    )


def study_pack_size(study: Study, settings: Settings) -> int:
    """Returns how many replicates train together."""
    return min(settings.pack_size, study.replicate.seeds)


def seconds_to_updates(study: Study, arm: str, settings: Settings) -> Settings:
    """Returns settings whose budget in seconds is one in updates.

    The speed of a run alone is measured for it.
    """
    seconds = settings.budget.seconds
    if seconds is None:
        return settings
    probe = replace(settings, budget=Budget(updates=100))
    with closing(Pack(pack_of(study, arm, probe, 1))) as alone:
        each = runtime.update_seconds(alone, updates=10)
    return replace(settings, budget=Budget(updates=max(1, round(seconds / each))))
