"""The arms of a study file: what each says, and where it says it."""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cells.registry import PRESETS
from harness.settings import Budget, Options, Settings
from harness.settings.values import shown
from harness.study.blocks import ArmsBase, CrossBase
from harness.study.document import Path, Problem
from harness.study.fields import FIELDS
from harness.study.parse import Parsed

MAX_ARMS = 256


@dataclass(frozen=True)
class ArmDraft:
    """An arm before it is known to be right.

    Attributes:
        name: The name that the file gives, or that the crossed values make.
        path: Where the arm stands.
        values: The settings that the file gives the arm, in ``fix`` or in the arm itself.
        paths: Where each of ``values`` stands.
        given: The fields that the arm itself gives.
        invalid: The fields whose values were refused. A rule that needs one skips the arm.
        preset: The name of a preset that is written as the arm's cell, if there is one. ``values``
            then hold what the name stands for.
    """

    name: str
    path: Path
    values: dict[str, Any]
    paths: dict[str, Path]
    given: frozenset[str]
    invalid: frozenset[str]
    preset: str | None = None

    def value(self, name: str) -> Any:
        """Returns a field's value in this arm, or its default; None where there is neither."""
        default = FIELDS[name].default
        return self.values.get(name, default if name not in ("cell", "corpus") else None)

    def settings(self) -> Settings:
        """Returns the arm's settings, defaults filled in."""
        return Settings(**self.values)


def explicit_fields(form: Any) -> dict[str, Any]:
    """Returns the fields that a block of the file gives, without defaults; none of a missing block.

    Their order is that of the model, which hashing does not change.
    """
    names = () if form is None else type(form).model_fields
    return {name: getattr(form, name) for name in names if name in form.model_fields_set}


def crossed(parsed: Parsed) -> dict[str, list[Any]]:
    """Returns the crossed fields with their values, in file order; none where arms have names."""
    compare = parsed.form.compare
    if not isinstance(compare, CrossBase):
        return {}
    values = explicit_fields(compare.cross)
    file_order = parsed.document.data["compare"]["cross"] if values else ()
    return {name: values[name] for name in file_order if name in values and name in FIELDS}


def excluded(parsed: Parsed) -> list[dict[str, Any]]:
    """Returns the combinations of crossed values that are no arms, in file order."""
    compare = parsed.form.compare
    cross = compare.cross if isinstance(compare, CrossBase) else None
    return [explicit_fields(fields) for fields in explicit_fields(cross).get("exclude", ())]


def _is_excluded(values: dict[str, Any], combinations: list[dict[str, Any]]) -> bool:
    return any(
        all(name in values and values[name] == value for name, value in combination.items())
        for combination in combinations
    )


def arm_drafts(parsed: Parsed) -> tuple[list[ArmDraft], list[Problem]]:
    """Returns the arms in file order, and what is wrong with their number."""
    compare = parsed.form.compare
    if isinstance(compare, ArmsBase):
        arms = (compare.arms or {}).items()
        return [_named(parsed, name, explicit_fields(fields)) for name, fields in arms], []
    if not isinstance(compare, CrossBase):
        return [], []
    lists = crossed(parsed)
    count = math.prod(len(values) for values in lists.values())
    if count > MAX_ARMS:
        message = f"must make at most {MAX_ARMS} arms, but got arms={count}. Cross fewer values."
        return [], [parsed.document.at_key(("compare", "cross"), message, "number-of-arms")]
    return list(_product(parsed, lists)), []


def _named(parsed: Parsed, name: str, values: dict[str, Any]) -> ArmDraft:
    path: Path = ("compare", "arms", name)
    return _draft(parsed, name, path, values, {field: (*path, field) for field in values}, path)


def _product(parsed: Parsed, lists: dict[str, list[Any]]) -> Iterator[ArmDraft]:
    cross: Path = ("compare", "cross")
    combinations = excluded(parsed)
    for indices in itertools.product(*(range(len(values)) for values in lists.values())):
        values = {name: lists[name][i] for name, i in zip(lists, indices, strict=True)}
        if _is_excluded(values, combinations):
            continue
        paths = {name: (*cross, name, i) for name, i in zip(lists, indices, strict=True)}
        path = next(iter(paths.values())) if len(paths) == 1 else cross
        yield _draft(parsed, _cross_name(values), path, values, paths, cross)


def _draft(
    parsed: Parsed,
    name: str,
    path: Path,
    arm_values: dict[str, Any],
    arm_paths: dict[str, Path],
    block: Path,
) -> ArmDraft:
    """The draft of an arm with the values of ``fix``, and with those that its preset implies."""
    fixed = explicit_fields(parsed.form.fix)
    given = frozenset(arm_values)
    invalid = frozenset(
        field
        for field in FIELDS
        if parsed.is_invalid((*block, field))
        or parsed.is_invalid(("tune", field))
        or (field not in given and parsed.is_invalid(("fix", field)))
    )
    paths = {**{field: ("fix", field) for field in fixed}, **arm_paths}
    preset = arm_values.get("cell", fixed.get("cell"))
    if preset not in PRESETS:
        return ArmDraft(name, path, {**fixed, **arm_values}, paths, given, invalid)
    cell, implied = PRESETS[preset]
    # What a preset implies stands where its name does: an arm's takes precedence over fix.
    if "cell" in fixed and "cell" not in given:
        values = {**implied, **fixed, **arm_values}
    else:
        values = {**fixed, **implied, **arm_values}
    paths = {**dict.fromkeys(implied, paths["cell"]), **paths}
    return ArmDraft(name, path, {**values, "cell": cell}, paths, given, invalid, preset)


def _cross_name(values: dict[str, Any]) -> str:
    """``lstm`` where one field with names is crossed, else ``cell=lstm,biases=2``.

    Options have names of their own: ``head=gaussian``. The name is safe as that of a file.
    """
    if len(values) == 1 and isinstance(next(iter(values.values())), str):
        return _slug(next(iter(values.values())))
    parts: list[tuple[str, Any]] = []
    for name, value in values.items():
        parts += value.items if isinstance(value, Options) else [(name, value)]
    return ",".join(f"{name}={_slug(value)}" for name, value in parts)


def _slug(value: Any) -> str:
    if isinstance(value, Budget):
        unit, number = next((k, v) for k, v in vars(value).items() if v is not None)
        return f"{number}-{unit}"
    return re.sub(r"[^\w.+-]", "-", shown(value).strip("'"), flags=re.ASCII)
