"""What the searches of arms show that are put side by side, each by its own study."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.report.evidence import Evidence, evidence_of
from harness.results.comparands import Comparand
from harness.settings import Settings
from harness.study import Arm, Choices, Measure, Range, Replicate, Study, Tune
from harness.study.needs import acts
from harness.study.units import Phase


def searches_of(
    comparands: Sequence[Comparand],
    settings: Mapping[str, Settings],
    runs: Mapping[str, pd.DataFrame],
) -> dict[str, Evidence]:
    """Returns what the searches of these arms show, by name; an arm that was not tuned is absent.

    Nothing is asked of them where all are of version 1 of the study format.

    Args:
        comparands: The arms.
        settings: Their names -> their settings.
        runs: Their names -> their runs, of the repeats that are compared.
    """
    if all(each.version == 1 for each in comparands):
        return {}
    return {
        each.name: _evidence(each, settings[each.name], runs[each.name])
        for each in comparands
        if each.search
    }


def _evidence(comparand: Comparand, settings: Settings, runs: pd.DataFrame) -> Evidence:
    """Returns what an arm's searches show: those of a study in which it is alone."""
    study = _searched_study(comparand, settings, runs)
    # Of pruned trials alone does the way matter, and curves take long to read.
    has_pruned = (runs["state"] == "pruned").any()
    curves = _curves(comparand, runs) if has_pruned else pd.DataFrame()
    return evidence_of(study, runs, curves)[comparand.name]


def _searched_study(comparand: Comparand, settings: Settings, runs: pd.DataFrame) -> Study:
    """Returns a study of one arm, with the search that its own study made of it."""
    finalists = runs[runs["phase"] == Phase.FINALIST]
    space = _space(comparand)
    unit, search = comparand.selection.unit, comparand.search
    tune = Tune(
        space=space,
        trials=search["trials"],
        batch=search["batch"],
        sampler=search["sampler"],
        pruner=search["pruner"],
        search_seed=search["search_seed"] + unit.repeat,
        repeats=int(runs["repeat"].max()) + 1,
        seeds=search.get("seeds", 1),
        finalists=max(1, finalists["index"].nunique()),
        finalist_seeds=max(2, finalists["draw"].nunique()),
    )
    measure = comparand.measure
    return Study(
        name=comparand.name,
        version=2,
        arms=(Arm(comparand.name, settings, True, searched=acting(comparand, settings)),),
        tune=tune,
        replicate=Replicate(),
        measure=Measure(objective=measure["objective"], margin=measure["margin"]),
        condition=unit.condition,
    )


def acting(comparand: Comparand, settings: Settings) -> tuple[str, ...]:
    """Returns the tuned fields that act in an arm."""
    space = _space(comparand)
    return tuple(field for field in space if acts(field, settings, space))


def _space(comparand: Comparand) -> dict[str, Range | Choices]:
    return {field: _domain(comparand.search[field]) for field in comparand.tuned}


def _domain(values: Mapping[str, Any]) -> Range | Choices:
    """Returns what a field was searched over, from an identity's JSON."""
    plain: Any = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return Choices(**plain) if "choices" in plain else Range(**plain)


def _curves(comparand: Comparand, runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the curves of an arm's trials under its name, repeats counted as in ``runs``."""
    unit, curves = comparand.selection.unit, comparand.selection.reader.curves()
    numbers = dict(zip(runs["repeat_stored"], runs["repeat"], strict=True))
    rows = curves[
        (curves["condition"] == unit.condition)
        & (curves["arm"] == unit.arm)
        & (curves["phase"] == Phase.TRIAL)
        & curves["repeat"].isin(numbers)
    ]
    return rows.assign(arm=comparand.name, repeat=rows["repeat"].map(numbers))
