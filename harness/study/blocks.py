"""The blocks of a study file whose fields are the same in every file."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from harness.settings import MOST_ROUNDS, MOST_RUNS, MOST_SECONDS, MOST_TOKENS
from harness.study.fields import (
    Block,
    Finite,
    as_none,
    describe,
    required,
)

ARM_NAME = r"^[A-Za-z0-9][A-Za-z0-9_+=,-]*$"
CONDITION_NAME = r"^[A-Za-z0-9][A-Za-z0-9_+=,.-]*$"
STUDY_NAME = r"^[a-z0-9][a-z0-9-]*$"

Objective = Literal[
    "validation/perplexity",
    "train/perplexity",
    "validation/accuracy",
    "validation/cross_entropy",
    "train/cross_entropy",
    "validation/mse",
    "validation/mae",
    "train/mse",
    "validation/crps",
    "train/crps",
    "validation/nll",
    "train/nll",
]
Sampler = Literal["tpe", "random", "gp", "grid"]
Pruner = Literal["median", "none"]
Models = Literal["replicates", "none"]

LEAST_THRESHOLD = 1e-6
"""Of an error rate: no design of some ten seeds reaches a smaller one."""

Count = Annotated[int, Field(ge=1, le=MOST_RUNS)]
_Text = Annotated[str, Field(min_length=1)]


class UntilForm(Block):
    """Seeds are added until the intervals are narrow enough: Stein's two-stage rule."""

    model_config = required("until", "at_most")
    until: Finite = describe(
        "half the width of the 95 % interval that is wanted, in the unit of margin",
        "fraction",
        gt=0,
        lt=1,
    )
    at_most: int = describe("most seeds", "seeds", ge=2, le=MOST_RUNS)
    first: int = describe(
        "seeds of the first stage, whose spread says how many are needed",
        "seeds",
        default=10,
        ge=3,
        le=MOST_RUNS,
    )


class ReplicateForm(Block):
    """Fresh seeds, common to all arms."""

    seeds: Annotated[
        Annotated[Count, Tag("number")] | Annotated[UntilForm, Tag("stages")],
        Discriminator(lambda value: "stages" if isinstance(value, dict | UntilForm) else "number"),
    ] = describe("replicates of every arm; or {until: 0.005, at_most: 40}", "seeds", default=5)
    first_seed: int = describe("replicate j trains with first_seed + j", default=1000, ge=0)


class SamplesForm(Block):
    """Texts that every run continues at its end."""

    model_config = required("prefixes")
    prefixes: list[_Text] = describe("texts to continue")
    length: int = describe("tokens appended to each", "tokens", default=50, ge=1, le=MOST_TOKENS)
    temperature: Annotated[Annotated[Finite, Field(gt=0)] | None, BeforeValidator(as_none)] = (
        describe("of the draws; none: always the likeliest token")
    )
    temperatures: list[Annotated[Finite, Field(ge=0)]] = describe(
        "instead of temperature: each text at all of these; 0: always the likeliest token",
        min_length=1,
    )
    every: int = describe(
        "also at every so many evaluation points; left out: at the end alone",
        "points",
        ge=1,
        le=MOST_RUNS,
    )


class RuntimeForm(Block):
    """The phase that measures runtime."""

    rounds: int = describe("rounds over all arms", "rounds", default=20, ge=1, le=MOST_ROUNDS)
    seconds: Finite = describe(
        "least duration of one measurement", "seconds", default=0.2, gt=0, le=MOST_SECONDS
    )


class MeasureForm(Block):
    """What is reported, and what counts as a difference."""

    objective: Objective = describe(
        "what trials are judged by; left out: what the task is judged by",
        default="validation/perplexity",
    )
    margin: Finite = describe(
        "equivalence margin, a fraction of a perplexity or of an error; of an accuracy, a "
        "cross-entropy or a likelihood in its own unit",
        "fraction",
        default=0.01,
        ge=0,
    )
    threshold: Finite = describe(
        "largest family-wise error rate", "probability", default=0.05, ge=LEAST_THRESHOLD, lt=0.5
    )
    target: Finite = describe(
        "the number, of what trials are judged by, that the time to reach is told of, with a "
        "log-rank test; left out: the baseline's, and the margin",
    )
    samples: Annotated[SamplesForm | None, BeforeValidator(as_none)] = describe(
        "texts that every run continues; none: no run does"
    )
    states: bool = describe(
        "the size and saturation of every state, and the gradient by time step, of each replicate",
        default=False,
    )
    models: Models = describe(
        "whose best parameters are kept, for `harness sample`", default="replicates"
    )
    runtime: Annotated[RuntimeForm | None, BeforeValidator(as_none)] = describe(
        "how runtime is measured; none: not"
    )


# The face of the blocks that hold settings: ``form_of`` gives every `Any` here its type.


class CrossBase(Block):
    """Arms as a cross of fields."""

    model_config = required("cross", "baseline")
    cross: Any = describe("the compared fields, each with its values: the arms are their product")
    baseline: Any = describe(
        "the arm that the others are compared with: one value of every crossed field"
    )


class ArmsBase(Block):
    """Arms by name."""

    model_config = required("arms", "baseline")
    arms: Any = describe("name -> the fields in which this arm differs; they override fix")
    baseline: str = describe("the name of the arm that the others are compared with")
    identical_arms: bool | Literal["salted"] = describe(
        "arms may be equal: a study of the bench itself (A/A); "
        "salted: every arm then draws weights, order and masks of its own",
        default=False,
    )


class TuneBase(Block):
    """How every arm is searched; the settings beside these fields are what is searched."""

    model_config = required("trials")
    trials: int = describe("settings tried for every arm", "trials", ge=1, le=MOST_RUNS)
    batch: int = describe(
        "trials asked per round, before any of them is told",
        "trials",
        default=4,
        ge=1,
        le=MOST_RUNS,
    )
    sampler: Sampler = describe("who proposes trials", default="tpe")
    pruner: Pruner = describe("who ends bad trials early", default="median")
    search_seed: int = describe("fixes the sampler and the seeds of trials", default=0, ge=0)
    seeds: int = describe(
        "seeds of every trial: its objective is their mean", "seeds", default=1, ge=1, le=MOST_RUNS
    )
    finalists: int = describe(
        "the best settings that run again, with fresh seeds, before one is chosen; 1: none",
        "settings",
        default=1,
        ge=1,
        le=MOST_RUNS,
    )
    finalist_seeds: int = describe(
        "fresh seeds of every finalist", "seeds", default=5, ge=2, le=MOST_RUNS
    )
    at_most: int = describe(
        "most trials of an arm: all arms go on searching, a batch at a time, while the best value "
        "of one lies at the end of what it tried; left out: trials",
        "trials",
        ge=1,
        le=MOST_RUNS,
    )
    repeats: int = describe(
        "tunes and replicates so many times, with search seeds search_seed, search_seed + 1, ...: "
        "the pairs are then the repeats, not the seeds",
        "repeats",
        default=1,
        ge=1,
        le=MOST_RUNS,
    )


class ConditionBase(Block):
    """What one condition changes; the settings beside this field override fix."""

    tune: Any = describe("what is searched here instead; all else of tune is common to all")


class FormBase(Block):
    """One question, asked of recurrent cells: see docs/study.md."""

    model_config = required("study", "version", "question", "compare")
    study: Annotated[str, Field(pattern=STUDY_NAME, max_length=100)] = describe(
        "the name: a-z, 0-9 and -"
    )
    version: Literal[2, 1] = describe(
        "of this format; under 2 all arms share the points of their searches"
    )
    question: _Text = describe("what the study asks")
    source: _Text = describe("where the question or the recipe comes from")
    cells: list[_Text] = describe("Python files with cells of your own, relative to this file")
    compare: Any = describe("what is asked about: the arms")
    across: Any = describe(
        "condition -> what it changes: the arms are compared under each, with a verdict on each"
    )
    tune: Any = describe("what is searched for every arm alike; left out: nothing")
    fix: Any = describe("what the conclusion depends on")
    replicate: ReplicateForm = describe("the seeds")
    measure: MeasureForm = describe("what is reported")


TUNE_NAMES = tuple(TuneBase.model_fields)
"""The fields of `tune` that are no settings."""

SINCE_2 = ("seeds", "finalists", "finalist_seeds", "at_most")
"""The fields of `tune` that version 1 of the format does not have."""


def tune_names(version: int) -> tuple[str, ...]:
    """Returns the fields of `tune` that are no settings, in a version of the format."""
    return tuple(name for name in TUNE_NAMES if version >= 2 or name not in SINCE_2)
