"""The rules of a study that concern its arms, one by one or all together."""

import os
from collections.abc import Iterator
from typing import Any

from cells import registry
from harness.data import corpora
from harness.settings import LANGUAGE, PER_RUN
from harness.settings.values import shown
from harness.study import space, tasks
from harness.study.arms import ArmDraft
from harness.study.blocks import ArmsBase
from harness.study.document import Path, Problem
from harness.study.fields import FIELDS
from harness.study.needs import declared, has_attribute, possible_values
from harness.study.parse import Parsed

SIZES = ("hidden_size", "num_parameters", "flops_per_token")
WITHIN_THE_STEP = ("state_dropout", "recurrent_dropout", "zoneout_h", "zoneout_c", "state_clip")
"""The fields that change a cell's step, which torch.nn does not let us do."""


WAITING: dict[str, tuple[int, str, str | None]] = {
    "early_stopping_patience": (2, "early_stopping_patience", None),
    "plateau_patience": (3, "schedule", "plateau"),
    "nonmonotone_interval": (3, "optimizer", "asgd"),
}
"""What waits for evaluations -> how many more there must be for it to act; which field asks for it,
and by which value, None for any.
"""


def _number_of_arms(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    is_named = isinstance(parsed.form.compare, ArmsBase)
    if not is_named and not arms or len(arms) >= 2 or _has_invalid_arms(parsed):
        return
    block = "arms" if is_named else "cross"
    if parsed.has("compare", block):
        message = (
            f"must make at least two arms, but got arms={len(arms)}. Add what to compare with."
        )
        yield parsed.document.at_key(("compare", block), message, "number-of-arms")


def _has_invalid_arms(parsed: Parsed) -> bool:
    return any(
        path[:1] == ("compare",) and len(path) <= 3 and path[1:2] != ("baseline",)
        for path in parsed.invalid_paths
    )


def _distinct(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    seen: dict[Any, str] = {}
    names: set[str] = set()
    compare = parsed.form.compare
    may_be_equal = isinstance(compare, ArmsBase) and compare.identical_arms
    for arm in arms:
        settings = tuple((name, arm.value(name)) for name in FIELDS)
        if settings in seen and not arm.invalid and not may_be_equal:
            message = (
                f"must differ from every other arm, but got the same as {seen[settings]}. "
                "Remove one of the two, or write identical_arms: true."
            )
            yield parsed.document.at_key(arm.path, message, "equal-arms")
        elif arm.name in names:
            message = (
                "must have another name than every other arm, "
                f"but got arm={arm.name!r} again. Use compare.arms."
            )
            yield parsed.document.at_key(arm.path, message, "equal-arms")
        seen.setdefault(settings, arm.name)
        names.add(arm.name)


def _complete(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    for arm in arms:
        for name, example in (("cell", "cell: lstm"), ("corpus", "corpus: time-machine")):
            if name not in arm.values and name not in arm.invalid:
                which = _which(arm, arms, {name})
                message = f"must be given{which}, but is missing. Add {example} here or to the arm."
                yield parsed.document.at_key(("fix", name), message, "missing-field")


def _which(arm: ArmDraft, arms: list[ArmDraft], names: set[str]) -> str:
    """Names the arm where arms differ in ``names``; else one message does for all."""
    return f" for arm {arm.name}" if any(other.given & names for other in arms) else ""


def _cells(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    for arm in arms:
        if "cell" not in arm.values or "cell" in arm.invalid:
            continue
        cell = arm.values["cell"]
        if declared(cell) is None:
            near = registry.similar(cell)
            remedy = (
                f"Did you mean {' or '.join(near)}?"
                if near
                else "Name the file of your own under cells: [FILE]."
            )
            message = (
                f"must be the name of a cell, but got cell={shown(cell)}. {remedy} "
                "`harness cells` lists all."
            )
            message = " ".join([message, *registry.plugin_faults()])
            yield parsed.document.at_value(arm.paths["cell"], message, "unknown-cell")


def _presets(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """The settings that a preset's name stands for are not given another value."""
    for arm in arms:
        for field, value in registry.PRESETS[arm.preset][1].items() if arm.preset else ():
            is_searched = field in space.domains(parsed)
            if arm.value(field) != value or is_searched:
                got = "a range" if is_searched else shown(arm.value(field))
                message = (
                    f"must leave {field} out, since {arm.preset} is {arm.value('cell')} "
                    f"with {field}: {value}, but got {field}={got}. Remove {field}."
                )
                yield parsed.document.at_value(arm.paths["cell"], message, "preset")


def _sizes(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    searched = set(space.domains(parsed))
    for arm in arms:
        if arm.invalid & set(SIZES):
            continue
        given = [name for name in SIZES if name in searched or arm.value(name) is not None]
        among = f"{', '.join(SIZES[:-1])} and {SIZES[-1]}"
        rule = f"must be exactly one of {among}{_which(arm, arms, set(SIZES))}"
        if not given:
            message = f"{rule}, but got none. Add hidden_size: 256."
            yield parsed.document.at_key(("fix", "hidden_size"), message, "one-size")
        elif len(given) > 1:
            path = arm.paths.get(given[-1], ("tune", given[-1]))
            message = f"{rule}, but got {' and '.join(given)}. Remove all but one."
            yield parsed.document.at_key(path, message, "one-size")


def _corpora(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    for arm in arms:
        name = arm.value("corpus")
        if name not in corpora.BY_NAME or arm.value("task") != LANGUAGE:
            continue  # the rules of tasks have it
        if arm.invalid & {"corpus", "path", "paths", "token", "split", "lines"}:
            continue
        corpus, text_path = corpora.BY_NAME[name], arm.value("path")
        if arm.value("paths") is not None:
            yield from _text_in_three(parsed, arm, name)
        elif corpus.needs_path and text_path is None:
            message = (
                f"must come with path, but got corpus={name!r} alone. Add path: FILE beside it."
            )
            yield parsed.document.at_value(arm.paths["corpus"], message, "corpus")
        if not corpus.takes_path and text_path is not None:
            takers = " or ".join(n for n, c in corpora.BY_NAME.items() if c.takes_path)
            message = (
                f"must stand with corpus {takers}, but got path={shown(text_path)}. Remove it."
            )
            yield parsed.document.at_value(arm.paths["path"], message, "corpus")
        if corpus.num_tokens is not None and (lines := arm.value("lines")) is not None:
            got = lines if isinstance(lines, str) else f"{{end: {lines.end}}}"
            message = (
                f"must be left out with corpus {name}, an edition with nothing between lines, "
                f"but got lines={got}. Remove it."
            )
            yield parsed.document.at_key(arm.paths["lines"], message, "corpus")
        token = arm.value("token")
        if token not in corpus.tokens:
            message = (
                f"must be {' or '.join(corpus.tokens)} with corpus {name}, but got {token=}. "
                f"Write token: {corpus.tokens[0]}."
            )
            yield parsed.document.at_value(
                arm.paths.get("token", arm.paths["corpus"]), message, "corpus"
            )
        if corpus.has_parts and arm.value("split") == "none":
            message = (
                f"must be left out with corpus {name}, whose splits are published, "
                "but got split='none'. Remove it."
            )
            yield parsed.document.at_key(arm.paths["split"], message, "corpus")


def _text_in_three(parsed: Parsed, arm: ArmDraft, corpus: str) -> Iterator[Problem]:
    """``paths`` stands with the corpus text, and instead of path and split."""
    got = ""
    if not corpora.BY_NAME[corpus].takes_paths:
        got = f"corpus={corpus!r}. Write corpus: text"
    elif arm.value("path") is not None:
        got = f"path={shown(arm.value('path'))} too. Remove one of the two"
    elif arm.value("split") != FIELDS["split"].default:
        got = f"split={shown(arm.value('split'))}. Remove split"
    if got:
        rule = "must stand with corpus text, and instead of path and split"
        message = f"{rule}, but got {got}."
        yield parsed.document.at_key(arm.paths["paths"], message, "corpus")
    given = list(vars(arm.value("paths")).values())
    if len({os.path.normpath(path) for path in given}) < len(given):
        message = f"must be three files, but got {', '.join(given)}. Name each once."
        yield parsed.document.at_key(arm.paths["paths"], message, "corpus")


def _held_out(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    measure = parsed.form.measure
    objective = measure.objective if measure else "validation/perplexity"
    if objective.startswith("train/") or parsed.is_invalid(("measure", "objective")):
        return
    for arm in arms:
        if arm.value("task") != LANGUAGE:  # it has no split, which is told
            continue
        if "split" not in arm.invalid and arm.value("split") == "none":
            message = (
                f"must be holdout with objective: {objective}, since none leaves no text to "
                "validate on, but got split='none'. "
                "Write measure: {objective: train/perplexity}, or split: holdout."
            )
            yield parsed.document.at_value(arm.paths["split"], message, "no-validation-text")


def _waiting(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """What waits for validation losses needs a text to validate on, and evaluations enough."""
    domains = space.domains(parsed)
    for arm in arms:
        for field, (more, cause, value) in WAITING.items():
            possible, causes = (possible_values(arm, domains, name) for name in (field, cause))
            patiences = [each for each in possible if each is not None]
            is_asked = patiences and (value is None or value in causes)
            if not is_asked or arm.invalid & {"split", "evaluations", field, cause}:
                continue
            least, count = min(patiences) + more, arm.value("evaluations")
            if arm.value("split") == "none":
                got, remedy = "split='none'", "Write split: holdout"
            elif count != "epoch" and count < least:
                got, remedy = f"evaluations={count}", f"Write evaluations: {least}"
            else:
                continue
            message = (
                f"must stand with split: holdout and {least} evaluations at least"
                f"{_which(arm, arms, {field, cause, 'split', 'evaluations'})}, since it waits for "
                f"validation losses, but got {field}={min(patiences)} and {got}. {remedy}."
            )
            path: Path = arm.paths.get(cause, ("tune", cause))
            yield parsed.document.at_key(path, message, "too-few-evaluations")


def _native(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    for arm in arms:
        name = arm.value("cell")
        cell = declared(name)
        if arm.value("engine") != "native" or cell is None or arm.invalid & {"cell", "engine"}:
            continue
        if cell.reference is None:
            message = (
                "must be a cell of torch.nn with engine: native, "
                f"but got cell={name!r}. Write engine: auto."
            )
            yield parsed.document.at_value(arm.paths["cell"], message, "engine")
        yield from _steps_of_torch(parsed, arm)


def _steps_of_torch(parsed: Parsed, arm: ArmDraft) -> Iterator[Problem]:
    domains = space.domains(parsed)
    for field in WITHIN_THE_STEP:
        path = ("tune", field) if field in domains else arm.paths.get(field)
        if path is not None and (path[0] == "tune" or arm.value(field)):
            got = "a range" if path[0] == "tune" else shown(arm.value(field))
            message = (
                "must be left out with engine: native, whose steps are torch.nn's own, "
                f"but got {field}={got}. Write engine: auto."
            )
            yield parsed.document.at_key(path, message, "engine")


def _logarithms(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """A learned start may fall below 0, where engine scan-log has no logarithm of it."""
    domains = space.domains(parsed)
    for arm in arms:
        names = ("engine", "learned_start")
        engines, starts = (possible_values(arm, domains, name) for name in names)
        if arm.invalid & set(names) or "scan-log" not in engines or True not in starts:
            continue
        message = (
            "must stand with an engine other than scan-log, since a state below 0 has no "
            f"logarithm, but got learned_start=true{_which(arm, arms, set(names))}. "
            "Write engine: scan, or remove learned_start."
        )
        path: Path = arm.paths.get("learned_start", ("tune", "learned_start"))
        yield parsed.document.at_key(path, message, "engine")


def _one_size(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """A tied table, and a cell that reads its input itself, need inputs of hidden_size."""
    domains = space.domains(parsed)
    for arm in arms:
        name = arm.value("cell")
        is_projected = has_attribute(name, lambda cell: cell.projects, if_unknown=False)
        sizes = "embedding_size", "projection_size" if is_projected else "hidden_size"
        reasons = {}
        if True in possible_values(arm, domains, "tied"):
            reasons["tied"] = "one table serves both"
        if has_attribute(name, lambda cell: cell.reads_input, if_unknown=False):
            reasons["cell"] = f"a step of {name} reads its input itself"
        if not reasons or arm.invalid & {"tied", "cell", *sizes}:
            continue
        searched = [size for size in sizes if size in domains]
        embedding, other = map(arm.value, sizes)
        if searched:
            got = f"but tune has {searched[0]}. Take it out of tune."
        elif embedding is None or embedding != other:
            got = (
                f"but got embedding_size={shown(embedding)} and {sizes[1]}={shown(other)}. "
                "Give both one number."
            )
        else:
            continue
        for field, reason in reasons.items():
            rule = f"must stand with an embedding_size that is the {sizes[1]}, since {reason}"
            path = arm.paths.get(field, ("tune", field))
            yield parsed.document.at_key(path, f"{rule}, {got}", "equal-widths")


def _on_both_directions(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """A cell that reads its input itself cannot stand on a layer that shows two directions."""
    domains, names = space.domains(parsed), ("cell", "bidirectional", "num_layers")
    for arm in arms:
        if arm.invalid & set(names):
            continue
        name = arm.value("cell")
        both, layers = (possible_values(arm, domains, each) for each in names[1:])
        reads = has_attribute(name, lambda cell: cell.reads_input, if_unknown=False)
        if not reads or True not in both or max(layers) == 1:
            continue
        message = (
            f"must stand with num_layers: 1, since a step of {name} reads its input itself, and "
            "outputs of two directions are wider than its state, but got "
            f"num_layers={max(layers)}. Write num_layers: 1, or take another cell."
        )
        path: Path = arm.paths.get("bidirectional", ("tune", "bidirectional"))
        yield parsed.document.at_key(path, message, "equal-widths")


def _seconds(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """Seconds are converted once an arm, so its speed must not be searched."""
    domains = space.domains(parsed)
    shapes = [name for name in domains if name in FIELDS and name not in PER_RUN]
    for arm in arms:
        budget = arm.value("budget")
        if not shapes or "budget" in arm.invalid or budget is None or budget.seconds is None:
            continue
        message = (
            f"must not be in seconds where tune has {shapes[0]}, whose values differ in speed, "
            f"but got seconds={budget.seconds}. Write budget: {{updates: 2000}}."
        )
        yield parsed.document.at_key(arm.paths["budget"], message, "seconds")


def _forget_bias(parsed: Parsed, arms: list[ArmDraft]) -> Iterator[Problem]:
    """One field sets the bias of an arm's forget gates, or none does."""
    domains, names = space.domains(parsed), ("chrono_steps", "forget_bias")
    for arm in arms:
        is_unset = any(set(possible_values(arm, domains, name)) <= {None} for name in names)
        if arm.invalid & set(names) or is_unset:
            continue
        got = " and ".join(
            f"{name}={'a range' if name in domains else shown(arm.value(name))}" for name in names
        )
        message = (
            f"must stand without forget_bias{_which(arm, arms, set(names))}, since both set the "
            f"forget gates' bias, but got {got}. Remove one of the two."
        )
        path: Path = arm.paths.get("chrono_steps", ("tune", "chrono_steps"))
        yield parsed.document.at_key(path, message, "two-forget-biases")


RULES = (
    tasks.rules,
    _number_of_arms,
    _distinct,
    _complete,
    _cells,
    _presets,
    _sizes,
    _corpora,
    _held_out,
    _waiting,
    _native,
    _logarithms,
    _one_size,
    _on_both_directions,
    _seconds,
    _forget_bias,
)
"""All rules of this module, in the order in which they are asked."""
