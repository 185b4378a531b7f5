"""From a study file to a :class:`~harness.study.model.Study`."""

import copy
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cells.registry import PRESETS
from harness.settings import Settings
from harness.study import reader, rules
from harness.study.arms import Draft, said
from harness.study.fields import FIELDS, default_of, written
from harness.study.form import TUNE_NAMES, UntilForm
from harness.study.model import (
    Arm,
    Choices,
    Measure,
    Range,
    Replicate,
    RuntimePhase,
    SampleRequest,
    Study,
    Tune,
    as_json,
)
from harness.study.parse import Parsed, parse
from harness.study.reader import MAX_BYTES, Document, Problem, StudyError, shown


def load(path: str | Path, overrides: Iterable[str] = ()) -> Study:
    """Reads a study file; each override is ``PATH=VALUE``, such as ``fix.hidden_size=128``.

    Raises:
        StudyError: The file or an override is wrong; it holds every problem.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        remedy = "Give the path of a study file, such as studies/quickstart.yaml"
        raise _unreadable(path, f"must be readable, but got {error}. {remedy}.") from error
    if len(content) > MAX_BYTES:
        raise _unreadable(
            path,
            f"must have at most {MAX_BYTES} bytes, but has more. Give the path of a study file.",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        got = f"byte={content[error.start]:#04x}"
        raise _unreadable(
            path, f"must be UTF-8, but got {got}. Save it as UTF-8.", line, column
        ) from error
    return _study(text, str(path), path, tuple(overrides))


def loads(
    text: str, name: str = "study.yaml", overrides: Iterable[str] = (), *, path: Path | None = None
) -> Study:
    """Reads a study from text; files that it names are looked for beside ``path``, or in the
    working directory.

    Raises:
        StudyError: The text or an override is wrong; it holds every problem.
    """
    return _study(text, name, path, tuple(overrides))


def _unreadable(path: Path, message: str, line: int = 1, column: int = 1) -> StudyError:
    return StudyError([Problem(line, column, "study file", message, str(path))])


def _study(text: str, source: str, path: Path | None, overrides: tuple[str, ...]) -> Study:
    document = reader.read(text, source)
    if document.data is None and document.problems:
        raise StudyError(document.problems)
    if not isinstance(document.data, dict):
        message = f"must be a mapping, but got {shown(document.data)}. Start with study: NAME."
        raise StudyError([*document.problems, document.at_value((), message)])
    _override(document, overrides)
    parsed, problems = parse(document)
    folder = path.parent if path else Path()
    # Each condition is checked as the study that it is, so that no rule needs to know of
    # conditions.
    parts = {name: parse(part)[0] for name, part in conditions(document).items()} or {"": parsed}
    checked = {name: rules.check(part, folder) for name, part in parts.items()}
    problems = [*document.problems, *problems, *(p for _, found in checked.values() for p in found)]
    problems += rules.across({name: (part, checked[name][0]) for name, part in parts.items()})
    if problems:
        raise StudyError(list(dict.fromkeys(problems)))
    built = [
        _build(part, checked[name][0], name, text, path, overrides) for name, part in parts.items()
    ]
    return built[0] if "" in parts else _joined(parsed, built)


def _override(document: Document, overrides: tuple[str, ...]) -> None:
    for override in overrides:
        dotted, equals, value = override.partition("=")
        names = tuple(dotted.strip().split("."))
        label = f"--set {override}"
        if not equals or not all(names):
            message = (
                f"must be PATH=VALUE, but got {override!r}. Write for example fix.hidden_size=128."
            )
            document.problems.append(Problem(0, 0, "override", message, label))
        else:
            document.override(names, value, label)


def conditions(document: Document) -> dict[str, Document]:
    """Returns the study of every condition as a document of its own, whose values have their places
    in this one.
    """
    across = document.data.get("across")
    found = {}
    for name, changes in across.items() if isinstance(across, dict) else ():
        if not isinstance(changes, dict):
            continue
        data = copy.deepcopy(document.data)
        fields = data.pop("across")[name]
        moved: dict[reader.Path, reader.Path] = {}
        for block, values, at in (
            ("tune", fields.pop("tune", {}), ("across", name, "tune")),
            ("fix", fields, ("across", name)),
        ):
            if isinstance(values, dict) and values and isinstance(data.setdefault(block, {}), dict):
                data[block] |= values
                moved |= {(block, field): (*at, field) for field in values}
        damaged = {p for p in document.damaged if p[:1] != ("across",)}
        damaged |= {
            to + p[len(real) :]
            for to, real in moved.items()
            for p in document.damaged
            if p[: len(real)] == real
        }
        found[name] = dataclasses.replace(document, data=data, damaged=damaged, moved=moved)
    return found


def _joined(parsed: Parsed, parts: list[Study]) -> Study:
    """Returns the study of several conditions."""
    arms = tuple(arm for part in parts for arm in part.arms)
    across, resolved = copy.deepcopy(parsed.document.data["across"]), parts[0].resolved()
    fixed, tune = said(parsed.form.fix), _tune(parsed.form.tune)
    changed = {name for changes in across.values() for name in changes}
    for name in changed & resolved["fix"].keys():
        resolved["fix"][name] = written(fixed[name]) if name in fixed else default_of(name)
        if all(name in changes for changes in across.values()):
            del resolved["fix"][name]
    if tune:
        searched = {name: _plain_domain(domain) for name, domain in tune.space.items()}
        resolved["tune"] = searched | {name: getattr(tune, name) for name in TUNE_NAMES}
    head = ("study", "version", "question", "source", "cells", "compare")
    resolved = {
        **{name: resolved[name] for name in head if name in resolved},
        "across": across,
        **resolved,
    }
    return dataclasses.replace(
        parts[0], arms=arms, condition="", _parts=tuple(parts), _resolved=resolved
    )


def _build(
    parsed: Parsed,
    drafts: list[Draft],
    condition: str,
    text: str,
    path: Path | None,
    overrides: tuple[str, ...],
) -> Study:
    form = parsed.form
    baseline = form.compare.baseline

    def is_baseline(draft: Draft) -> bool:
        if isinstance(baseline, str):
            return draft.name == baseline
        written = {**draft.values, **({"cell": draft.preset} if draft.preset else {})}
        return all(written[name] == value for name, value in said(baseline).items())

    folder = path.parent.absolute() if path else None
    return Study(
        name=form.study,
        version=form.version,
        question=form.question,
        source=form.source or "",
        path=path.absolute() if path else None,
        text=text,
        overrides=overrides,
        arms=tuple(
            Arm(d.name, _found(d.settings(), folder), is_baseline(d), condition) for d in drafts
        ),
        tune=_tune(form.tune),
        replicate=_replicate(form.replicate),
        measure=_measure(form.measure),
        cell_files=tuple(str(folder / name) if folder else name for name in form.cells or ()),
        condition=condition,
        _resolved=_resolve(parsed, drafts),
    )


def _found(settings: Settings, folder: Path | None) -> Settings:
    """The settings with the path of their text made absolute, as a worker needs it."""
    if folder is None or settings.path is None:
        return settings
    return dataclasses.replace(settings, path=os.path.normpath(folder / settings.path))


def _tune(form: Any) -> Tune | None:
    if form is None:
        return None
    space = {
        name: _domain(domain)
        for name, domain in sorted(said(form).items())
        if name not in TUNE_NAMES
    }
    return Tune(
        space, form.trials, form.batch, form.sampler, form.pruner, form.search_seed, form.repeats
    )


def _domain(form: Any) -> Range | Choices:
    values = said(form)
    return Choices(tuple(values["choices"])) if "choices" in values else Range(**values)


def _replicate(form: Any) -> Replicate:
    values = said(form)
    stages = values.get("seeds")
    if isinstance(stages, UntilForm):
        values |= {"seeds": stages.first, "until": stages.until, "at_most": stages.at_most}
    return Replicate(**values)


def _seeds(replicate: Replicate) -> Any:
    """Returns a study's seeds as a file writes them."""
    if replicate.until is None:
        return replicate.seeds
    return {"until": replicate.until, "at_most": replicate.at_most, "first": replicate.seeds}


def _measure(form: Any) -> Measure:
    values = said(form)
    if "samples" in values:
        samples = said(values["samples"])
        values["samples"] = SampleRequest(**{**samples, "prefixes": tuple(samples["prefixes"])})
    if values.get("runtime") is not None:
        values["runtime"] = RuntimePhase(**said(values["runtime"]))
    return Measure(**values)


def _resolve(parsed: Parsed, drafts: list[Draft]) -> dict[str, Any]:
    form, tune, measure = parsed.form, _tune(parsed.form.tune), _measure(parsed.form.measure)
    found: dict[str, Any] = {
        "study": form.study,
        "version": form.version,
        "question": form.question,
    }
    found |= {
        name: getattr(form, name) for name in ("source", "cells") if getattr(form, name) is not None
    }
    found["compare"] = copy.deepcopy(parsed.document.data["compare"])
    elsewhere = set(tune.space if tune else ()) | set.intersection(
        *(set(draft.own) for draft in drafts)
    )
    fixed = said(form.fix)
    elsewhere |= (
        PRESETS.get(fixed.get("cell", ""), ("", {}))[1].keys() - fixed.keys()
    )  # its name says them
    if tune:
        found["tune"] = {name: _plain_domain(domain) for name, domain in tune.space.items()}
        found["tune"] |= {name: getattr(tune, name) for name in TUNE_NAMES}
    found["fix"] = {
        name: written(fixed[name]) if name in fixed else default_of(name)
        for name in FIELDS
        if name not in elsewhere
        and (name in fixed or FIELDS[name].default is not dataclasses.MISSING)
    }
    replicate = _replicate(form.replicate)
    found["replicate"] = {"seeds": _seeds(replicate), "first_seed": replicate.first_seed}
    found["measure"] = as_json(measure) | {"runtime": written(as_json(measure.runtime))}
    if measure.target is None:  # left out is what it is
        del found["measure"]["target"]
    found["measure"]["samples"]["temperature"] = written(measure.samples.temperature)
    if measure.samples.every is None:
        del found["measure"]["samples"]["every"]
    return found


def _plain_domain(domain: Range | Choices) -> dict[str, Any]:
    if isinstance(domain, Choices):
        return {"choices": [written(choice) for choice in domain.choices]}
    return {name: value for name, value in vars(domain).items() if value is not None}
