"""The documentation's table of every field of a study file, from the same models as its schema."""

from typing import Any

from harness.settings.values import shown
from harness.study.blocks import TUNE_NAMES
from harness.study.fields import FIELDS, TUNABLE
from harness.study.schema import model_schema

_TYPES = {"integer": "whole number", "string": "text", "boolean": "true or false", "null": "none"}
_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
_TOP = ("study", "version", "question", "source", "cells", "across")


def field_table() -> str:
    """Returns a Markdown table: name, blocks, allowed values, unit, default, meaning."""
    schema = model_schema()
    models = schema["$defs"]
    lines = [
        "| field | stands in | value | unit | default | meaning |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(name, "top level", schema, name in schema["required"]) for name in _TOP]
    for name in FIELDS:
        blocks = "fix, cross, arms, across, tune" if name in TUNABLE else "fix, cross, arms, across"
        lines.append(_row(name, blocks, models["Fields"], name in ("cell", "corpus")))
    for block, model in _BLOCKS:
        own = {"Tune": TUNE_NAMES, "Condition": ("tune",), "Cross": ("exclude",)}
        names = own.get(model, models[model]["properties"])
        lines += [
            _row(name, block, models[model], name in models[model].get("required", ()))
            for name in names
        ]
    return "\n".join(lines) + "\n"


# A range is shown by that of a field without bounds: the field's own bounds hold for low and high.
_BLOCKS = (
    ("budget", "BudgetForm"),
    ("compare", "CrossForm"),
    ("compare.cross", "Cross"),
    ("compare", "ArmsForm"),
    ("tune", "Tune"),
    ("tune.FIELD", "forget_bias_range"),
    ("tune.FIELD", "forget_bias_choices"),
    ("across.CONDITION", "Condition"),
    ("replicate", "ReplicateForm"),
    ("replicate.seeds", "UntilForm"),
    ("measure", "MeasureForm"),
    ("measure.samples", "SamplesForm"),
    ("measure.runtime", "RuntimeForm"),
)


def _row(name: str, block: str, model: dict[str, Any], is_required: bool) -> str:
    field = model["properties"][name]
    default = "required" if is_required else _default(field.get("default"))
    meaning = field["description"].replace("<", "\\<")  # <unk> is no element of HTML
    return (
        f"| `{name}` | {block} | {_kind(field)} | {field.get('unit', '')} | {default} | {meaning} |"
    )


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_default(v)}" for k, v in value.items()) + "}"
    return shown(value).strip("'")


def _kind(field: dict[str, Any]) -> str:
    """The allowed values of a property in words."""
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    branches = field.get("anyOf") or field.get("oneOf")
    if branches:
        return " or ".join(_kind(branch) for branch in branches)
    if "$ref" in field:
        return "`{each: epoch}`" if field["$ref"].endswith("EachForm") else "mapping"
    if field["type"] == "array":
        return "list" if "anyOf" in field["items"] else f"list of {_kind(field['items'])}"
    if field["type"] == "object":
        return "mapping"
    bounds = " and ".join(
        f"{sign} {field[bound]:g}" for bound, sign in _BOUNDS.items() if bound in field
    )
    return f"{_TYPES.get(field['type'], field['type'])} {bounds}".strip()
