"""What would fail every run of an arm, found before anything trains and told all at once."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cells import registry
from cells.faults import words_of
from harness import data
from harness.data import Data, Dataset
from harness.preflight.memory import memory_fault
from harness.preflight.resolve import first_values, other_layers, pack_of
from harness.settings import Budget, SampleRequest, Settings
from harness.study import Study, problem_of_arms
from harness.study.fields import FIELDS
from harness.study.units import Unit
from harness.tasks.language_modelling import check_prefixes
from harness.timing import out_of_memory
from harness.training.messages import is_ours
from harness.training.pack import Pack
from harness.training.resolved import resolve


class RunFault(ValueError):
    """Every run of an arm would fail; the message has a line for every fault."""


def check_runs(
    study: Study,
    settings: Mapping[str, Settings],
    tell: Callable[[str], None] = lambda arm: None,
) -> dict[str, Data]:
    """Returns every arm's data, by its key, where runs of all arms can train.

    Of every arm one run makes one update, and continues a prefix by one token.

    Args:
        study: All its conditions.
        settings: Of every arm by its key, as :func:`harness.preflight.resolve.resolve` returns
            them.
        tell: Called with the key of every arm, before it is tried.

    Raises:
        RunFault: A text cannot be had or is too short, a prefix has a character that its text
            lacks, a plan cannot be built, or a cell raises.
    """
    faults: dict[_Fault, list[str]] = {}  # each with its arms
    texts: dict[str, Data] = {}
    for arm, own in settings.items():
        try:
            part = study.under(Unit.parse(arm).condition)
            texts[arm] = data.load(replace(own, **first_values(part)))
        except data.DataError as error:
            for fault in _data_faults(own, error):
                faults.setdefault(fault, []).append(arm)
    readable = _readable_prefixes(study, texts, faults)
    for arm, text in texts.items():
        tell(arm)
        own = replace(settings[arm], **first_values(study.under(Unit.parse(arm).condition)))
        for fault in _trial_faults(study, arm, own, readable[id(text)], text):
            faults.setdefault(fault, []).append(arm)
    if faults:
        lines = (_told(study, fault, arms, len(settings)) for fault, arms in faults.items())
        raise RunFault("\n".join(lines))
    return texts


class _Fault(NamedTuple):
    """What would fail a run.

    Attributes:
        field: Of the study, that is wrong; empty where the file of a cell is.
        message: The rule, the value and the remedy.
        code: Of the message.
    """

    field: tuple[str | int, ...]
    message: str
    code: str


def _told(study: Study, fault: _Fault, arms: list[str], num_arms: int) -> str:
    """Returns a line: the place, the arms that it concerns where these are not all, the fault."""
    if fault.field:
        whole = [arm.key for arm in study.arms] if len(arms) == num_arms else arms
        return str(problem_of_arms(study, whole, *fault))
    line = f"{fault.message} [{fault.code}]"
    return line if len(arms) == num_arms else f"{', '.join(arms)}: {line}"


def _data_faults(settings: Settings, error: data.DataError) -> Iterator[_Fault]:
    """Yields what is wrong with a text or with how it is read."""
    by_field = (field for field in ("paths", "path") if getattr(settings, field) is not None)
    names_text = next(by_field, "corpus")
    for line in dict.fromkeys(str(error).splitlines()):  # one file may hold several splits
        field, message = _headed(line)
        yield _Fault(field or (names_text,), message, error.code)


def _headed(line: str) -> tuple[tuple[str, ...], str]:
    """Returns the field of the settings that a line begins with, and the rest; or no field."""
    head, _, rest = line.partition(": ")
    field = tuple(head.split("."))
    return (field, rest) if field[0] in FIELDS else ((), line)


def _readable_prefixes(
    study: Study, texts: Mapping[str, Data], faults: dict[_Fault, list[str]]
) -> dict[int, tuple[str, ...]]:
    """Returns the prefixes that each text can read, and notes what the others hold."""
    readable: dict[int, tuple[str, ...]] = {}
    for arm, text in texts.items():
        kept: list[str] = []
        if not isinstance(text, Dataset):
            readable[id(text)] = ()
            continue
        for index, prefix in enumerate(study.measure.samples.prefixes):
            try:
                check_prefixes([prefix], text.vocabulary)
                kept.append(prefix)
            except data.DataError as error:
                field = ("measure", "samples", "prefixes", index)
                fault = _Fault(field, f"{text.title}: {error}", "prefix")
                faults.setdefault(fault, []).append(arm)
        readable[id(text)] = tuple(kept)
    return readable


def _trial_faults(
    study: Study, arm: str, settings: Settings, prefixes: tuple[str, ...], text: Data
) -> list[_Fault]:
    """Returns what a run of one update raises; nothing where all is well."""
    one_update = replace(settings, budget=Budget(updates=1), evaluations=1)
    try:
        if line := memory_fault(one_update, text):
            return [_Fault(("hidden_size",), line, "memory")]
        _train_once(study, arm, one_update, replace(study.measure.samples, prefixes=prefixes[:1]))
        for changes in other_layers(study.under(Unit.parse(arm).condition)):
            resolve(pack_of(study, arm, replace(one_update, **changes), 1))
    except Exception as error:  # a user's step may raise anything at all
        if is_ours(error):
            headed = map(_headed, str(error).splitlines())
            return [_Fault(field or ("cell",), line, "no-run") for field, line in headed]
        fault = _memory_fault(error) or _cell_fault(study, settings, error)
        if fault is None:  # a fault of the bench itself
            raise
        return [fault]
    return []


def _train_once(study: Study, arm: str, settings: Settings, wanted: SampleRequest) -> None:
    """Does each thing once that a run does with its cell."""
    pack = Pack(pack_of(study, arm, settings, 1))
    try:
        pack.train_updates(1)
        pack.forward_updates(1)
        for shard in pack.shards:
            shard.samples(0, replace(wanted, length=1), shard.parameters)
    finally:
        pack.close()


def _memory_fault(error: Exception) -> _Fault | None:
    if not out_of_memory(error):
        return None
    message = (
        f"memory must suffice for one run, but got {words_of(error)}. "
        "Use a smaller hidden_size, batch_size or bptt_length."
    )
    return _Fault(("hidden_size",), message, "memory")


def _cell_fault(study: Study, settings: Settings, error: Exception) -> _Fault | None:
    """Returns what a user's cell raised, and where; None where the cell comes with the bench."""
    cell = registry.find(settings.cell)
    if cell.__module__.startswith("cells."):
        return None
    file = inspect.getfile(cell)
    place = registry.line_in([*study.cell_files, file], error)
    where = _shown(file) if place is None else f"{_shown(place[0])}:{place[1]}"
    what = "training" if place is None else "a step"
    message = (
        f"{where}: {what} of {cell.name} must run, but raised {words_of(error)}. "
        f"Correct the cell: `harness cells test {_shown(file)}` says more."
    )
    return _Fault((), message, "cell-step")


def _shown(file: str | Path) -> str:
    """Returns the path of a file as a person in the working directory would write it."""
    path = Path(file).resolve()
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
