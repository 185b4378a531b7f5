"""The form of a study file: pydantic models made from the table of settings, and the JSON schema
made from them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, create_model
from pydantic_core import PydanticCustomError

from harness.study.fields import (
    FIELDS,
    TUNABLE,
    Block,
    Finite,
    as_none,
    base_type,
    describe,
    hint_of,
    is_number,
    required,
    settings_field,
    value_type,
)

ARM_NAME = r"^[A-Za-z0-9][A-Za-z0-9_+=,-]*$"
CONDITION_NAME = r"^[A-Za-z0-9][A-Za-z0-9_+=,.-]*$"
STUDY_NAME = r"^[a-z0-9][a-z0-9-]*$"
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Objective = Literal["validation/perplexity", "train/perplexity"]
Sampler = Literal["tpe", "random", "gp", "grid"]
Pruner = Literal["median", "none"]
Models = Literal["replicates", "none"]


_Text = Annotated[str, Field(min_length=1)]


def _range(name: str) -> Any:
    distance = (
        Annotated[int, Field(ge=1)] if hint_of(name)[0] is int else Annotated[Finite, Field(gt=0)]
    )
    fields: dict[str, Any] = {
        "low": (base_type(name), Field(description="smallest value, included")),
        "high": (base_type(name), Field(description="largest value, included")),
        "log": (bool, describe("draw from the logarithm", default=False)),
        "step": (distance, describe("distance of neighbouring values; not with log")),
    }
    return create_model(f"{name}_range", __base__=Block, **fields)


def _list(value: Any) -> Any:
    return Annotated[list[value], Field(min_length=1)]


def _choices(name: str) -> Any:
    choices: Any = (_list(value_type(name)), Field(description="the values to choose from"))
    return create_model(f"{name}_choices", __base__=Block, choices=choices)


def _domain_tag(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    return "Choices" if "choices" in value else "Range"


def _only_choices(value: Any) -> Any:
    if _domain_tag(value) == "Choices":
        return value
    raise PydanticCustomError("choices_only", "must be choices")


def _domain(name: str) -> Any:
    """The type of what a field is searched over."""
    if not is_number(name):
        return Annotated[_choices(name), BeforeValidator(_only_choices)]
    a_range, choices = (
        Annotated[_range(name), Tag("Range")],
        Annotated[_choices(name), Tag("Choices")],
    )
    return Annotated[a_range | choices, Discriminator(_domain_tag)]


def _model(name: str, doc: str, fields: dict[str, Any], base: type[BaseModel] = Block) -> Any:
    return create_model(name, __base__=base, __doc__=doc, **fields)


Fields = _model(
    "Fields", "Fields of the settings.", {n: settings_field(n, value_type(n)) for n in FIELDS}
)
Cross = _model(
    "Cross",
    "The arms are the product of these lists.",
    {
        n: (_list(value_type(n)), describe(FIELDS[n].metadata["doc"], FIELDS[n].metadata["unit"]))
        for n in FIELDS
    },
)


class CrossForm(Block):
    """Arms as a cross of fields."""

    model_config = required("cross", "baseline")
    cross: Cross = describe("the compared fields, each with its values: the arms are their product")  # type: ignore[valid-type]
    baseline: Fields = describe(  # type: ignore[valid-type]
        "the arm that the others are compared with: one value of every crossed field"
    )


class ArmsForm(Block):
    """Arms by name."""

    model_config = required("arms", "baseline")
    arms: dict[Annotated[str, Field(pattern=ARM_NAME, max_length=100)], Fields] = describe(  # type: ignore[valid-type]
        "name -> the fields in which this arm differs; they override fix"
    )
    baseline: str = describe("the name of the arm that the others are compared with")
    identical_arms: bool = describe(
        "arms may be equal: a study of the bench itself (A/A)", default=False
    )


def _compare_tag(value: Any) -> str:
    if not isinstance(value, dict) or "arms" in value:
        return "ArmsForm"
    return (
        "CrossForm"
        if "cross" in value or not isinstance(value.get("baseline"), str)
        else "ArmsForm"
    )


class TuneBase(Block):
    """How every arm is searched, with one budget for all; the fields beside these are what is
    searched.
    """

    model_config = required("trials")
    trials: int = describe("settings tried for every arm", "trials", ge=1)
    batch: int = describe(
        "trials asked per round, before any of them is told", "trials", default=4, ge=1
    )
    sampler: Sampler = describe("who proposes trials", default="tpe")
    pruner: Pruner = describe("who ends bad trials early", default="median")
    search_seed: int = describe("fixes the sampler and the seeds of trials", default=0, ge=0)
    repeats: int = describe(
        "tunes and replicates so many times, with search seeds search_seed, search_seed + 1, ...: the pairs are then "
        "the repeats, not the seeds",
        "repeats",
        default=1,
        ge=1,
    )


_DOMAINS: dict[str, Any] = {n: (_domain(n), describe(FIELDS[n].metadata["doc"])) for n in TUNABLE}
Tune = _model("Tune", TuneBase.__doc__ or "", _DOMAINS, TuneBase)
TUNE_NAMES = tuple(TuneBase.model_fields)


ConditionTune = _model("ConditionTune", "Ranges of one condition.", _DOMAINS)
Condition = _model(
    "Condition",
    "What the comparison is repeated under: fields that override fix, ranges that override those of tune.",
    {
        "tune": (
            ConditionTune,
            describe("what is searched here instead; all else of tune is common to all"),
        )
    },
    Fields,
)


class UntilForm(Block):
    """Seeds are added until the intervals are narrow enough: Stein's two-stage rule."""

    model_config = required("until", "at_most")
    until: Finite = describe(
        "half the width of the 95 % interval that is wanted, a fraction of perplexity",
        "fraction",
        gt=0,
        lt=1,
    )
    at_most: int = describe("most seeds", "seeds", ge=2)
    first: int = describe(
        "seeds of the first stage, whose spread says how many are needed", "seeds", default=10, ge=3
    )


class ReplicateForm(Block):
    """Fresh seeds, common to all arms."""

    seeds: Annotated[
        Annotated[Annotated[int, Field(ge=1)], Tag("number")] | Annotated[UntilForm, Tag("stages")],
        Discriminator(lambda value: "stages" if isinstance(value, dict | UntilForm) else "number"),
    ] = describe("replicates of every arm; or {until: 0.005, at_most: 40}", "seeds", default=5)
    first_seed: int = describe("replicate j trains with first_seed + j", default=1000, ge=0)


class SamplesForm(Block):
    """Texts that every run continues at its end."""

    model_config = required("prefixes")
    prefixes: list[_Text] = describe("texts to continue")
    length: int = describe("tokens appended to each", "tokens", default=50, ge=1)
    temperature: Annotated[Annotated[Finite, Field(gt=0)] | None, BeforeValidator(as_none)] = (
        describe("of the draws; none: always the likeliest token")
    )
    every: int = describe(
        "also at every so many evaluation points; left out: at the end alone", "points", ge=1
    )


class RuntimeForm(Block):
    """The phase that measures runtime."""

    rounds: int = describe("rounds over all arms", "rounds", default=20, ge=1)
    seconds: Finite = describe("least duration of one measurement", "seconds", default=0.2, gt=0)


class MeasureForm(Block):
    """What is reported, and what counts as a difference."""

    objective: Objective = describe("what trials are judged by", default="validation/perplexity")
    margin: Finite = describe(
        "equivalence margin, a fraction of perplexity", "fraction", default=0.01, ge=0
    )
    threshold: Finite = describe(
        "largest family-wise error rate", "probability", default=0.05, gt=0, lt=0.5
    )
    target: Finite = describe(
        "the perplexity that the time to reach is told of; left out: the baseline's, and the margin",
        gt=1,
    )
    samples: SamplesForm = describe("texts that every run continues")
    models: Models = describe(
        "whose best parameters are kept, for `harness sample`", default="replicates"
    )
    runtime: Annotated[RuntimeForm | None, BeforeValidator(as_none)] = describe(
        "how runtime is measured; none: not"
    )


class Form(Block):
    """One question, asked of recurrent cells: see docs/study.md."""

    model_config = required("study", "version", "question", "compare")
    study: Annotated[str, Field(pattern=STUDY_NAME, max_length=100)] = describe(
        "the name: a-z, 0-9 and -"
    )
    version: Literal[1] = describe("of this format; defaults belong to it")
    question: _Text = describe("what the study asks")
    source: _Text = describe("where the question or the recipe comes from")
    cells: list[_Text] = describe("Python files with cells of your own, relative to this file")
    compare: Annotated[
        Annotated[CrossForm, Tag("CrossForm")] | Annotated[ArmsForm, Tag("ArmsForm")],
        Discriminator(_compare_tag),
    ] = describe("what is asked about: the arms")
    across: dict[Annotated[str, Field(pattern=CONDITION_NAME, max_length=100)], Condition] = (  # type: ignore[valid-type]
        describe(
            "condition -> what it changes: the arms are compared under each, with a verdict on each"
        )
    )
    tune: Tune = describe("what is searched for every arm alike; left out: nothing")  # type: ignore[valid-type]
    fix: Fields = describe("what the conclusion depends on")  # type: ignore[valid-type]
    replicate: ReplicateForm = describe("the seeds")
    measure: MeasureForm = describe("what is reported")


def json_schema() -> dict[str, Any]:
    """Returns the JSON schema of a study file (draft 2020-12), for editors."""
    schema = _tidy(Form.model_json_schema())
    return {"$schema": SCHEMA_DIALECT, "title": "A study of recurrent cells", **schema}


def _tidy(node: Any) -> Any:
    """Drops generated titles and defaults that stand for "left out"; writes none as a file does,
    units in words.
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
