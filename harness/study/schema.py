"""The schema of a study file, for editors and for its reference."""

from typing import Any

from harness.study.fields import (
    FIELDS,
    TUNABLE,
)
from harness.study.form import form_of

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def model_schema() -> dict[str, Any]:
    """Returns pydantic's schema of a study file with all settings."""
    return form_of(tuple(FIELDS), TUNABLE).model_json_schema()


def json_schema() -> dict[str, Any]:
    """Returns the JSON schema of a study file (draft 2020-12), for editors."""
    schema = _tidy(model_schema())
    return {"$schema": SCHEMA_DIALECT, "title": "A study of recurrent cells", **schema}


def _tidy(node: Any) -> Any:
    """Drops generated titles and defaults that stand for "left out".

    What is written none in a file is so in the schema, and units stand in words.
    """
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node == {"type": "null"}:
        return {"enum": ["none", None]}
    kept = {k: _tidy(v) for k, v in node.items() if k != "title" and (k, v) != ("default", None)}
    unit = kept.pop("unit", None)
    if unit:
        kept["description"] = f"{kept['description']} ({unit})"
    return kept
