"""Studies of one name become one: the file of one of them, with overrides for what others add."""

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.study.arms import MAX_ARMS, crossed
from harness.study.blocks import TUNE_NAMES
from harness.study.fields import default_of
from harness.study.file import Read, loads, read_again
from harness.study.model import MAY_GROW, NOT_IDENTITY, Study
from harness.study.reader import dump_line

_NOTHING = object()


class UnionError(ValueError):
    """The arms of several studies stand in forms that no single file has."""


def joined(studies: Sequence[Study]) -> Study:
    """Returns the smallest study that asks for all arms, conditions and runs of several.

    It is the one that has the most arms, with further overrides: so its lines stay those of a
    file. Where arms and conditions of two studies meet, all arms are asked for under each.

    Args:
        studies: One at least. That they agree in the arms that they share is not looked at.

    Raises:
        UnionError: Some name their arms, and others cross them.
        StudyError: What they ask for together is no right study.
    """
    base = max(studies, key=lambda study: len(study.arms))
    parts = [base, *(study for study in studies if study is not base)]
    reads = [read_again(part) for part in parts]
    before = reads[0].parsed.document.data
    data = copy.deepcopy(before)
    _add_arms(data, parts, reads)
    _add_conditions(data, reads)
    _add_cells(data, reads)
    _grow_search(data, parts)
    _grow_seeds(data, parts)
    added = dict(_changes(before, data))
    kept = [each for each in base.overrides if not _is_replaced(each, added)]
    overrides = (*kept, *(f"{path}={value}" for path, value in added.items()))
    whole = loads(base.text, base.name, overrides, path=base.path, without_cells=True)
    return whole.with_cell_sources({k: v for part in parts for k, v in part.cell_sources.items()})


def _add_arms(data: dict[str, Any], parts: Sequence[Study], reads: Sequence[Read]) -> None:
    names = [{arm.name for arm in part.arms} for part in parts]
    if all(names[0] >= other for other in names[1:]):
        return
    blocks = [read.parsed.document.data["compare"] for read in reads]
    if all("arms" in block for block in blocks):
        arms = data["compare"]["arms"]
        for block in blocks[1:]:
            arms |= {name: fields for name, fields in block["arms"].items() if name not in arms}
    elif all("cross" in block for block in blocks):
        data["compare"]["cross"] = _cross(reads)
    else:
        raise UnionError("compare: all files must name their arms, or all cross them, but both do.")


def _cross(reads: Sequence[Read]) -> dict[str, Any]:
    """Returns a cross of all values, without the combinations that are nobody's arms."""
    arms = [arm for read in reads for arm in _combinations(read)]
    lists = {name: list(_once(arm[name] for arm in arms)) for name in arms[0]}
    if math.prod(map(len, lists.values())) > MAX_ARMS:
        return lists  # it is refused as any such file is
    product = (
        dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())
    )
    absent = [values for values in product if values not in arms]
    return {**lists, "exclude": absent} if absent else lists


def _combinations(read: Read) -> Iterator[dict[str, Any]]:
    """Yields the crossed values of every arm as its file writes them."""
    lists = read.parsed.document.data["compare"]["cross"]
    for arm in next(iter(read.arms.values())):
        yield {name: lists[name][arm.paths[name][-1]] for name in crossed(read.parsed)}


def _once(values: Iterator[Any]) -> Iterator[Any]:
    """Yields every value once; some cannot be hashed."""
    seen: list[Any] = []
    for value in values:
        if value not in seen:
            seen.append(value)
            yield value


def _add_conditions(data: dict[str, Any], reads: Sequence[Read]) -> None:
    for read in reads[1:]:
        other = read.parsed.document.data
        for name, changes in _block(other, "across").items():
            if name not in _block(data, "across"):
                data["across"] = {**_block(data, "across"), name: _under(data, other, changes)}


def _under(data: Mapping[str, Any], other: Mapping[str, Any], changes: Any) -> dict[str, Any]:
    """Returns what a condition of another file changes beside the common blocks of this one."""
    fix, others_fix = _block(data, "fix"), _block(other, "fix")
    own = {
        name: others_fix.get(name, default_of(name))
        for name in dict.fromkeys([*fix, *others_fix])
        if fix.get(name) != others_fix.get(name) and name not in NOT_IDENTITY
    }
    ranges = {
        name: domain
        for name, domain in _block(other, "tune").items()
        if name not in TUNE_NAMES and _block(data, "tune").get(name) != domain
    }
    ranges |= _block(changes, "tune")
    return {**own, **changes, **({"tune": ranges} if ranges else {})}


def _add_cells(data: dict[str, Any], reads: Sequence[Read]) -> None:
    blocks = [read.parsed.document.data for read in reads]
    if files := list(_once(path for block in blocks for path in block.get("cells") or ())):
        data["cells"] = files


def _grow_search(data: dict[str, Any], parts: Sequence[Study]) -> None:
    """Asks for as many trials, repeats and finalists as the part that has the most of each."""
    tunes = [part.tune for part in parts if part.tune]
    if len(tunes) < len(parts):
        return  # a study without a search is another one
    for name in MAY_GROW:
        most = max(getattr(tune, name) or 0 for tune in tunes)
        is_told = name != "finalist_seeds" or any(tune.finalists > 1 for tune in tunes)
        if most > (getattr(tunes[0], name) or 0) and is_told:
            data["tune"][name] = most


def _grow_seeds(data: dict[str, Any], parts: Sequence[Study]) -> None:
    first, *others = [part.replicate for part in parts]
    seeds = max(each.seeds for each in (first, *others))
    at_most = max(each.at_most or 0 for each in (first, *others))
    if first.until is not None and at_most > (first.at_most or 0):
        data["replicate"]["seeds"]["at_most"] = at_most
    elif first.until is None and seeds > first.seeds:
        data["replicate"] = {**_block(data, "replicate"), "seeds": seeds}


def _block(values: Any, name: str) -> dict[str, Any]:
    """Returns a block of a file; an empty one where it has none."""
    block = values.get(name) if isinstance(values, Mapping) else None
    return block if isinstance(block, dict) else {}


def _changes(before: Any, after: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yields path and value of each override that makes the one of the other."""
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() <= after.keys():
        changed = [name for name in after if before.get(name, _NOTHING) != after[name]]
        if not any(set(name) & set(".=") for name in changed):  # else no path can hold them
            for name in changed:
                yield from _changes(before.get(name, _NOTHING), after[name], (*path, name))
            return
    yield ".".join(path), dump_line(after)


def _is_replaced(override: str, added: Mapping[str, str]) -> bool:
    path = override.partition("=")[0].strip()
    return any(path == new or path.startswith(f"{new}.") for new in added)
