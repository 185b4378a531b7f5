"""The rules of a study that concern more than one field.

Each rule yields a problem for everything that breaks it. Those of the search space, of single arms
and of fields that need others stand in modules of their own; :func:`check` asks them all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from cells import registry
from harness.settings.values import shown
from harness.study import arm_rules, space, tasks
from harness.study.arms import ArmDraft, arm_drafts, crossed, explicit_fields
from harness.study.blocks import ArmsBase, UntilForm
from harness.study.document import Path, Problem, dotted
from harness.study.fields import FIELDS
from harness.study.needs import needs_of_fields
from harness.study.parse import Parsed

MIN_REPEATS = 5
"""Fewer repeats of the whole have too few degrees of freedom to be worth their cost."""

_REQUIRED: dict[Path, dict[str, str]] = {
    (): {
        "study": "study: NAME",
        "version": "version: 2",
        "question": "question: what the study asks",
        "compare": "compare: {cross: {cell: [lstm, gru]}, baseline: {cell: lstm}}",
    },
    ("compare",): {"baseline": "baseline: the arm that the others are compared with"},
    ("tune",): {"trials": "trials: 24"},
    ("measure", "samples"): {"prefixes": "prefixes: [time traveller]"},
}
_BASELINE_CELL = ("baseline", "compare.baseline.cell")


def check(
    parsed: Parsed, folder: FilePath, without_cells: bool = False
) -> tuple[list[ArmDraft], list[Problem]]:
    """Returns the arms and everything that is wrong across fields.

    Args:
        parsed: The study's form.
        folder: Where the files lie that the study names.
        without_cells: Whether to run nothing of the files of cells. What a rule would ask of a
            cell that is not shipped is then not asked.
    """
    arms, problems = arm_drafts(parsed)
    for rule in (_required, _baseline, _pairs, _temperatures, *space.RULES):
        problems += rule(parsed)
    if without_cells and parsed.form.cells:
        arms, unread = [_with_unread_cell(arm) for arm in arms], []
    else:
        unread = list(_cell_files(parsed, folder))
    for arm_rule in (*arm_rules.RULES, needs_of_fields):
        problems += arm_rule(parsed, arms)
    if unread:  # what a file may hold that could not be read is not known to be unknown
        problems = [problem for problem in problems if problem.code != "unknown-cell"]
    if any(problem.code == "unknown-cell" for problem in problems):  # the baseline's, misspelt
        problems = [each for each in problems if (each.code, each.where) != _BASELINE_CELL]
    return arms, list(dict.fromkeys(problems + unread))


def across(parts: Mapping[str, tuple[Parsed, list[ArmDraft]]]) -> Iterator[Problem]:
    """Yields what is wrong between conditions: equal ones, and different kinds of loss.

    Args:
        parts: Condition -> its form and its arms.
    """
    seen: dict[str, str] = {}
    first_splits: set[str] | None = None
    first_objective: str | None = None
    for name, (parsed, arms) in parts.items():
        if any(arm.invalid for arm in arms):
            continue
        settings = [[(field, arm.value(field)) for field in FIELDS] for arm in arms]
        text = repr([settings, sorted(space.domains(parsed).items())])
        if text in seen:
            yield _at_condition(
                parsed,
                name,
                f"must differ from every other condition, but got the same as {seen[text]}. "
                "Remove one of the two.",
                "equal-conditions",
            )
        seen.setdefault(text, name)
        splits: set[str] = {arm.value("split") for arm in arms}
        if first_splits not in (None, splits):
            yield _at_condition(
                parsed,
                name,
                "must have the split of the first condition, since one verdict is about one kind "
                f"of perplexity, but got split={' and '.join(sorted(splits))}. "
                "Make it a study of its own.",
                "mixed-splits",
            )
        first_splits = first_splits or splits
        measure = parsed.form.measure
        if measure is None or "objective" not in measure.model_fields_set:
            objective = tasks.default_objective(arms)
            if first_objective not in (None, objective):
                yield _at_condition(
                    parsed,
                    name,
                    "must be judged as the first condition is, since a study has one objective, "
                    f"but got {objective} here and {first_objective} there. Write "
                    "measure: {objective: ...} with one that both have, or make it two studies.",
                    "objective",
                )
            first_objective = first_objective or objective


def _at_condition(parsed: Parsed, condition: str, message: str, code: str) -> Problem:
    path = ("across", condition)
    line, column = parsed.document.keys.get(path, (0, 0))
    return Problem(line, column, dotted(path), message, parsed.document.source, code)


def _required(parsed: Parsed) -> Iterator[Problem]:
    for block, names in _REQUIRED.items():
        if block and (not parsed.has_block(*map(str, block)) or parsed.is_invalid(block)):
            continue
        for name, example in names.items():
            path = (*block, name)
            if not parsed.has(*map(str, path)) and not parsed.is_invalid(path):
                yield parsed.document.at_key(
                    path, f"must be given, but is missing. Add {example}.", "missing-field"
                )
    has_arms = parsed.has("compare", "cross") or parsed.has("compare", "arms")
    if parsed.form.compare and not has_arms:
        message = (
            "must have cross or arms, but got neither. Add cross: {cell: [lstm, gru]}, or arms."
        )
        yield parsed.document.at_key(("compare",), message, "missing-field")


def _baseline(parsed: Parsed) -> Iterator[Problem]:
    compare = parsed.form.compare
    path: Path = ("compare", "baseline")
    if compare is None or compare.baseline is None or parsed.is_invalid(path):
        return
    if not isinstance(compare, ArmsBase):
        yield from _crossed_baseline(parsed, explicit_fields(compare.baseline))
        return
    names = list(parsed.document.data["compare"].get("arms", ()))  # those that were refused, too
    if names and compare.baseline not in names:
        message = (
            f"must be an arm ({', '.join(names)}), "
            f"but got baseline={shown(compare.baseline)}. Name one of them."
        )
        yield parsed.document.at_value(path, message, "baseline")


def _crossed_baseline(parsed: Parsed, values: dict[str, Any]) -> Iterator[Problem]:
    if parsed.is_invalid(("compare", "cross")):
        return
    lists, path = crossed(parsed), ("compare", "baseline")
    for name, value in values.items():
        if parsed.is_invalid(("compare", "cross", name)):
            continue
        if name not in lists:
            message = (
                f"must name crossed fields ({', '.join(lists)}), "
                f"but got {name}={shown(value)}. Remove it."
            )
            yield parsed.document.at_key((*path, name), message, "baseline")
        elif value not in lists[name]:
            message = (
                f"must be a crossed value ({', '.join(map(_bare, lists[name]))}), "
                f"but got {name}={shown(value)}. Write one of them, or cross it."
            )
            yield parsed.document.at_value((*path, name), message, "baseline")
    for name in lists:
        if name not in values:
            message = (
                f"must name a value of every crossed field, but got none of {name}. "
                f"Add {name}: {_bare(lists[name][0])}."
            )
            yield parsed.document.at_key(path, message, "baseline")


def _bare(value: Any) -> str:
    return shown(value).strip("'")


def _pairs(parsed: Parsed) -> Iterator[Problem]:
    """What a test pairs: seeds, as many as are given or needed, or repeats of the whole."""
    replicate, tune = parsed.form.replicate, parsed.form.tune
    repeats = tune.repeats if tune else 1
    if 1 < repeats < MIN_REPEATS:
        message = (
            f"must be 1, or {MIN_REPEATS} or more to be tested, but got repeats={repeats}. "
            "Write one of these."
        )
        yield parsed.document.at_value(("tune", "repeats"), message, "repeats")
    stages = replicate.seeds if replicate else None
    if isinstance(stages, UntilForm) and not parsed.is_invalid(("replicate", "seeds")):
        yield from _stages(parsed, stages, repeats)


def _stages(parsed: Parsed, stages: UntilForm, repeats: int) -> Iterator[Problem]:
    path: Path = ("replicate", "seeds")
    for name, example in (("until", "until: 0.005"), ("at_most", "at_most: 40")):
        if name not in stages.model_fields_set and not parsed.is_invalid((*path, name)):
            message = f"must be given, but is missing. Add {example}."
            yield parsed.document.at_key((*path, name), message, "missing-field")
    if stages.at_most is not None and stages.at_most < stages.first:
        message = (
            f"must be at least first = {stages.first}, but got at_most={stages.at_most}. Raise it."
        )
        yield parsed.document.at_value((*path, "at_most"), message, "seed-stages")
    if repeats > 1:
        message = (
            "must be a number where the pairs are repeats, "
            f"but got a rule with repeats={repeats}. Write seeds: 5."
        )
        yield parsed.document.at_key(path, message, "seed-stages")


def _temperatures(parsed: Parsed) -> Iterator[Problem]:
    """One of ``temperature`` and ``temperatures``, and none of these twice."""
    path: Path = ("measure", "samples", "temperatures")
    if not parsed.has("measure", "samples", "temperatures") or parsed.is_invalid(path):
        return
    values = parsed.document.data["measure"]["samples"]["temperatures"]
    if parsed.has("measure", "samples", "temperature"):
        message = "must stand without temperature, but got both. Move its value into the list."
        yield parsed.document.at_key(path, message, "temperatures")
    for i, value in enumerate(values):
        if value in values[:i]:
            message = f"must be distinct, but got {shown(value)} again. Remove it."
            yield parsed.document.at_value((*path, i), message, "temperatures")


def _with_unread_cell(arm: ArmDraft) -> ArmDraft:
    """Returns an arm whose cell no rule asks for, unless the cell is a shipped one."""
    is_shipped = arm.value("cell") in registry.shipped_names()
    return arm if is_shipped else replace(arm, invalid=arm.invalid | {"cell"})


def _cell_files(parsed: Parsed, folder: FilePath) -> Iterator[Problem]:
    for i, name in enumerate(parsed.form.cells or ()):
        try:
            registry.load_file(folder / name)
        except registry.InvalidCell as error:
            for line in str(error).splitlines():
                message = f"must be a file of cells, but got {name}: {line}"
                yield parsed.document.at_value(("cells", i), message, "cell-file")
