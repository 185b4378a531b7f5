"""The arms of a study file: what each says, and where it says it."""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cells.registry import PRESETS
from harness.settings import Budget, Settings
from harness.study.fields import FIELDS
from harness.study.form import ArmsBase, CrossBase
from harness.study.parse import Parsed
from harness.study.reader import Path, Problem, shown

MAX_ARMS = 256


@dataclass(frozen=True)
class Draft:
    """An arm before it is known to be right.

    Attributes:
        name: As the file or the crossed values give it.
        path: Where the arm stands.
        values: What is said of its fields, in ``fix`` or by the arm itself.
        places: Where each of ``values`` stands.
        own: The fields that the arm itself gives.
        unknown: Fields whose values were refused: rules that need them pass the arm over.
        preset: The name of a preset that is written as its cell; ``values`` have what it stands
            for.
    """

    name: str
    path: Path
    values: dict[str, Any]
    places: dict[str, Path]
    own: frozenset[str]
    unknown: frozenset[str]
    preset: str | None = None

    def value(self, name: str) -> Any:
        """Returns what the arm says of a field, or the default; None where there is neither."""
        default = FIELDS[name].default
        return self.values.get(name, default if name not in ("cell", "corpus") else None)

    def settings(self) -> Settings:
        """Returns the arm's settings, defaults filled in."""
        return Settings(**self.values)


def said(form: Any) -> dict[str, Any]:
    """Returns what a block of the file gives, without defaults."""
    names = () if form is None else type(form).model_fields  # an order that hashing does not change
    return {name: getattr(form, name) for name in names if name in form.model_fields_set}


def crossed(parsed: Parsed) -> dict[str, list[Any]]:
    """Returns the crossed fields with their values, in file order; empty where the arms are
    named.
    """
    compare = parsed.form.compare
    if not isinstance(compare, CrossBase):
        return {}
    values = said(compare.cross)
    order = parsed.document.data["compare"]["cross"] if values else ()
    return {name: values[name] for name in order if name in values}


def drafts(parsed: Parsed) -> tuple[list[Draft], list[Problem]]:
    """Returns the arms in file order, and what is wrong with their number."""
    compare = parsed.form.compare
    if isinstance(compare, ArmsBase):
        return [
            _named(parsed, name, said(fields)) for name, fields in (compare.arms or {}).items()
        ], []
    if not isinstance(compare, CrossBase):
        return [], []
    lists = crossed(parsed)
    count = math.prod(len(values) for values in lists.values())
    if count > MAX_ARMS:
        message = f"must make at most {MAX_ARMS} arms, but got arms={count}. Cross fewer values."
        return [], [parsed.document.at_key(("compare", "cross"), message)]
    return list(_product(parsed, lists)), []


def _named(parsed: Parsed, name: str, values: dict[str, Any]) -> Draft:
    path: Path = ("compare", "arms", name)
    return _draft(parsed, name, path, values, {field: (*path, field) for field in values}, path)


def _product(parsed: Parsed, lists: dict[str, list[Any]]) -> Iterator[Draft]:
    cross: Path = ("compare", "cross")
    for indices in itertools.product(*(range(len(values)) for values in lists.values())):
        values = {name: lists[name][i] for name, i in zip(lists, indices, strict=True)}
        places = {name: (*cross, name, i) for name, i in zip(lists, indices, strict=True)}
        path = next(iter(places.values())) if len(places) == 1 else cross
        yield _draft(parsed, _cross_name(values), path, values, places, cross)


def _draft(
    parsed: Parsed, name: str, path: Path, own: dict[str, Any], places: dict[str, Path], block: Path
) -> Draft:
    fixed = said(parsed.form.fix)
    unknown = frozenset(
        field
        for field in FIELDS
        if parsed.is_damaged((*block, field))
        or parsed.is_damaged(("tune", field))
        or (field not in own and parsed.is_damaged(("fix", field)))
    )
    places = {**{f: ("fix", f) for f in fixed}, **places}
    preset = own.get("cell", fixed.get("cell"))
    if preset not in PRESETS:
        return Draft(name, path, {**fixed, **own}, places, frozenset(own), unknown)
    # What a preset implies stands where its name does: in an arm it takes precedence over fix.
    cell, implied = PRESETS[preset]
    values = {**implied, **fixed} if "cell" in fixed and "cell" not in own else {**fixed, **implied}
    places = {**dict.fromkeys(implied, places["cell"]), **places}
    return Draft(
        name, path, {**values, **own, "cell": cell}, places, frozenset(own), unknown, preset
    )


def _cross_name(values: dict[str, Any]) -> str:
    """``lstm`` where one field with names is crossed, else ``cell=lstm,biases=2``; safe as a file's
    name.
    """
    if len(values) == 1 and isinstance(next(iter(values.values())), str):
        return _slug(next(iter(values.values())))
    return ",".join(f"{name}={_slug(value)}" for name, value in values.items())


def _slug(value: Any) -> str:
    if isinstance(value, Budget):
        unit, number = next((k, v) for k, v in vars(value).items() if v is not None)
        return f"{number}-{unit}"
    return re.sub(r"[^\w.+-]", "-", shown(value).strip("'"), flags=re.ASCII)
