"""What the searches show of themselves: whether an arm was tried at its best.

Where the best value of a field lies at the end of what was tried, a better one may lie beyond, and
the arm's loss says nothing of the arm. Studies of version 1 of the format are not asked: their
searches warn of a best value at the edge of its range, and their verdicts stand.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import pandas as pd

from harness.report.protocols import ArmLike, StudyLike
from harness.report.searches import value_text
from harness.report.tried import tried
from harness.tuning import bracketing, extension
from harness.tuning.bracketing import Bracket
from harness.tuning.design import Space
from harness.tuning.spread import search_spread
from harness.tuning.tried import TriedSetting


@dataclass(frozen=True)
class Search:
    """One search of one arm.

    Attributes:
        tried: Its ended trials.
        brackets: Ordered field that acts in the arm -> what the search shows of it.
        is_lost: Whether trials ended and none of them could be trained.
    """

    tried: list[TriedSetting]
    brackets: dict[str, Bracket]
    is_lost: bool

    @property
    def is_open(self) -> bool:
        """Whether a better setting may lie beyond those tried."""
        return self.is_lost or any(each.kind == "open" for each in self.brackets.values())


@dataclass(frozen=True)
class Evidence:
    """The searches of one arm, one a repeat.

    Attributes:
        spread: How far its difference from the baseline hangs on the settings that were tried, in
            nats: over repeats the root mean square. None: not known, and for the baseline.
    """

    arm: str
    searches: list[Search]
    spread: float | None

    @property
    def is_open(self) -> bool:
        """Whether the arm was not tried at its best: in the one search, or in more than half."""
        return 2 * sum(search.is_open for search in self.searches) > len(self.searches)

    @property
    def why_open(self) -> list[str]:
        """What keeps the arm from being compared, a clause each; empty where it is not open."""
        if not self.is_open:
            return []
        lost = sum(search.is_lost for search in self.searches)
        clauses = (
            [f"none of {self.arm}'s trials{self._where(lost)} could be trained"] if lost else []
        )
        return clauses + [clause for kind, clause in self._clauses() if kind == "open"]

    @property
    def excuses(self) -> list[str]:
        """Where a best value lies at an end that is none of the search's, a clause each."""
        return [clause for kind, clause in self._clauses() if kind != "open"]

    def _where(self, count: int) -> str:
        """Returns in how many of its repeats something holds, where there are several."""
        return "" if len(self.searches) == 1 else f" in {count} of {len(self.searches)} repeats"

    def _clauses(self) -> list[tuple[str, str]]:
        """Returns a clause per field and kind of end; of several repeats the first one's value."""
        found: dict[tuple[str, str, str], list[tuple[Bracket, Search]]] = {}
        for search in self.searches:
            for field, bracket in search.brackets.items():
                if bracket.edge:
                    kind: str = bracket.excuse or "open"
                    found.setdefault((field, kind, bracket.edge), []).append((bracket, search))
        clauses = []
        for (field, why, _), ends in found.items():
            bracket, search = ends[0]
            clause = _end_clause(self.arm, field, bracket, search.tried)
            clauses.append((why, f"{clause}{self._where(len(ends))}{_EXCUSES[why]}"))
        return clauses


_EXCUSES = {
    "open": "",
    "limit": ", where the field itself ends",
    "accepted": ", which the study accepts",
}


def evidence(study: StudyLike, runs: pd.DataFrame, curves: pd.DataFrame) -> dict[str, Evidence]:
    """Returns what the searches of every arm show; nothing without a search, or in version 1.

    Args:
        study: Of one condition.
        runs: Those of that condition, as :func:`harness.report.tried.tried` takes them.
        curves: Likewise.
    """
    if study.version == 1 or study.tune is None:
        return {}
    searches: dict[str, list[Search]] = {arm.name: [] for arm in study.arms}
    squares: dict[str, list[float]] = {arm.name: [] for arm in study.arms}
    for repeat in range(study.tune.repeats):
        known = {arm.name: tried(study, runs, curves, arm.name, repeat) for arm in study.arms}
        space = extension.searched_space(
            study.tune.space, (each.values for trials in known.values() for each in trials)
        )
        for arm in study.arms:
            searches[arm.name].append(_search(study, arm, known[arm.name], space))
            spread = _spread(study.baseline, arm, known, space)
            squares[arm.name] += [] if spread is None else [spread**2]
    return {
        name: Evidence(name, of_arm, math.sqrt(mean(squares[name])) if squares[name] else None)
        for name, of_arm in searches.items()
    }


def _search(study: StudyLike, arm: ArmLike, known: list[TriedSetting], space: Space) -> Search:
    brackets = bracketing.brackets(known, space, arm.searched, study.measure.margin)
    is_lost = bool(known) and all(each.end == "diverged" for each in known)
    return Search(known, brackets, is_lost)


def _spread(
    baseline: ArmLike, arm: ArmLike, known: Mapping[str, Sequence[TriedSetting]], space: Space
) -> float | None:
    if arm.is_baseline:
        return None
    ours, theirs = known[arm.name], known[baseline.name]
    return search_spread(ours, theirs, space, arm.searched, baseline.searched)


def _end_clause(arm: str, field: str, bracket: Bracket, known: Sequence[TriedSetting]) -> str:
    """Returns where an arm's best value of a field lies, as ``lstm's best learning rate, ...``."""
    words, value, end = field.replace("_", " "), value_text(bracket.value), value_text(bracket.end)
    if len({value_text(each.values[field]) for each in known}) == 1:
        return f"{value} is the only {words} that {arm} tried"
    if value == end:
        return f"{arm}'s best {words}, {value}, is the {bracket.edge} that it tried"
    return (
        f"{arm} may be as good at the {bracket.edge} {words} that it tried, {end}, as at its best,"
        f" {value}"
    )
