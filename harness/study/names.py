"""The names that may stand in each block of a study file, and what an unknown one may mean."""

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel

from cells.spelling import nearest
from harness import documents
from harness.settings.values import shown
from harness.study.blocks import (
    TUNE_NAMES,
    ConditionBase,
    FormBase,
    MeasureForm,
    ReplicateForm,
    RuntimeForm,
    SamplesForm,
    TuneBase,
    UntilForm,
)
from harness.study.document import Path, dotted
from harness.study.fields import (
    COMPARABLE,
    FIELDS,
    TUNABLE,
    BudgetForm,
    EachForm,
    LinesForm,
    PathsForm,
    hint_of,
    is_number,
)

FOREIGN = {
    "lr": "learning_rate",
    "eta": "learning_rate",
    "step_size": "learning_rate",
    "hidden": "hidden_size",
    "hidden_dim": "hidden_size",
    "hidden_units": "hidden_size",
    "num_hiddens": "hidden_size",
    "num_units": "hidden_size",
    "units": "hidden_size",
    "width": "hidden_size",
    "bptt": "bptt_length",
    "num_steps": "bptt_length",
    "seq_len": "bptt_length",
    "sequence_length": "bptt_length",
    "batch": "batch_size",
    "layers": "num_layers",
    "n_layers": "num_layers",
    "depth": "num_layers",
    "params": "num_parameters",
    "flops": "flops_per_token",
    "embed": "embedding_size",
    "embedding_dim": "embedding_size",
    "bias": "biases",
    "init": "initialization",
    "std": "initial_scale",
    "clip": "clip_norm",
    "grad_clip": "clip_norm",
    "max_norm": "clip_norm",
    "clipvalue": "clip_value",
    "dropoute": "embedding_dropout",
    "dropouti": "lookup_dropout",
    "wdrop": "weight_dropout",
    "alpha": "activation_regularization",
    "beta": "temporal_activation_regularization",
    "patience": "early_stopping_patience",
    "early_stopping": "early_stopping_patience",
    "nonmono": "nonmonotone_interval",
    "clip_grad_value": "clip_value",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "optim": "optimizer",
    "scheduler": "schedule",
    "warmup": "warmup_updates",
    "dataset": "corpus",
    "data": "corpus",
    "model": "cell",
    "dtype": "precision",
    "workers": "threads",
    "eval_every": "evaluations",
    "num_trials": "trials",
    "n_trials": "trials",
    "num_seeds": "seeds",
    "repeats": "seeds",
    "min": "low",
    "max": "high",
    "values": "choices",
    "options": "choices",
    "name": "study",
    "description": "question",
    "arms": "compare",
    "search": "tune",
    "fixed": "fix",
}
"""Names that other tools use -> ours."""
_BUDGETS = {"updates": "updates", "tokens": "tokens", "epochs": "epochs", "seconds": "seconds"} | {
    "steps": "updates",
    "max_steps": "updates",
    "iterations": "updates",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
}


def names_at(block: Path) -> list[str]:
    """Returns the names that may stand in the block at a path."""
    match tuple(part for part in block if isinstance(part, str)):
        case ("tune", name) | ("across", _, "tune", name) if name in TUNABLE:
            return ["low", "high", "log", "step", "choices"] if is_number(name) else ["choices"]
        case ("compare",):
            return ["cross", "arms", "baseline"]
        case names:
            return list(_fields_at(names) or ())


def doc_at(path: Path) -> str:
    """Returns the description of the innermost field that a path names; empty without one."""
    field = _field_at(path)
    return field.doc if field else ""


def may_be_none(path: Path) -> bool:
    """Returns whether the value at a path may be none."""
    field = _field_at(path)
    return field is not None and field.may_be_none


class _Field(NamedTuple):
    """What is known of a field of a block without a model of the block."""

    doc: str
    may_be_none: bool = False


def _of_model(model: type[BaseModel]) -> dict[str, _Field]:
    return {
        name: _Field(field.description or "", type(None) in get_args(field.annotation))
        for name, field in model.model_fields.items()
    }


_SETTINGS = {
    name: _Field(field.metadata["doc"], hint_of(name)[1]) for name, field in FIELDS.items()
}
_CROSSED = {name: _Field(field.doc) for name, field in _SETTINGS.items()}
_SEARCHED = {name: _CROSSED[name] for name in TUNABLE}
_BLOCKS: dict[tuple[str, ...], type[BaseModel]] = {
    (): FormBase,
    ("replicate",): ReplicateForm,
    ("replicate", "seeds"): UntilForm,
    ("measure",): MeasureForm,
    ("measure", "samples"): SamplesForm,
    ("measure", "runtime"): RuntimeForm,
}


def _fields_at(block: tuple[str, ...]) -> Mapping[str, _Field] | None:
    match block:
        case (*_, "budget"):
            return _of_model(BudgetForm)
        case (*_, "evaluations"):
            return _of_model(EachForm)
        case (*_, "lines"):
            return _of_model(LinesForm)
        case (*_, "paths"):
            return _of_model(PathsForm)
        case ("across", _):
            return _SETTINGS | _of_model(ConditionBase)
        case ("across", _, "tune"):
            return _SEARCHED
        case ("fix",) | ("compare", "baseline") | ("compare", "arms", _):
            return _SETTINGS
        case ("compare", "cross"):
            return _CROSSED
        case ("tune",):
            return _of_model(TuneBase) | _SEARCHED
    return _of_model(_BLOCKS[block]) if block in _BLOCKS else None


def _field_at(path: Path) -> _Field | None:
    names = tuple(part for part in path if isinstance(part, str))
    for length in range(len(names) - 1, -1, -1):
        fields = _fields_at(names[:length]) or {}
        if names[length] in fields:
            return fields[names[length]]
    return None


def near(block: Path, name: str) -> str | None:
    """Returns the field of a block that ``name`` most likely stands for."""
    allowed, plain = names_at(block), name.lower()
    if plain in _BUDGETS and "budget" in allowed:
        return "budget"
    for names in (FOREIGN, _BUDGETS):
        if names.get(plain) in allowed:
            return names[plain]
    return next(iter(nearest(name, allowed, cutoff=0.7)), None)


def unknown_name(block: Path, name: str, value: Any) -> str:
    """Returns the message for a name that must not stand in a block."""
    got = f"{name}={shown(value)}"
    if block == ("tune",) and name in COMPARABLE:
        why = (
            "an arm is a cell"
            if name == "cell"
            else "trials that differ in it are not measured alike"
        )
        return f"must not be searched, since {why}, but got {got}. Move it to fix, or compare it."
    if block == ("compare",) and name == "cross":
        return "must stand without arms, but got both. Remove one of the two."
    meant = near(block, name)
    if meant == "budget" and name.lower() in _BUDGETS:
        number = value if isinstance(value, int | float) else "NUMBER"
        remedy = f"Write budget: {{{_BUDGETS[name.lower()]}: {number}}}."
    elif meant:
        remedy = f"Did you mean {meant}?"
    else:
        home = _home(name)
        allowed = names_at(block)
        listed = (
            f"Its fields: {', '.join(allowed)}."
            if len(allowed) <= 12
            else f"{documents.place('docs/study.md')} lists all fields."
        )
        remedy = f"Move it to {home}." if home and home != dotted(block) else listed
    return f"must be a field of {dotted(block) if block else 'a study'}, but got {got}. {remedy}"


def _home(name: str) -> str | None:
    """The block in which ``name`` may stand."""
    if name in TUNE_NAMES:
        return "tune"
    if name in FIELDS:
        return "fix"
    for block in ("replicate", "measure", "compare"):
        if name in names_at((block,)):
            return block
    return "the top level" if name in FormBase.model_fields else None
