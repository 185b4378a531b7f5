"""The type of every field of the settings as a study file writes it, from the table of settings."""

import dataclasses
import types
import typing
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from harness.data.corpora import CORPORA
from harness.data.sources import SOURCES
from harness.settings import MOST_RUNS, MOST_UPDATES, Budget, Lines, Options, Paths, Settings

FIELDS: dict[str, dataclasses.Field[Any]] = {
    field.name: field for field in dataclasses.fields(Settings)
}
COMPARABLE = (
    "cell",
    "corpus",
    "task",
    "options",
    "num_sequences",
    "num_held_out",
    "test_lengths",
    "path",
    "paths",
    "token",
    "min_count",
    "max_vocabulary",
    "lines",
    "split",
    "budget",
    "evaluations",
    "evaluation_batch_size",
    "early_stopping_patience",
)
"""Never searched: a cell is an arm, and trials that differ in the others are not measured alike."""
_HINTS = typing.get_type_hints(Settings)
TUNABLE = tuple(name for name in FIELDS if name not in COMPARABLE)


class Block(BaseModel):
    """A mapping of the file: no other names than its own, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


def required(*names: str) -> ConfigDict:
    """What the schema requires. The reader asks for them itself, after all else has been read."""
    return ConfigDict(json_schema_extra={"required": list(names)})


def describe(doc: str, unit: str = "", default: Any = None, **rules: Any) -> Any:
    """Returns a field with what the schema and the table of fields say of it."""
    return Field(
        default, description=doc, json_schema_extra={"unit": unit} if unit else None, **rules
    )


Finite = Annotated[float, Field(allow_inf_nan=False)]


def as_none(value: Any) -> Any:
    """Returns None for the word none."""
    return None if value == "none" else value


class BudgetForm(Block):
    """How long a run trains: exactly one of the four."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})
    updates: int = describe("optimiser steps", "updates", ge=1, le=MOST_UPDATES)
    tokens: int = describe("tokens read", "tokens", ge=1)
    epochs: int = describe("passes over the training text", "epochs", ge=1)
    seconds: Finite = describe(
        "converted to updates by measuring each arm alone, once", "seconds", gt=0
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "BudgetForm":
        if len(self.model_fields_set) != 1:
            got = " and ".join(sorted(self.model_fields_set)) or "none"
            rule = "must be exactly one of updates, tokens, epochs and seconds"
            raise PydanticCustomError("rule", f"{rule}, but got {{got}}. Keep one.", {"got": got})
        return self


class EachForm(Block):
    """Evaluation at the end of every epoch."""

    model_config = required("each")
    each: Literal["epoch"] = describe("evaluate after each epoch", default="epoch")


class PathsForm(Block):
    """The files of a text that comes in three."""

    model_config = required("train", "validation", "test")
    train: str = describe("the training text", min_length=1)
    validation: str = describe("the validation text", min_length=1)
    test: str = describe("the test text", min_length=1)

    @model_validator(mode="after")
    def _all_three(self) -> "PathsForm":
        missing = [name for name in PathsForm.model_fields if name not in self.model_fields_set]
        if missing:
            rule = "must name train, validation and test, but got none of {missing}. Add {remedy}."
            rules = {
                "missing": " and ".join(missing),
                "remedy": ", ".join(f"{name}: FILE" for name in missing),
            }
            raise PydanticCustomError("text_files", rule, rules)
        return self


class LinesForm(Block):
    """How the lines of a text are read."""

    model_config = required("end")
    end: str = describe("what stands for a line's end", default="<eos>", pattern=r"^\S+$")


def _multiples(values: list[int]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        rule = "must be multiples that differ, but got test_lengths={got}. Keep one of each."
        raise PydanticCustomError("multiples", rule, {"got": values})
    return tuple(values)


def _option(value: Any) -> Any:
    """Returns an option; what is none is one fault, and not one for each kind that it may be."""
    if not isinstance(value, int | float | str):
        raise PydanticCustomError("option", "must be a single value")
    return value


def _paths(form: PathsForm) -> Paths:
    return Paths(form.train, form.validation, form.test)


def _budget(form: BudgetForm) -> Budget:
    return Budget(**{name: getattr(form, name) for name in form.model_fields_set})


_FORMS: dict[str, Any] = {
    "budget": Annotated[BudgetForm, AfterValidator(_budget)],
    "evaluations": Annotated[
        Annotated[int, Field(ge=1, le=MOST_RUNS), Tag("number")]
        | Annotated[EachForm, AfterValidator(lambda form: form.each), Tag("each")],
        Discriminator(lambda value: "each" if isinstance(value, dict) else "number"),
    ],
    "corpus": Literal[(*CORPORA, *SOURCES)],
    "options": Annotated[
        dict[str, Annotated[int | float | bool | str, BeforeValidator(_option)]],
        AfterValidator(Options.of),
    ],
    "test_lengths": Annotated[
        list[Annotated[int, Field(**FIELDS["test_lengths"].metadata["bounds"])]],
        Field(min_length=1),
        AfterValidator(_multiples),
    ],
    "paths": Annotated[PathsForm, AfterValidator(_paths)],
    "lines": Annotated[
        Annotated[LinesForm, AfterValidator(lambda form: Lines(form.end)), Tag("end")]
        | Annotated[Literal["sequences"], Tag("sequences")],
        Discriminator(lambda value: "end" if isinstance(value, dict) else "sequences"),
    ],
}
"""The fields that are written otherwise than Settings keeps them."""


def hint_of(name: str) -> tuple[Any, bool]:
    """Returns the type of a field's values, and whether it may be none instead."""
    hint = _HINTS[name]
    kinds = typing.get_args(hint)
    return (kinds[0], True) if types.NoneType in kinds else (hint, False)


def base_type(name: str) -> Any:
    """Returns the annotated type of a field's values other than none."""
    if name in _FORMS:
        return _FORMS[name]
    hint, _ = hint_of(name)
    rules = dict(FIELDS[name].metadata["bounds"])
    if hint is str:
        rules["min_length"] = 1
    if hint is float:
        rules["allow_inf_nan"] = False
    return Annotated[hint, Field(**rules)] if rules else hint


def value_type(name: str) -> Any:
    """Returns the annotated type of a field's values."""
    return (
        Annotated[base_type(name) | None, BeforeValidator(as_none)]
        if hint_of(name)[1]
        else base_type(name)
    )


def is_number(name: str) -> bool:
    """Returns whether a range can be searched for the field."""
    return hint_of(name)[0] in (int, float)


def default_of(name: str) -> Any:
    """Returns the default of a field of Settings as a file writes it; None where there is none."""
    default = FIELDS[name].default
    if default is dataclasses.MISSING:
        return None
    return written(default)


def written(value: Any) -> Any:
    """Returns a value of Settings as a study file writes it."""
    if isinstance(value, Budget):
        return {k: v for k, v in dataclasses.asdict(value).items() if v is not None}
    if isinstance(value, Options):
        return value.to_dict()
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Paths | Lines):
        return dataclasses.asdict(value)
    return "none" if value is None else {"each": "epoch"} if value == "epoch" else value


def settings_field(name: str, annotation: Any) -> tuple[Any, Any]:
    """Returns a field of the settings as pydantic's create_model takes it."""
    metadata = FIELDS[name].metadata
    return annotation, describe(metadata["doc"], metadata["unit"], default=default_of(name))
