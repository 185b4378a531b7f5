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

from harness.randomness import Name
from harness.report.searches import value_text
from harness.report.tried import is_done, is_not_learned, tried, whole
from harness.study import Arm, Study, Tune
from harness.tasks.objective import objective_of
from harness.training.messages import RunState
from harness.tuning import bracketing, extension
from harness.tuning.bracketing import Bracket
from harness.tuning.design import Space
from harness.tuning.spread import search_spread
from harness.tuning.tried import TriedSetting


@dataclass(frozen=True)
class Design:
    """What arms that are searched alike have in common.

    Attributes:
        space: What was searched, as wide as it became.
        origin: What the points tried derive from.
        finalists: How many of the best settings ran again; 1: none.
        finalist_seeds: With how many fresh seeds each.
    """

    space: Space
    origin: tuple[Name, ...]
    finalists: int
    finalist_seeds: int


@dataclass(frozen=True)
class Search:
    """One search of one arm.

    Attributes:
        tried: Its ended trials.
        design: What arms that are searched alike have in common.
        brackets: Ordered field that acts in the arm -> what the search shows of it.
        is_lost: Whether trials ended and none of them better than a guess.
        num_ended: Trials that are done, also those whose settings cannot be trained.
    """

    tried: list[TriedSetting]
    design: Design
    brackets: dict[str, Bracket]
    is_lost: bool
    num_ended: int

    @property
    def is_open(self) -> bool:
        """Whether a better setting may lie beyond those tried."""
        return self.is_lost or any(each.kind == "open" for each in self.brackets.values())


@dataclass(frozen=True)
class Evidence:
    """The searches of one arm, one a repeat."""

    arm: str
    searches: list[Search]

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
            [f"none of {self.arm}'s trials{self._where(lost)} ended better than a guess"]
            if lost
            else []
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


def evidence_of(study: Study, runs: pd.DataFrame, curves: pd.DataFrame) -> dict[str, Evidence]:
    """Returns what the searches of every arm show; nothing without a search, or in version 1.

    Args:
        study: Of one condition.
        runs: Those of that condition, as :func:`harness.report.tried.tried` takes them.
        curves: Likewise.
    """
    if study.version == 1 or study.tune is None:
        return {}
    searches: dict[str, list[Search]] = {arm.name: [] for arm in study.arms}
    for repeat in range(study.tune.repeats):
        known = {arm.name: tried(study, runs, curves, arm.name, repeat) for arm in study.arms}
        space = extension.searched_space(
            study.tune.space, (each.values for trials in known.values() for each in trials)
        )
        tune = study.tune
        design = Design(
            space,
            (tune.search_seed + repeat, study.condition, tune.sampler),
            tune.finalists,
            tune.finalist_seeds if tune.finalists > 1 else 0,
        )
        for arm in study.arms:
            found = _search(
                study, arm, known[arm.name], design, _num_ended(runs, arm, repeat, tune)
            )
            searches[arm.name].append(found)
    return {name: Evidence(name, of_arm) for name, of_arm in searches.items()}


def _num_ended(runs: pd.DataFrame, arm: Arm, repeat: int, tune: Tune) -> int:
    is_own = (runs["arm"] == arm.name) & (runs["phase"] == "trial") & (runs["repeat"] == repeat)
    return int(is_done(whole(tune.seeds, runs[is_own])).sum())


def _margin_loss(study: Study) -> float:
    return objective_of(study.measure.objective).within(study.measure.margin)


def _search(
    study: Study, arm: Arm, known: list[TriedSetting], design: Design, num_ended: int
) -> Search:
    brackets = bracketing.brackets(known, design.space, arm.searched, _margin_loss(study))
    is_lost = bool(known) and all(each.end == "diverged" for each in known)
    return Search(known, design, brackets, is_lost, num_ended)


def spreads(study: Study, searches: Mapping[str, Evidence], runs: pd.DataFrame) -> dict[str, float]:
    """Returns how far an arm's difference from the baseline hangs on the settings that were tried.

    It is in nats, over repeats the root mean square. An arm of which it is not known is absent: so
    is one whose search and the baseline's had no points in common.

    Args:
        study: Of one condition.
        searches: What :func:`evidence_of` returns.
        runs: Those of that condition that the study asks for.
    """
    found = {}
    for arm in study.arms if searches else ():
        if arm.is_baseline or not {arm.name, study.baseline.name} <= searches.keys():
            continue
        repeats = range(len(searches[arm.name].searches))
        known = [_spread(study, arm, searches, runs, repeat) for repeat in repeats]
        squares = [spread**2 for spread in known if spread is not None]
        if squares:
            found[arm.name] = math.sqrt(mean(squares))
    return found


def _spread(
    study: Study,
    arm: Arm,
    searches: Mapping[str, Evidence],
    runs: pd.DataFrame,
    repeat: int,
) -> float | None:
    base = study.baseline
    ours, theirs = (searches[each.name].searches[repeat] for each in (arm, base))
    if ours.design != theirs.design:
        return None
    return search_spread(
        ours.tried,
        theirs.tried,
        ours.design.space,
        arm.searched,
        base.searched,
        replicates=(_replicates(runs, arm, repeat), _replicates(runs, base, repeat)),
        finalists=ours.design.finalists,
        finalist_seeds=ours.design.finalist_seeds,
    )


def share_points(arm: Evidence, baseline: Evidence) -> bool:
    """Says whether the searches of two arms drew the same settings, in every repeat."""
    pairs = zip(arm.searches, baseline.searches, strict=False)
    return all(ours.design == theirs.design for ours, theirs in pairs)


def _replicates(runs: pd.DataFrame, arm: Arm, repeat: int) -> list[float]:
    """Returns the objectives of the replicates that trained well: trials have no other loss."""
    rows = runs[(runs["arm"] == arm.name) & (runs["phase"] == "replicate")]
    rows = rows[(rows["repeat"] == repeat) & (rows["state"] == RunState.FINISHED)]
    return rows.loc[~is_not_learned(rows), "objective"].dropna().astype(float).tolist()


def open_arms(study: Study, runs: pd.DataFrame, curves: pd.DataFrame) -> set[str]:
    """Returns the arms that were not tried at their best; arguments as of :func:`evidence_of`."""
    return {name for name, each in evidence_of(study, runs, curves).items() if each.is_open}


def num_due(study: Study, searches: Mapping[str, Evidence], repeat: int) -> int:
    """Returns how many trials every arm needs for now that a search may have to go on.

    It is 0 where none has to, or before all arms have ended their budget.
    """
    tune = study.tune
    if not searches or tune is None or tune.at_most is None or tune.sampler == "grid":
        return 0
    known = {name: each.searches[repeat].tried for name, each in searches.items()}
    num_ended = min(each.searches[repeat].num_ended for each in searches.values())
    if num_ended < tune.num_trials:
        return 0
    num_ended -= (num_ended - tune.num_trials) % tune.batch
    points = extension.next_points(
        known,
        tune.space,
        {arm.name: arm.searched for arm in study.arms},
        trials=tune.num_trials,
        batch=tune.batch,
        at_most=tune.at_most,
        margin_loss=_margin_loss(study),
        names=(),  # that there are points does not depend on where they lie
        num_ended=num_ended,
    )
    return num_ended + len(points)


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
