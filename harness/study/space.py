"""The rules of a study that concern the search space."""

import math
from collections.abc import Iterator
from typing import Any

from harness.settings.values import shown
from harness.study.arms import crossed, excluded, explicit_fields
from harness.study.blocks import SINCE_2, TUNE_NAMES, ArmsBase
from harness.study.document import Path, Problem, dotted
from harness.study.fields import FIELDS
from harness.study.parse import Parsed


def one_place(parsed: Parsed) -> Iterator[Problem]:
    """Yields every field that stands in two of fix, cross and tune, or in tune and an arm."""
    fixed, searched = explicit_fields(parsed.form.fix), domains(parsed)
    named: dict[str, Path] = {name: ("compare", "cross", name) for name in crossed(parsed)}
    for name in named:
        if name in fixed:
            yield _twice(parsed, ("fix", name), named[name])
    if isinstance(parsed.form.compare, ArmsBase):
        for arm, fields in (parsed.form.compare.arms or {}).items():
            named |= {name: ("compare", "arms", arm, name) for name in explicit_fields(fields)}
    for name in FIELDS:
        if name in searched and name in fixed:
            yield _twice(parsed, ("tune", name), ("fix", name))
        if name in searched and name in named:
            yield _twice(parsed, ("tune", name), named[name])


def _twice(parsed: Parsed, path: Path, other: Path) -> Problem:
    here, there = (dotted(parsed.document.in_file(p)) for p in (path, other))
    message = f"must stand in one place, but got {here} and {there}. Remove one of the two."
    return parsed.document.at_key(path, message, "two-places")


def block(parsed: Parsed) -> Iterator[Problem]:
    """Yields what is wrong with the block as a whole."""
    tune = parsed.form.tune
    if tune is None or parsed.is_invalid(("tune",)):
        return
    is_empty = not set(parsed.document.data["tune"]) - set(TUNE_NAMES)
    if is_empty:
        message = (
            "must name a field to search, but got none. "
            "Add learning_rate: {low: 0.1, high: 10, log: true}."
        )
        yield parsed.document.at_key(("tune",), message, "empty-search")


def domains(parsed: Parsed) -> dict[str, Any]:
    """Returns the searched fields with what each is searched over, as the form has it."""
    fields = explicit_fields(parsed.form.tune)
    return {name: domain for name, domain in fields.items() if name not in TUNE_NAMES}


def ranges(parsed: Parsed) -> Iterator[Problem]:
    """Yields what is wrong within a range or a list of choices."""
    for name, domain in domains(parsed).items():
        path: Path = ("tune", name)
        if "choices" in domain.model_fields_set:
            seen: list[Any] = []
            for i, value in enumerate(domain.choices):
                if value in seen:
                    message = f"must be distinct, but got {shown(value)} again. Remove it."
                    yield parsed.document.at_value(
                        (*path, "choices", i), message, "repeated-choice"
                    )
                seen.append(value)
            continue
        low, high, step = domain.low, domain.high, domain.step
        yield from _widening(parsed, name, domain)
        if not low < high:
            message = (
                f"must have low < high, but got low={low}, high={high}. "
                f"Exchange them, or move {name} to fix."
            )
            yield parsed.document.at_value((*path, "low"), message, "range")
        if domain.log and low <= 0:
            message = f"must be > 0 with log, but got low={low}. Raise low, or remove log."
            yield parsed.document.at_value((*path, "low"), message, "range")
        if step is not None and domain.log:
            message = f"must not stand beside log, but got step={step}. Remove one of the two."
            yield parsed.document.at_value((*path, "step"), message, "range")
        elif step is not None and low < high and not _divides(step, high - low):
            message = (
                f"must divide high - low = {high - low:g}, but got step={step}. "
                "Change step or high."
            )
            yield parsed.document.at_value((*path, "step"), message, "range")


def _widening(parsed: Parsed, name: str, domain: Any) -> Iterator[Problem]:
    if domain.widen is None:
        return
    path: Path = ("tune", name, "widen")
    low, high = domain.widen
    if not (low <= domain.low and domain.high <= high):
        message = (
            f"must hold the range, but got widen={[low, high]} of low={domain.low}, "
            f"high={domain.high}. Write [LOW, HIGH] with LOW <= low and high <= HIGH."
        )
        yield parsed.document.at_value(path, message, "range")
    elif domain.log and low <= 0:
        message = f"must be > 0 with log, but got widen={[low, high]}. Raise its first number."
        yield parsed.document.at_value(path, message, "range")


def budget(parsed: Parsed) -> Iterator[Problem]:
    """Yields what is wrong between the numbers of trials, seeds and finalists."""
    tune = parsed.form.tune
    if tune is None or parsed.is_invalid(("tune",)):
        return
    document, given = parsed.document, tune.model_fields_set
    if "at_most" in given and tune.trials is not None and tune.at_most < tune.trials:
        message = (
            f"must be >= trials, but got at_most={tune.at_most}, trials={tune.trials}. "
            "Raise at_most, or remove it."
        )
        yield document.at_value(("tune", "at_most"), message, "search-size")
    if "at_most" in given and tune.sampler == "grid":
        message = (
            f"must not stand with sampler: grid, but got at_most={tune.at_most}: a grid is not "
            "extended. Add values to it, or remove at_most."
        )
        yield document.at_key(("tune", "at_most"), message, "search-size")
    if tune.trials is not None and tune.finalists > tune.trials:
        message = (
            f"must be <= trials, but got finalists={tune.finalists}, trials={tune.trials}. "
            "Lower finalists."
        )
        yield document.at_value(("tune", "finalists"), message, "search-size")
    if "finalist_seeds" in given and tune.finalists == 1:
        message = (
            f"must stand with finalists > 1, but got finalist_seeds={tune.finalist_seeds} without. "
            "Add finalists: 3, or remove it."
        )
        yield document.at_key(("tune", "finalist_seeds"), message, "search-size")


def version(parsed: Parsed) -> Iterator[Problem]:
    """Yields what version 1 of the format does not have."""
    if parsed.form.version != 1:
        return
    paths: list[Path] = [("tune", name) for name in SINCE_2 if parsed.has("tune", name)]
    for name, domain in domains(parsed).items():
        given = [field for field in ("widen", "edge") if field in domain.model_fields_set]
        paths += [("tune", name, field) for field in given]
    paths += [("compare", "cross", "exclude")] if excluded(parsed) else []
    compare = parsed.form.compare
    if isinstance(compare, ArmsBase) and compare.identical_arms == "salted":
        paths.append(("compare", "identical_arms"))
    for path in paths:
        message = (
            "must stand with version: 2, but got version: 1. Write version: 2 and give the study "
            "another name, or remove it."
        )
        yield parsed.document.at_key(path, message, "version")


def _divides(step: float, width: float) -> bool:
    count = width / step
    return count >= 0.5 and math.isclose(count, round(count), rel_tol=1e-9)


def grid(parsed: Parsed) -> Iterator[Problem]:
    """Yields the ranges that a grid cannot enumerate."""
    tune = parsed.form.tune
    if tune is None or tune.sampler != "grid":
        return
    for name, domain in domains(parsed).items():
        if "choices" not in domain.model_fields_set and domain.step is None:
            rule = "must be choices or have a step with sampler: grid"
            message = f"{rule}, but got low={domain.low}, high={domain.high}. Add step."
            yield parsed.document.at_key(("tune", name), message, "grid")


RULES = (one_place, block, ranges, grid, budget, version)
"""All rules of this module, in the order in which they are asked."""
