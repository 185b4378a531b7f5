"""From a form without problems to a :class:`~harness.study.model.Study`."""

import copy
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cells.registry import PRESETS
from harness.settings import SampleRequest, Settings, with_paths
from harness.study import tasks
from harness.study.arms import ArmDraft, crossed, explicit_fields
from harness.study.blocks import TUNE_NAMES, UntilForm, tune_names
from harness.study.fields import FIELDS, default_of, written
from harness.study.model import (
    Arm,
    Choices,
    Measure,
    Range,
    Replicate,
    RuntimePhase,
    Study,
    Tune,
    as_json,
)
from harness.study.needs import acts
from harness.study.parse import Parsed


@dataclass(frozen=True)
class StudyFile:
    """What a study was read from: the text, the file (None for a text alone) and the overrides."""

    text: str
    path: Path | None
    overrides: tuple[str, ...]


def study_of(parsed: Parsed, drafts: list[ArmDraft], condition: str, file: StudyFile) -> Study:
    """Returns the study of one condition; an empty name where the file has none."""
    form, path = parsed.form, file.path
    folder = path.parent.absolute() if path else None
    tune = _tune(form.tune)
    space = tune.space if tune else {}
    arms = tuple(
        Arm(
            draft.name,
            _with_whole_paths(draft.settings(), folder),
            _is_baseline(draft, form.compare.baseline),
            condition,
            tuple(name for name in space if acts(name, draft.settings(), space)),
        )
        for draft in drafts
    )
    return Study(
        name=form.study,
        version=form.version,
        question=form.question,
        source=form.source or "",
        path=path.absolute() if path else None,
        text=file.text,
        overrides=file.overrides,
        arms=arms,
        tune=tune,
        replicate=_replicate(form.replicate),
        measure=_measure(form.measure, drafts),
        cell_files=tuple(str(folder / name) if folder else name for name in form.cells or ()),
        condition=condition,
        crossed=tuple(crossed(parsed)),
        is_salted=getattr(form.compare, "identical_arms", False) == "salted",
        _resolved=_resolved(parsed, drafts),
    )


def joined(parsed: Parsed, parts: list[Study]) -> Study:
    """Returns the study of several conditions."""
    arms = tuple(arm for part in parts for arm in part.arms)
    across, resolved = copy.deepcopy(parsed.document.data["across"]), parts[0].resolved()
    fixed, tune = explicit_fields(parsed.form.fix), _tune(parsed.form.tune)
    changed = {name for changes in across.values() for name in changes}
    for name in changed & resolved["fix"].keys():
        resolved["fix"][name] = written(fixed[name]) if name in fixed else default_of(name)
        if all(name in changes for changes in across.values()):
            del resolved["fix"][name]
    if tune:
        searched = {name: _plain_domain(domain) for name, domain in tune.space.items()}
        resolved["tune"] = searched | _tune_fields(tune, parts[0].version)
    head = ("study", "version", "question", "source", "cells", "compare")
    resolved = {
        **{name: resolved[name] for name in head if name in resolved},
        "across": across,
        **resolved,
    }
    return dataclasses.replace(
        parts[0], arms=arms, condition="", _parts=tuple(parts), _resolved=resolved
    )


def _is_baseline(draft: ArmDraft, baseline: Any) -> bool:
    if isinstance(baseline, str):
        return draft.name == baseline
    values = {**draft.values, **({"cell": draft.preset} if draft.preset else {})}
    return all(values[name] == value for name, value in explicit_fields(baseline).items())


def _with_whole_paths(settings: Settings, folder: Path | None) -> Settings:
    """The settings with the paths of their text made absolute, as a worker needs them."""
    if folder is None:
        return settings
    return with_paths(settings, lambda path: os.path.normpath(folder / path))


def _tune(form: Any) -> Tune | None:
    if form is None:
        return None
    space = {
        name: _domain(domain)
        for name, domain in sorted(explicit_fields(form).items())
        if name not in TUNE_NAMES
    }
    return Tune(space, **{name: getattr(form, name) for name in TUNE_NAMES})


def _tune_fields(tune: Tune, version: int) -> dict[str, Any]:
    """Returns the fields of a search that are no settings, as a file of a version writes them."""
    values = {name: getattr(tune, name) for name in tune_names(version)}
    if values.get("finalists") == 1:
        del values["finalist_seeds"]  # it stands with finalists alone
    return {name: value for name, value in values.items() if value is not None}


def _domain(form: Any) -> Range | Choices:
    values = explicit_fields(form)
    if "choices" in values:
        return Choices(**{**values, "choices": tuple(values["choices"])})
    if "widen" in values:
        values["widen"] = tuple(values["widen"])
    return Range(**values)


def _replicate(form: Any) -> Replicate:
    values = explicit_fields(form)
    stages = values.get("seeds")
    if isinstance(stages, UntilForm):
        values |= {"seeds": stages.first, "until": stages.until, "at_most": stages.at_most}
    return Replicate(**values)


def _seeds(replicate: Replicate) -> Any:
    """Returns a study's seeds as a file writes them."""
    if replicate.until is None:
        return replicate.seeds
    return {"until": replicate.until, "at_most": replicate.at_most, "first": replicate.seeds}


def _measure(form: Any, drafts: list[ArmDraft]) -> Measure:
    values = explicit_fields(form)
    values.setdefault("objective", tasks.default_objective(drafts))
    if values.get("samples", ...) is None:
        del values["samples"]
    if "samples" in values:
        values["samples"] = SampleRequest.from_dict(explicit_fields(values["samples"]))
    if values.get("runtime") is not None:
        values["runtime"] = RuntimePhase(**explicit_fields(values["runtime"]))
    return Measure(**values)


def _resolved(parsed: Parsed, drafts: list[ArmDraft]) -> dict[str, Any]:
    """Returns the study as a file with all defaults written out."""
    form, tune, measure = (
        parsed.form,
        _tune(parsed.form.tune),
        _measure(parsed.form.measure, drafts),
    )
    replicate = _replicate(form.replicate)
    blocks: dict[str, Any] = {
        "study": form.study,
        "version": form.version,
        "question": form.question,
        "source": form.source,
        "cells": form.cells,
    }
    blocks = {name: value for name, value in blocks.items() if value is not None}
    blocks["compare"] = copy.deepcopy(parsed.document.data["compare"])
    if tune:
        blocks["tune"] = {name: _plain_domain(domain) for name, domain in tune.space.items()}
        blocks["tune"] |= _tune_fields(tune, form.version)
    blocks["fix"] = _resolved_fix(explicit_fields(form.fix), tune, drafts)
    blocks["replicate"] = {"seeds": _seeds(replicate), "first_seed": replicate.first_seed}
    blocks["measure"] = _resolved_measure(measure)
    return blocks


def _resolved_fix(
    fixed: dict[str, Any], tune: Tune | None, drafts: list[ArmDraft]
) -> dict[str, Any]:
    elsewhere = set(tune.space if tune else ())
    elsewhere |= set.intersection(*(set(draft.given) for draft in drafts))
    _, implied = PRESETS.get(fixed.get("cell", ""), ("", {}))
    elsewhere |= implied.keys() - fixed.keys()  # the preset's name implies them
    return {
        name: written(fixed[name]) if name in fixed else default_of(name)
        for name in FIELDS
        if name not in elsewhere
        and (name in fixed or FIELDS[name].default is not dataclasses.MISSING)
    }


def _resolved_measure(measure: Measure) -> dict[str, Any]:
    values: dict[str, Any] = as_json(measure) | {"runtime": written(as_json(measure.runtime))}
    values["samples"] = measure.samples.to_dict()
    if measure.samples.temperatures:
        del values["samples"]["temperature"]
    else:
        values["samples"]["temperature"] = written(measure.samples.temperature)
    for block, name in ((values, "target"), (values["samples"], "every")):
        if block[name] is None:  # a field that is left out cannot be written as none
            del block[name]
    return values


def _plain_domain(domain: Range | Choices) -> dict[str, Any]:
    values = {name: value for name, value in vars(domain).items() if value is not None}
    if isinstance(domain, Choices):
        return values | {"choices": [written(choice) for choice in domain.choices]}
    return values | ({"widen": list(domain.widen)} if domain.widen else {})
