"""The report of a study from its stored frames: nothing is run for it."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd

from harness.data import CorpusFacts
from harness.report import Report, build, tried
from harness.store.notes import StudyNotes
from harness.store.reader import StudyReader
from harness.study import Study
from harness.study.units import Phase
from harness.tuning import extension


def stored_report(study: Study, reader: StudyReader, warnings: list[str]) -> Report:
    """Returns the report of a study as far as its store has come."""
    return build_report(study, warnings=warnings, **read(study, reader))


def read(study: Study, reader: StudyReader) -> dict[str, Any]:
    """Returns what :func:`build_report` takes from a store, by its parameters' names."""
    reader = reader.at_once()
    notes = reader.notes()
    return {
        "runs": reader.runs(),
        "curves": reader.curves(),
        "timings": reader.timings(),
        "states": reader.states() if study.measure.states else None,
        "begun": begun_on(reader),
        "simple_errors": notes.simple_errors,
        "forecasts": reader.forecasts() if notes.simple_errors else None,
    }


def begun_on(reader: StudyReader) -> date | None:
    """Returns the day on which the study's experiment was made; None: the store does not say."""
    if not reader.birth.isdecimal():
        return None
    return datetime.fromtimestamp(int(reader.birth) / 1000.0, UTC).date()


def build_report(
    study: Study,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    timings: pd.DataFrame,
    warnings: list[str],
    states: pd.DataFrame | None = None,
    begun: date | None = None,
    simple_errors: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    forecasts: pd.DataFrame | None = None,
) -> Report:
    """Returns the report from the store, or from its export.

    Parameters that were not tuned are left out.

    Args:
        study: All its conditions.
        runs: As :func:`harness.store.frames.runs` returns them.
        curves: As :func:`harness.store.frames.curves` returns them.
        timings: As :func:`harness.store.frames.timings` returns them.
        warnings: What is to be said beside the verdict.
        states: As :func:`harness.store.frames.states` returns them; None: nobody asks.
        begun: When the study was first run; None: it is not known.
        simple_errors: As the study's notes have them; None: nobody asks.
        forecasts: As :func:`harness.store.frames.forecasts` returns them; likewise.
    """
    parts = {name: study.under(name) for name in study.conditions}
    fields = {name: list(part.tune.space) if part.tune else [] for name, part in parts.items()}
    tuned = [
        {field: params[field] for field in fields.get(condition, ()) if field in params}
        for condition, params in zip(runs["condition"], runs["params"], strict=True)
    ]
    runs = runs.assign(params=pd.Series(tuned, index=runs.index, dtype=object))
    importances = {
        name: _importances(part, runs[runs["condition"] == name]) for name, part in parts.items()
    }
    return build(
        study,
        runs,
        curves,
        timings,
        warnings,
        importances,
        states=states,
        begun=begun,
        simple_errors=simple_errors,
        forecasts=forecasts,
    )


def _importances(part: Study, runs: pd.DataFrame) -> Mapping[str, Mapping[str, float]]:
    """Returns the share of each tuned field; Optuna is loaded only where there are several."""
    if part.tune is None or len(part.tune.space) < 2:
        return {arm.name: {} for arm in part.arms}
    from harness.tuning.importances import importances

    trials = tried.whole(part.tune.seeds, runs[runs["phase"] == Phase.TRIAL])
    values = [params for params in trials["params"] if params]
    space = extension.searched_space(part.tune.space, values)
    wide = dataclasses.replace(part, tune=dataclasses.replace(part.tune, space=space))
    return importances(wide, trials)


def warnings_of(study: Study, notes: StudyNotes) -> list[str]:
    """Returns what the store has to say beside a verdict: of the texts, the search, and growth."""
    texts = [CorpusFacts.from_json(facts) for facts in notes.texts]
    leaks = [line for text in texts for line in text.warnings()]
    return [*leaks, *notes.warnings, *_extensions(study, notes)]


def _extensions(study: Study, notes: StudyNotes) -> list[str]:
    """Returns where pairs were added after a verdict was shown.

    No test of a fixed number of pairs allows for that.
    """
    pairs = study.num_pairs
    grown = [count for count in notes.looks if count < pairs]
    if not grown or study.replicate.until is not None:
        return []
    seen = f"{', '.join(map(str, grown))} of its {pairs} pairs"
    return [
        f"a verdict was seen at {seen}; p and intervals are not adjusted for that. "
        "Plan seeds by stages."
    ]
