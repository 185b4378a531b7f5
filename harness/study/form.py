"""The form of a study file: pydantic models made from the table of settings.

A file names few of the settings, and pydantic takes its time over each. So the models of a file
are built for the settings that it names (:func:`form_of`); those of the schema have all of them.
"""

import functools
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, create_model
from pydantic_core import PydanticCustomError

from harness.study.blocks import (
    ARM_NAME,
    CONDITION_NAME,
    ArmsBase,
    ConditionBase,
    CrossBase,
    FormBase,
    TuneBase,
)
from harness.study.fields import (
    FIELDS,
    Block,
    Finite,
    base_type,
    describe,
    hint_of,
    is_number,
    settings_field,
    value_type,
)


@functools.lru_cache(maxsize=64)
def form_of(named: tuple[str, ...], searched: tuple[str, ...]) -> type[FormBase]:
    """Returns the model of a study file.

    Args:
        named: The settings that the file may give, in the order of ``FIELDS``. Any other is refused
            as an unknown name is.
        searched: Those that `tune` may search, likewise.
    """
    fields = _model(
        "Fields", "Fields of the settings.", {n: settings_field(n, value_type(n)) for n in named}
    )
    lists = {n: (_list(value_type(n)), describe(*_doc_and_unit(n))) for n in named}
    domains = {n: (_domain(n), describe(FIELDS[n].metadata["doc"])) for n in searched}
    tune_doc = (
        "How every arm is searched, with one budget for all; "
        "the fields beside these are what is searched."
    )
    condition_doc = (
        "What the comparison is repeated under: "
        "fields that override fix, ranges that override those of tune."
    )
    lists["exclude"] = (_list(fields), describe("combinations that are no arms"))
    cross = _model("Cross", "The arms are the product of these lists.", lists)
    tune = _model("Tune", tune_doc, domains, TuneBase)
    condition_tune = _model("ConditionTune", "Ranges of one condition.", domains)
    condition = _model(
        "Condition", condition_doc, {"tune": _typed(ConditionBase, "tune", condition_tune)}, fields
    )
    cross_form = _typed_model("CrossForm", CrossBase, {"cross": cross, "baseline": fields})
    arms_form = _typed_model("ArmsForm", ArmsBase, {"arms": _by_name(ARM_NAME, fields)})
    compare: Any = Annotated[
        Annotated[cross_form, Tag("CrossForm")] | Annotated[arms_form, Tag("ArmsForm")],
        Discriminator(_compare_tag),
    ]
    types = {
        "compare": compare,
        "across": _by_name(CONDITION_NAME, condition),
        "tune": tune,
        "fix": fields,
    }
    form: type[FormBase] = _typed_model("Form", FormBase, types)
    return form


def _model(name: str, doc: str, fields: dict[str, Any], base: type[BaseModel] = Block) -> Any:
    return create_model(name, __base__=base, __doc__=doc, **fields)


def _typed_model(name: str, base: type[BaseModel], types: dict[str, Any]) -> Any:
    """The model of a base's fields, in its order, some of which have a type of their own now."""
    fields = {field: _typed(base, field, annotation) for field, annotation in types.items()}
    return _model(name, base.__doc__ or "", fields, base)


def _typed(base: type[BaseModel], name: str, annotation: Any) -> tuple[Any, Any]:
    return annotation, describe(base.model_fields[name].description or "")


def _doc_and_unit(name: str) -> tuple[str, str]:
    metadata = FIELDS[name].metadata
    return metadata["doc"], metadata["unit"]


def _by_name(pattern: str, value: Any) -> Any:
    mapping: Any = dict
    return mapping[Annotated[str, Field(pattern=pattern, max_length=100)], value]


def _list(value: Any) -> Any:
    return Annotated[list[value], Field(min_length=1)]


def _domain(name: str) -> Any:
    """The type of what a field is searched over."""
    if not is_number(name):
        return Annotated[_choices(name), BeforeValidator(_only_choices)]
    range_of_values: Any = Annotated[_range(name), Tag("Range")]
    choices: Any = Annotated[_choices(name), Tag("Choices")]
    return Annotated[range_of_values | choices, Discriminator(_domain_tag)]


_EDGE_DOC = "accept: a best value at the end of what was tried does not spoil the comparison"


def _range(name: str) -> Any:
    bound: Any = base_type(name)
    distance = (
        Annotated[int, Field(ge=1)] if hint_of(name)[0] is int else Annotated[Finite, Field(gt=0)]
    )
    fields: dict[str, Any] = {
        "low": (bound, Field(description="smallest value, included")),
        "high": (bound, Field(description="largest value, included")),
        "log": (bool, describe("draw from the logarithm", default=False)),
        "step": (distance, describe("distance of neighbouring values; not with log")),
        "widen": (
            Annotated[list[bound], Field(min_length=2, max_length=2)],
            describe(
                "how far the range may grow where the best value lies at its end: [LOW, HIGH]"
            ),
        ),
        "edge": (Literal["accept"], describe(_EDGE_DOC)),
    }
    return create_model(f"{name}_range", __base__=Block, **fields)


def _choices(name: str) -> Any:
    fields: dict[str, Any] = {
        "choices": (_list(value_type(name)), Field(description="the values to choose from")),
        "edge": (Literal["accept"], describe(_EDGE_DOC)),
    }
    return create_model(f"{name}_choices", __base__=Block, **fields)


def _domain_tag(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    return "Choices" if "choices" in value else "Range"


def _only_choices(value: Any) -> Any:
    if _domain_tag(value) == "Choices":
        return value
    raise PydanticCustomError("choices_only", "must be choices")


def _compare_tag(value: Any) -> str:
    if not isinstance(value, dict) or "arms" in value:
        return "ArmsForm"
    return (
        "CrossForm"
        if "cross" in value or not isinstance(value.get("baseline"), str)
        else "ArmsForm"
    )
