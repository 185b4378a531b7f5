"""Fields that mean nothing unless others have certain values."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cells import Cell, registry
from harness.data import sources
from harness.settings import LANGUAGE, Settings
from harness.settings.values import shown
from harness.study import space
from harness.study.arms import ArmDraft
from harness.study.document import Path, Problem
from harness.study.fields import FIELDS
from harness.study.model import Choices, Range
from harness.study.parse import Parsed


@dataclass(frozen=True)
class Needs:
    """What a field needs so as to act.

    Attributes:
        field: The field.
        others: The fields that decide.
        allowed: Whether the field acts, given a value of each of ``others``.
        rule: What must hold, as a message says it.
        remedy: What to write so that it holds.
    """

    field: str
    others: tuple[str, ...]
    allowed: Callable[..., bool]
    rule: str
    remedy: str


def declared(name: str | None) -> type[Cell] | None:
    """Returns a cell's declarations; None for an unknown one, which is a problem by itself."""
    try:
        return None if name is None else registry.declarations(name)
    except registry.UnknownCell:
        return None


def has_attribute(
    name: str | None, attribute: Callable[[type[Cell]], Any], *, if_unknown: bool
) -> bool:
    """Returns whether an attribute of a cell is true; ``if_unknown`` where there is none."""
    cell = declared(name)
    return if_unknown if cell is None else bool(attribute(cell))


def possible_values(arm: ArmDraft, domains: dict[str, Any], name: str) -> list[Any]:
    """Returns the values that a field can take in an arm; of a range its two ends."""
    domain = domains.get(name)
    if domain is None:
        return [arm.value(name)]
    is_list = "choices" in domain.model_fields_set
    return list(domain.choices) if is_list else [domain.low, domain.high]


def needs_of_fields(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """Yields the fields that do not act.

    A field of fix or tune must act in one arm at least; a field that an arm names, in that arm.
    """
    domains = space.domains(parsed)
    for needs in _NEEDS:
        if any(arm.invalid & {needs.field, *needs.others} for arm in arms):
            continue
        acting = [arm for arm in arms if _may_act(needs, arm, domains)]
        for arm in arms:
            is_idle = arm not in acting if needs.field in arm.given else not acting
            if is_idle and needs.field in domains:
                yield _idle(parsed, needs, ("tune", needs.field), "a range")
            elif is_idle and arm.value(needs.field) != FIELDS[needs.field].default:
                yield _idle(parsed, needs, arm.paths[needs.field], shown(arm.values[needs.field]))


def _may_act(needs: Needs, arm: ArmDraft, domains: dict[str, Any]) -> bool:
    values = (possible_values(arm, domains, other) for other in needs.others)
    return any(itertools.starmap(needs.allowed, itertools.product(*values)))


def acts(field: str, settings: Settings, space_of: Mapping[str, Range | Choices]) -> bool:
    """Returns whether a searched field acts in an arm, at one of the values searched at least."""

    def values(name: str) -> list[Any]:
        domain = space_of.get(name)
        if domain is None:
            return [getattr(settings, name)]
        return list(domain.choices) if isinstance(domain, Choices) else [domain.low, domain.high]

    return all(
        any(itertools.starmap(needs.allowed, itertools.product(*map(values, needs.others))))
        for needs in _NEEDS
        if needs.field == field
    )


def _idle(parsed: Parsed, needs: Needs, path: Path, got: str) -> Problem:
    message = (
        f"must stand with {needs.rule}, but got {needs.field}={got} without. "
        f"Remove it, or write {needs.remedy}."
    )
    return parsed.document.at_key(path, message, "idle-field")


def _on(field: str, other: str, value: str) -> Needs:
    written = f"{other}: {value}"
    return Needs(field, (other,), lambda actual: actual == value, written, written)


def _between_layers(field: str) -> Needs:
    rule = "num_layers > 1 (it acts between layers)"
    return Needs(field, ("num_layers",), lambda layers: layers > 1, rule, "num_layers: 2")


def _on_cell(
    field: str, attribute: Callable[[type[Cell]], Any], has: str, remedy: str = "cell: lstm"
) -> Needs:
    def allowed(name: str) -> bool:
        return has_attribute(name, attribute, if_unknown=True)

    return Needs(field, ("cell",), allowed, f"a cell that {has}", remedy)


def _on_vectors(field: str) -> Needs:
    return Needs(
        field,
        ("embedding_size",),
        lambda size: size is not None,
        "embedding_size (it acts on what a table looks up)",
        "embedding_size: 64",
    )


def _on_running_text(field: str) -> Needs:
    rule = "a running text (lines that are sequences come in random order)"
    return Needs(field, ("lines",), lambda lines: lines != "sequences", rule, "lines: none")


_LANGUAGE_FIELDS = (
    "paths",
    "token",
    "min_count",
    "max_vocabulary",
    "lines",
    "split",
    "windows",
    "max_offset",
    "evaluation_batch_size",
    "tied",
    "embedding_dropout",
)
"""The fields of texts, which other tasks do not have."""


_NEEDS = (
    *(_on(field, "task", LANGUAGE) for field in _LANGUAGE_FIELDS),
    Needs(
        "options",
        ("task",),
        lambda task: task != LANGUAGE,
        "a task other than language-modelling",
        "task: memory",
    ),
    Needs(
        "label_smoothing",
        ("corpus",),
        lambda corpus: corpus not in sources.PREDICTING_VALUES,
        "a corpus whose targets are tokens or classes",
        "corpus: copy",
    ),
    _on("num_sequences", "task", "memory"),
    _on("num_held_out", "task", "memory"),
    _on("test_lengths", "task", "memory"),
    _on_vectors("lookup_dropout"),
    _on_vectors("embedding_dropout"),
    Needs(
        "dropout_masks",
        ("dropout", "output_dropout", "lookup_dropout"),
        lambda *rates: any(rates),
        "dropout, output_dropout or lookup_dropout",
        "output_dropout: 0.2",
    ),
    Needs(
        "temporal_activation_regularization",
        ("bptt_length",),
        lambda length: length > 1,
        "bptt_length > 1 (it acts between time steps)",
        "bptt_length: 35",
    ),
    _between_layers("dropout"),
    Needs(
        "momentum",
        ("optimizer",),
        lambda name: name in ("sgd", "rmsprop"),
        "optimizer: sgd or rmsprop",
        "optimizer: sgd",
    ),
    Needs(
        "clip_value",
        ("clip_norm",),
        lambda norm: norm is None,
        "clip_norm: none (a gradient is clipped in one way)",
        "clip_norm: none",
    ),
    _on_running_text("windows"),
    _on_running_text("max_offset"),
    _on_running_text("evaluation_batch_size"),
    _on("min_count", "token", "word"),
    Needs(
        "max_vocabulary",
        ("token",),
        lambda token: token in ("word", "subword"),
        "token: word or subword",
        "token: word",
    ),
    _on("step_updates", "schedule", "step"),
    _on("step_first_updates", "schedule", "step"),
    _on("step_factor", "schedule", "step"),
    _on("cosine_floor", "schedule", "cosine"),
    _on("plateau_patience", "schedule", "plateau"),
    _on("plateau_factor", "schedule", "plateau"),
    _on("nonmonotone_interval", "optimizer", "asgd"),
    Needs(
        "input_dropout",
        ("num_layers", "embedding_size"),
        lambda layers, size: layers > 1 or size is not None,
        "num_layers > 1 or embedding_size (it acts on inputs that are not tokens)",
        "embedding_size: 64",
    ),
    _between_layers("residual"),
    _on_cell("forget_bias", lambda cell: cell.forget_gates, "has forget gates"),
    _on_cell("chrono_steps", lambda cell: cell.forget_gates, "has forget gates"),
    _on_cell(
        "projection_size", lambda cell: cell.projects, "projects its output", "cell: lstm-projected"
    ),
    _on_cell("state_dropout", lambda cell: cell.recurrent_products(), "has recurrent products"),
    _on_cell("weight_dropout", lambda cell: cell.recurrent_products(), "has recurrent products"),
    _on_cell("recurrent_dropout", lambda cell: cell.candidates, "has candidates"),
    _on_cell(
        "zoneout_h",
        lambda cell: "h" in cell.zoneout_states,
        "has a state h that zoneout may hold",
    ),
    _on_cell(
        "zoneout_c",
        lambda cell: "c" in cell.zoneout_states,
        "has a state c that zoneout may hold",
    ),
)
