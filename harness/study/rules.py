"""The rules of a study that concern more than one field; each yields a problem for everything that
breaks it.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from cells import Cell, registry
from harness.data import corpora
from harness.settings import PER_RUN
from harness.study import space
from harness.study.arms import Draft, crossed, drafts, said
from harness.study.fields import FIELDS
from harness.study.form import ArmsBase, UntilForm
from harness.study.parse import Parsed
from harness.study.reader import Path, Problem, dotted, shown

MIN_REPEATS = 5
"""Fewer repeats of the whole have too few degrees of freedom to be worth their cost."""
SIZES = ("hidden_size", "num_parameters", "flops_per_token")
WITHIN_THE_STEP = ("state_dropout", "recurrent_dropout", "zoneout_h", "zoneout_c", "state_clip")
"""Fields of which a cell's step is made anew."""

_REQUIRED: dict[Path, dict[str, str]] = {
    (): {
        "study": "study: NAME",
        "version": "version: 1",
        "question": "question: what the study asks",
        "compare": "compare: {cross: {cell: [lstm, gru]}, baseline: {cell: lstm}}",
    },
    ("compare",): {"baseline": "baseline: the arm that the others are compared with"},
    ("tune",): {"trials": "trials: 24"},
    ("measure", "samples"): {"prefixes": "prefixes: [time traveller]"},
}


def check(parsed: Parsed, folder: FilePath) -> tuple[list[Draft], list[Problem]]:
    """Returns the arms and everything that is wrong across fields.

    ``folder`` is where the study's own files lie.
    """
    arms, problems = drafts(parsed)
    for rule in (
        _required,
        _baseline,
        _pairs,
        space.one_place,
        space.block,
        space.ranges,
        space.grid,
    ):
        problems += rule(parsed)
    problems += _cell_files(parsed, folder)
    for arm_rule in (
        *(_number_of_arms, _distinct, _complete, _cells, _presets, _sizes),
        *(_corpora, _held_out, _native, _one_size, _seconds, _forget_bias, _meaning),
    ):
        problems += arm_rule(parsed, arms)
    return arms, list(dict.fromkeys(problems))


def across(parts: Mapping[str, tuple[Parsed, list[Draft]]]) -> Iterator[Problem]:
    """Yields what is wrong between conditions, of their forms and arms: equal ones, and different
    kinds of loss.
    """
    seen: dict[Any, str] = {}
    first_split = None
    for name, (parsed, arms) in parts.items():
        if any(arm.unknown for arm in arms):
            continue
        settings = [[(field, arm.value(field)) for field in FIELDS] for arm in arms]
        told = repr([settings, sorted(space.domains(parsed).items())])
        if told in seen:
            message = f"must differ from every other condition, but is the same as {seen[told]}. Remove one of the two."
            yield Problem(*_place_of(parsed, name), message, parsed.document.source)
        seen.setdefault(told, name)
        splits = {arm.value("split") for arm in arms}
        if first_split not in (None, splits):
            rule = "must hold out alike under all conditions, since one answer tells of one kind of perplexity"
            message = f"{rule}, but got split={' and '.join(sorted(splits))}. Ask it in a study of its own."
            yield Problem(*_place_of(parsed, name), message, parsed.document.source)
        first_split = first_split or splits


def _place_of(parsed: Parsed, condition: str) -> tuple[int, int, str]:
    path = ("across", condition)
    return (*parsed.document.keys.get(path, (0, 0)), dotted(path))


def _required(parsed: Parsed) -> Iterator[Problem]:
    for block, names in _REQUIRED.items():
        if block and (not parsed.has(*map(str, block)) or parsed.is_damaged(block)):
            continue
        for name, example in names.items():
            path = (*block, name)
            if not parsed.has(*map(str, path)) and not parsed.is_damaged(path):
                yield parsed.document.at_key(path, f"must be given, but is missing. Add {example}.")
    if (
        parsed.form.compare
        and not parsed.has("compare", "cross")
        and not parsed.has("compare", "arms")
    ):
        message = (
            "must have cross or arms, but has neither. Add cross: {cell: [lstm, gru]}, or arms."
        )
        yield parsed.document.at_key(("compare",), message)


def _baseline(parsed: Parsed) -> Iterator[Problem]:
    compare = parsed.form.compare
    path: Path = ("compare", "baseline")
    if compare is None or compare.baseline is None or parsed.is_damaged(path):
        return
    if isinstance(compare, ArmsBase):
        names = list(
            parsed.document.data["compare"].get("arms", ())
        )  # those that were refused, too
        if names and compare.baseline not in names:
            got = f"baseline={shown(compare.baseline)}"
            message = f"must be an arm ({', '.join(names)}), but got {got}. Name one of them."
            yield parsed.document.at_value(path, message)
        return
    if parsed.is_damaged(("compare", "cross")):
        return
    lists, values = crossed(parsed), said(compare.baseline)
    for name, value in values.items():
        if parsed.is_damaged(("compare", "cross", name)):
            continue
        if name not in lists:
            message = f"must name crossed fields ({', '.join(lists)}), but got {name}={shown(value)}. Remove it."
            yield parsed.document.at_key((*path, name), message)
        elif value not in lists[name]:
            among = ", ".join(_bare(v) for v in lists[name])
            message = f"must be a crossed value ({among}), but got {name}={shown(value)}. Write one of them, or cross it."
            yield parsed.document.at_value((*path, name), message)
    for name in lists:
        if name not in values:
            message = f"must name a value of every crossed field, but {name} is missing. Add {name}: {_bare(lists[name][0])}."
            yield parsed.document.at_key(path, message)


def _bare(value: Any) -> str:
    return shown(value).strip("'")


def _pairs(parsed: Parsed) -> Iterator[Problem]:
    """What a test pairs: seeds, as many as are given or needed, or repeats of the whole."""
    path: Path = ("replicate", "seeds")
    replicate, tune = parsed.form.replicate, parsed.form.tune
    stages, repeats = (replicate.seeds if replicate else None), (tune.repeats if tune else 1)  # type: ignore[attr-defined]
    if 1 < repeats < MIN_REPEATS:
        message = f"must be 1, or {MIN_REPEATS} or more to be tested, but got repeats={repeats}. Write one of these."
        yield parsed.document.at_value(("tune", "repeats"), message)
    if not isinstance(stages, UntilForm) or parsed.is_damaged(path):
        return
    for name, example in (("until", "until: 0.005"), ("at_most", "at_most: 40")):
        if name not in stages.model_fields_set and not parsed.is_damaged((*path, name)):
            yield parsed.document.at_key(
                (*path, name), f"must be given, but is missing. Add {example}."
            )
    if stages.at_most is not None and stages.at_most < stages.first:
        message = (
            f"must be at least first = {stages.first}, but got at_most={stages.at_most}. Raise it."
        )
        yield parsed.document.at_value((*path, "at_most"), message)
    if repeats > 1:
        message = f"must be a number where the pairs are repeats, but got a rule with repeats={repeats}. Write seeds: 5."
        yield parsed.document.at_key(path, message)


def _cell_files(parsed: Parsed, folder: FilePath) -> Iterator[Problem]:
    for i, name in enumerate(parsed.form.cells or ()):
        try:
            registry.load_file(folder / name)
        except registry.InvalidCell as error:
            for line in str(error).splitlines():
                yield parsed.document.at_value(
                    ("cells", i), f"must be a file of cells, but {name} is not: {line}"
                )


def _number_of_arms(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    is_named = isinstance(parsed.form.compare, ArmsBase)
    if not is_named and not arms or len(arms) >= 2 or _is_compare_damaged(parsed):
        return
    block = "arms" if is_named else "cross"
    if parsed.has("compare", block):
        message = (
            f"must make at least two arms, but got arms={len(arms)}. Add what to compare with."
        )
        yield parsed.document.at_key(("compare", block), message)


def _is_compare_damaged(parsed: Parsed) -> bool:
    return any(
        path[:1] == ("compare",) and len(path) <= 3 and path[1:2] != ("baseline",)
        for path in parsed.damaged
    )


def _distinct(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    seen: dict[Any, str] = {}
    names: set[str] = set()
    compare = parsed.form.compare
    is_meant = isinstance(compare, ArmsBase) and compare.identical_arms
    for arm in arms:
        settings = tuple((name, arm.value(name)) for name in FIELDS)
        if settings in seen and not arm.unknown and not is_meant:
            rule = f"must differ from every other arm, but is the same as {seen[settings]}"
            message = f"{rule}. Remove one of the two, or write identical_arms: true."
            yield parsed.document.at_key(arm.path, message)
        elif arm.name in names:
            message = f"must have another name than every other arm, but got arm={arm.name!r} again. Use compare.arms."
            yield parsed.document.at_key(arm.path, message)
        seen.setdefault(settings, arm.name)
        names.add(arm.name)


def _complete(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    for arm in arms:
        for name, example in (("cell", "cell: lstm"), ("corpus", "corpus: time-machine")):
            if name not in arm.values and name not in arm.unknown:
                which = _which(arm, arms, {name})
                message = f"must be given{which}, but is missing. Add {example} here or to the arm."
                yield parsed.document.at_key(("fix", name), message)


def _which(arm: Draft, arms: list[Draft], names: set[str]) -> str:
    """Names the arm where arms differ in ``names``; else one message does for all."""
    return f" for arm {arm.name}" if any(other.own & names for other in arms) else ""


def _cells(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    for arm in arms:
        if "cell" in arm.values and "cell" not in arm.unknown:
            try:
                registry.declarations(arm.values["cell"])
            except registry.UnknownCell as error:
                message = str(error).removeprefix("cell: ")
                if not message.endswith("?"):
                    message += " Name one of these, or add the file of your own to cells."
                yield parsed.document.at_value(arm.places["cell"], message)


def _sizes(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    searched = set(space.domains(parsed))
    for arm in arms:
        if arm.unknown & set(SIZES):
            continue
        given = [name for name in SIZES if name in searched or arm.value(name) is not None]
        rule = f"must be exactly one of {', '.join(SIZES[:-1])} and {SIZES[-1]}{_which(arm, arms, set(SIZES))}"
        if not given:
            yield parsed.document.at_key(
                ("fix", "hidden_size"), f"{rule}, but none is given. Add hidden_size: 256."
            )
        elif len(given) > 1:
            last = given[-1]
            place = arm.places.get(last, ("tune", last))
            yield parsed.document.at_key(
                place, f"{rule}, but got {' and '.join(given)}. Remove all but one."
            )


def _corpora(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    for arm in arms:
        name = arm.value("corpus")
        if name is None or arm.unknown & {"corpus", "path", "token"}:
            continue
        corpus, place = corpora.BY_NAME[name], arm.places["corpus"]
        if corpus.needs_path and arm.value("path") is None:
            message = (
                f"must come with path, but got corpus={name!r} alone. Add path: FILE beside it."
            )
            yield parsed.document.at_value(place, message)
        if not corpus.takes_path and arm.value("path") is not None:
            takers = " or ".join(n for n, c in corpora.BY_NAME.items() if c.takes_path)
            message = f"must stand with corpus {takers}, but got path={shown(arm.value('path'))}. Remove it."
            yield parsed.document.at_value(arm.places["path"], message)
        if not corpus.has_words and arm.value("token") == "word":
            message = f"must be char with corpus {name}, but got token='word'. Write token: char."
            yield parsed.document.at_value(arm.places["token"], message)


def _held_out(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    measure = parsed.form.measure
    objective = measure.objective if measure else "validation/perplexity"
    if objective == "train/perplexity" or parsed.is_damaged(("measure", "objective")):
        return
    for arm in arms:
        if "split" not in arm.unknown and arm.value("split") == "none":
            rule = f"must be holdout with objective: {objective}, since none leaves no text to validate on"
            message = f"{rule}, but got split='none'. Write measure: {{objective: train/perplexity}}, or split: holdout."
            yield parsed.document.at_value(arm.places["split"], message)


def _native(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    for arm in arms:
        name = arm.value("cell")
        cell = _declared(name)
        if arm.value("engine") != "native" or cell is None or arm.unknown & {"cell", "engine"}:
            continue
        if cell.reference is None:
            message = f"must be a cell of torch.nn with engine: native, but got cell={name!r}. Write engine: auto."
            yield parsed.document.at_value(arm.places["cell"], message)
        for field in WITHIN_THE_STEP:
            place = ("tune", field) if field in space.domains(parsed) else arm.places.get(field)
            if place is not None and (place[0] == "tune" or arm.value(field)):
                got = "a range" if place[0] == "tune" else shown(arm.value(field))
                rule = "must be left out with engine: native, whose steps are torch.nn's own"
                message = f"{rule}, but got {field}={got}. Write engine: auto."
                yield parsed.document.at_key(place, message)


def _presets(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    """The settings that a preset's name stands for are not given another value."""
    for arm in arms:
        for field, value in registry.PRESETS[arm.preset][1].items() if arm.preset else ():
            if arm.value(field) != value or field in space.domains(parsed):
                stands = f"for {arm.preset} is {arm.value('cell')} with {field}: {value}"
                yield parsed.document.at_value(
                    arm.places["cell"], f"must leave {field} out, {stands}. Remove {field}."
                )


def _one_size(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    """A tied table, and a cell that reads its input itself, need inputs of hidden_size."""
    domains = space.domains(parsed)
    for arm in arms:
        is_projected = _of_cell(arm.value("cell") or "", lambda cell: cell.projects, unknown=False)
        sizes = "embedding_size", "projection_size" if is_projected else "hidden_size"
        searched = [name for name in sizes if name in domains]
        needs = {"tied": "one table serves both"} if True in _values(arm, domains, "tied") else {}
        if arm.value("cell") is not None and _of_cell(
            arm.value("cell"), lambda cell: cell.reads_input, unknown=False
        ):
            needs["cell"] = f"a step of {arm.value('cell')} reads its input itself"
        if not needs or arm.unknown & {"tied", "cell", *sizes}:
            continue
        embedding, other = map(arm.value, sizes)
        if searched:
            got = f"but tune has {searched[0]}. Take it out of tune."
        elif embedding is None or embedding != other:
            got = f"but got embedding_size={shown(embedding)} and {sizes[1]}={shown(other)}. Give both one number."
        else:
            continue
        for field, reason in needs.items():
            rule = f"must stand with an embedding_size that is the {sizes[1]}, for {reason}"
            yield parsed.document.at_key(arm.places.get(field, ("tune", field)), f"{rule}, {got}")


def _seconds(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    """Seconds are converted once an arm, so its speed must not be searched."""
    shapes = [name for name in space.domains(parsed) if name in FIELDS and name not in PER_RUN]
    for arm in arms:
        budget = arm.value("budget")
        if (
            shapes
            and "budget" not in arm.unknown
            and budget is not None
            and budget.seconds is not None
        ):
            message = f"must not be in seconds where tune has {shapes[0]}, whose values differ in speed. Write updates."
            yield parsed.document.at_key(arm.places["budget"], message)


def _forget_bias(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    """One field sets the bias of an arm's forget gates, or none does."""
    domains, names = space.domains(parsed), ("chrono_steps", "forget_bias")
    for arm in arms:
        if arm.unknown & set(names) or any(
            set(_values(arm, domains, name)) <= {None} for name in names
        ):
            continue
        got = " and ".join(
            f"{n}={'a range' if n in domains else shown(arm.value(n))}" for n in names
        )
        rule = f"must stand without forget_bias{_which(arm, arms, set(names))}, since both set the forget gates' bias"
        place = arm.places.get("chrono_steps", ("tune", "chrono_steps"))
        yield parsed.document.at_key(place, f"{rule}, but got {got}. Remove one of the two.")


@dataclass(frozen=True)
class Needs:
    """A field that means nothing unless others have certain values."""

    field: str
    others: tuple[str, ...]
    allowed: Callable[..., bool]
    rule: str
    remedy: str


def _declared(name: str | None) -> type[Cell] | None:
    """Returns a cell's declarations; None for an unknown one, which is a problem of its own."""
    try:
        return None if name is None else registry.declarations(name)
    except registry.UnknownCell:
        return None


def _of_cell(name: str, has: Callable[[type[Cell]], Any], unknown: bool = True) -> bool:
    """Returns whether a cell has something; ``unknown`` where there is no such cell."""
    cell = _declared(name)
    return unknown if cell is None else bool(has(cell))


def _on_cell(field: str, has: Callable[[type[Cell]], Any], rule: str) -> Needs:
    return Needs(
        field, ("cell",), lambda name: _of_cell(name, has), f"a cell that has {rule}", "cell: lstm"
    )


_NEEDS = (
    Needs(
        "dropout",
        ("num_layers",),
        lambda n: n > 1,
        "num_layers > 1 (it acts between layers)",
        "num_layers: 2",
    ),
    Needs("momentum", ("optimizer",), lambda o: o == "sgd", "optimizer: sgd", "optimizer: sgd"),
    Needs("min_count", ("token",), lambda t: t == "word", "token: word", "token: word"),
    Needs("step_updates", ("schedule",), lambda s: s == "step", "schedule: step", "schedule: step"),
    Needs("step_factor", ("schedule",), lambda s: s == "step", "schedule: step", "schedule: step"),
    Needs(
        "cosine_floor",
        ("schedule",),
        lambda s: s == "cosine",
        "schedule: cosine",
        "schedule: cosine",
    ),
    Needs(
        "input_dropout",
        ("num_layers", "embedding_size"),
        lambda layers, size: layers > 1 or size is not None,
        "num_layers > 1 or embedding_size (it acts on what is no token)",
        "embedding_size: 64",
    ),
    Needs(
        "residual",
        ("num_layers",),
        lambda n: n > 1,
        "num_layers > 1 (it acts between layers)",
        "num_layers: 2",
    ),
    _on_cell("forget_bias", lambda cell: cell.forget_gates, "forget gates"),
    _on_cell("chrono_steps", lambda cell: cell.forget_gates, "forget gates"),
    Needs(
        "projection_size",
        ("cell",),
        lambda name: _of_cell(name, lambda cell: cell.projects),
        "a cell that projects its output",
        "cell: lstm-projected",
    ),
    _on_cell("state_dropout", lambda cell: cell.recurrent_products(), "recurrent products"),
    _on_cell("weight_dropout", lambda cell: cell.recurrent_products(), "recurrent products"),
    _on_cell("recurrent_dropout", lambda cell: cell.candidates, "candidates"),
    _on_cell(
        "zoneout_h", lambda cell: "h" in cell.zoneout_states, "a state h that zoneout may hold"
    ),
    _on_cell(
        "zoneout_c", lambda cell: "c" in cell.zoneout_states, "a state c that zoneout may hold"
    ),
)


def _meaning(parsed: Parsed, arms: list[Draft]) -> Iterator[Problem]:
    """A field of fix or tune must act in one arm at least; a field that an arm names, in that
    arm.
    """
    domains = space.domains(parsed)
    for needs in _NEEDS:
        if any(arm.unknown & {needs.field, *needs.others} for arm in arms):
            continue
        acting = [arm for arm in arms if _may_act(needs, arm, domains)]
        for arm in arms:
            is_idle = arm not in acting if needs.field in arm.own else not acting
            if is_idle and needs.field in domains:
                yield _idle(parsed, needs, ("tune", needs.field), "a range")
            elif is_idle and arm.value(needs.field) != FIELDS[needs.field].default:
                yield _idle(parsed, needs, arm.places[needs.field], shown(arm.values[needs.field]))


def _may_act(needs: Needs, arm: Draft, domains: dict[str, Any]) -> bool:
    return any(
        itertools.starmap(
            needs.allowed, itertools.product(*(_values(arm, domains, o) for o in needs.others))
        )
    )


def _values(arm: Draft, domains: dict[str, Any], name: str) -> list[Any]:
    """The values that a field can take in an arm; of a range its ends."""
    domain = domains.get(name)
    if domain is None:
        return [arm.value(name)]
    return (
        list(domain.choices) if "choices" in domain.model_fields_set else [domain.low, domain.high]
    )


def _idle(parsed: Parsed, needs: Needs, path: Path, got: str) -> Problem:
    message = f"must stand with {needs.rule}, but got {needs.field}={got} without. Remove it, or write {needs.remedy}."
    return parsed.document.at_key(path, message)
