"""What an arm costs beside what it reaches: which arms dominate it, and its time to a target."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.report import measure
from harness.report.arm_results import ArmResult
from harness.report.number_texts import level_text, number, p_text
from harness.report.tables import Section
from harness.report.timings import ALONE
from harness.statistics.decisions import Decision, SpeedDecision
from harness.statistics.survival import Times, kaplan_meier, log_rank
from harness.study import Study
from harness.tasks.objective import Objective, objective_of, split_of
from harness.training.messages import RESULTS

EQUAL = 0.01
"""Costs that differ by this fraction or less are equal: so much do sizes by a budget differ."""
MOST_NAMES = 3
"""The most arms that a cell of the table names."""
LOWER, HIGHER = ("better", "equivalent and lower"), ("worse", "equivalent and higher")
"""The verdicts by which an arm's loss is shown to be below or above the baseline's."""
SHOWN, NOT_SHOWN, UNTESTED = "shown", "by the means, not shown", "by the means, untested"
NOTE = (
    "An arm dominates another where its mean is no worse and its cost no higher, and one of the two"
    f" is better. {SHOWN.capitalize()}: the paired tests show a difference in both; parameters are"
    f" counted, and need no test. {NOT_SHOWN.capitalize()}: the tests were made, and do not show"
    f" it. {UNTESTED.capitalize()}: no such test was made; each compares an arm with the baseline."
)


@dataclass(frozen=True)
class Cost:
    """What is set against what is compared.

    Attributes:
        name: What it is called.
        of: Returns an arm's cost, or None where it is not known.
        sign: 1 where less is better, -1 where more is.
        is_timed: Whether it compares only between arms that were timed on the same engine, device,
            precision and threads.
    """

    name: str
    of: Callable[[ArmResult], float | None]
    sign: int
    is_timed: bool


COSTS = (
    Cost("training seconds", lambda result: result.training_seconds, 1, True),
    Cost("tokens/s", lambda result: result.tokens_per_second.get(ALONE), -1, True),
    Cost("parameters", lambda result: result.num_parameters, 1, False),
)


def unplaced(result: ArmResult) -> str:
    """Returns why an arm's mean stands beside no other's, or nothing."""
    if result.incomparable:
        return "reads another text"
    if result.is_open:
        return "its search is open"
    if result.num_diverged:
        return f"{result.num_diverged} of {len(result.losses)} diverged"
    return "" if result.mean is not None else "no replicate finished"


def dominators(results: Sequence[ArmResult], result: ArmResult, cost: Cost) -> list[ArmResult]:
    """Returns the arms that dominate ``result``, the best first.

    They are no worse in mean loss and in ``cost``, and better in one of the two. Costs within
    ``EQUAL`` are equal.
    """
    spent = cost.of(result)
    if spent is None or unplaced(result):
        return []
    better = []
    for other in results:
        others_spent = cost.of(other)
        if others_spent is None or unplaced(other) or other is result:
            continue
        if cost.is_timed and other.conditions[ALONE] != result.conditions[ALONE]:
            continue
        assert other.mean is not None and result.mean is not None
        gain, saving = result.mean - other.mean, cost.sign * (spent - others_spent) / spent
        if gain >= 0 and saving >= -EQUAL and (gain > 0 or saving > EQUAL):
            better.append(other)
    return sorted(better, key=lambda other: other.mean or 0.0)


def evidence(dominator: ArmResult, dominated: ArmResult, cost: Cost) -> str:
    """Returns what the study's paired tests say of it; they compare with the baseline alone."""
    if not dominator.is_baseline and not dominated.is_baseline:
        return UNTESTED
    arm, verdicts, pace = (
        (dominated, HIGHER, "slower") if dominator.is_baseline else (dominator, LOWER, "faster")
    )
    made: list[tuple[str | None, Sequence[str]]] = [(_verdict(arm.decision), verdicts)]
    if cost.is_timed:
        made.append((_verdict(arm.speeds.get(ALONE)), (pace,)))
    if any(verdict is None for verdict, _ in made):
        return UNTESTED
    return SHOWN if all(verdict in needed for verdict, needed in made) else NOT_SHOWN


def _verdict(decision: Decision | SpeedDecision | None) -> str | None:
    """Returns what a test said; None: it was not made."""
    if decision is None or decision.verdict == "not comparable":
        return None
    return decision.verdict


def differing_costs(results: Sequence[ArmResult]) -> list[Cost]:
    """Returns the costs that are known of the arms and are not equal for all.

    There are none where not one arm is placed.
    """
    if all(map(unplaced, results)):
        return []
    differing = []
    for cost in COSTS:
        values = [cost.of(result) for result in results if result.mean is not None]
        known = [value for value in values if value is not None]
        if known and max(known) - min(known) > EQUAL * min(known):
            differing.append(cost)
    return differing


def section(study: Study, results: Sequence[ArmResult]) -> Section | None:
    """Returns a row per arm: what is compared, costs, and for each cost who dominates it.

    None: no cost differs.
    """
    costs = differing_costs(results)
    if not costs:
        return None
    verdicts = {
        cost.name: [_dominated_text(results, result, cost) for result in results] for cost in costs
    }
    if verdicts.get("tokens/s") == verdicts.get("training seconds"):
        verdicts.pop("tokens/s", None)  # all arms train on as many tokens
    rows = [
        (
            result.name,
            _level_text(result),
            *(_cost_text(cost.of(result)) for cost in costs),
            *(texts[i] for texts in verdicts.values()),
        )
        for i, result in enumerate(results)
    ]
    objective = objective_of(study.measure.objective)
    names = [cost.name[0].upper() + cost.name[1:] for cost in costs]
    header = ("Arm", f"{measure.titled(study)}, 95 %", *names)
    equal = f"costs within {100 * EQUAL:g} % of each other count as equal"
    title = f"What the {objective.name} costs ({equal})"
    header = (*header, *(f"Dominated in {name} by" for name in verdicts))
    return Section(title, header, rows, NOTE)


def _dominated_text(results: Sequence[ArmResult], result: ArmResult, cost: Cost) -> str:
    reason = unplaced(result)
    if reason or cost.of(result) is None:
        return f"not placed: {reason or 'not timed'}"
    better = dominators(results, result, cost)
    names: dict[str, list[str]] = {SHOWN: [], NOT_SHOWN: [], UNTESTED: []}
    for other in better:
        names[evidence(other, result, cost)].append(other.name)
    return "; ".join(f"{_named(found)} ({how})" for how, found in names.items() if found) or "none"


def _named(names: Sequence[str]) -> str:
    rest = len(names) - MOST_NAMES
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:MOST_NAMES])} and {rest} more"


def _level_text(result: ArmResult) -> str:
    if result.mean is None:
        return "none"
    return level_text(result.objective, result.mean, result.interval)


def _cost_text(cost: float | None) -> str:
    if cost is None:
        return ""
    return f"{cost:,.0f}" if isinstance(cost, int) or cost >= 1000 else number(cost)


# Time to a target

_REPLICATE = ["repeat", "index"]


def time_to_target(
    study: Study, results: Sequence[ArmResult], curves: pd.DataFrame, runs: pd.DataFrame
) -> Section | None:
    """Returns a row per arm: how many replicates reach the target, and when.

    Tokens and seconds are medians. The target is the study's own, or the baseline's: worse by the
    margin than the median of the lowest losses of those of its replicates that trained to the end.
    A replicate reaches it at its first evaluation that is as good; one that has ended and never
    did is later than all others, also where it diverged before it was evaluated at all. Seconds are
    those of a run alone, by the runtime phase.

    None: no replicate has a curve, or there is no target.

    Args:
        study: Of one condition.
        results: Its arms.
        curves: Those of its runs.
        runs: A row each, with the columns of :data:`frames.RUN_COLUMNS`.
    """
    metric = measure.curve_metric(study)
    rows = curves[curves["phase"] == "replicate"]
    rows = rows.assign(
        loss=rows[metric].astype(float), repeat=rows["repeat"] if "repeat" in rows else 0
    )
    ended = runs[(runs["phase"] == "replicate") & runs["state"].isin(RESULTS)]
    objective = objective_of(study.measure.objective)
    target, origin = _target(study, objective, rows)
    if target is None:
        return None
    loss = objective.loss(target)
    by_arm = {
        result.name: _Reached.of(
            rows[rows["arm"] == result.name], ended[ended["arm"] == result.name], loss
        )
        for result in results
    }
    table = [_reaching(result, by_arm[result.name]) for result in results]
    header: tuple[str, ...] = (
        "Arm",
        "Replicates that reach it",
        "Tokens (median)",
        "Seconds of a run alone (median)",
        "Tokens between evaluations",
    )
    if study.measure.target is not None:  # it was named before anything was seen: a test is fair
        longest = float(rows["update"].max())
        times = {name: own.times(longest) for name, own in by_arm.items()}
        base = times.get(study.baseline.name)
        header += ("Updates (Kaplan-Meier median)", "p of the log-rank test, unadjusted")
        table = [
            (*row, *_survival(times[row[0]], None if row[0] == study.baseline.name else base))
            for row in table
        ]
    name = f"{split_of(metric)} {objective.name}"
    return Section(f"Time to {name} {number(target)}: {origin}", header, table)


def _target(study: Study, objective: Objective, rows: pd.DataFrame) -> tuple[float | None, str]:
    """Returns the target and where it comes from."""
    if rows.empty:
        return None, ""
    if study.measure.target is not None:
        return float(study.measure.target), "the study's target"
    base, margin = study.baseline.name, study.measure.margin
    replicates = rows[rows["arm"] == base].groupby(["repeat", "index"])
    ends = replicates.agg({"loss": "min", "tokens": "max"})
    lowest = ends.loc[ends["tokens"] == ends["tokens"].max(), "loss"].median()
    if not np.isfinite(lowest):
        return None, ""
    level = objective.level(float(lowest))
    origin = (
        f"the median {number(level)} of {base}'s replicates at their best and"
        f" {objective.margin_text(margin)}"
    )
    return objective.raised(level, margin), origin


@dataclass(frozen=True)
class _Reached:
    """When the replicates of an arm reached a target.

    Attributes:
        rows: Their curves.
        first: The rows of those evaluations at which each got there, by the replicate.
        ended: The replicates that have ended, with or without a curve.
    """

    rows: pd.DataFrame
    first: pd.DataFrame
    ended: pd.Index

    @classmethod
    def of(cls, rows: pd.DataFrame, ended: pd.DataFrame, loss: float) -> "_Reached":
        """Returns that of an arm's curves, which have the ``loss``, and of its ended runs."""
        first = rows[rows["loss"] <= loss].sort_values("update").drop_duplicates(_REPLICATE)
        return cls(rows, first.set_index(_REPLICATE), ended.set_index(_REPLICATE).index)

    @property
    def replicates(self) -> pd.Index:
        """Those that have ended, and those under way that were evaluated."""
        return self.ended.union(self.rows.set_index(_REPLICATE).index).unique()

    def times(self, longest: float) -> Times | None:
        """Returns after how many updates each got there; None where there is no replicate.

        One that has ended without is censored at the ``longest`` time of all arms, wherever it
        ended: it diverged or gave up, and will not get there. One under way is censored where it
        was seen last.
        """
        last = self.rows.groupby(_REPLICATE)["update"].max().reindex(self.replicates)
        last[last.index.isin(self.ended)] = longest
        if last.empty:
            return None
        reached = self.first["update"].reindex(last.index)
        return Times(reached.fillna(last).tolist(), reached.notna().tolist())


def _survival(own: Times | None, baseline: Times | None) -> tuple[str, str]:
    """Returns the median time, and how likely the baseline's are as different by chance."""
    if own is None:
        return "", ""
    median = kaplan_meier(own).median
    shown = "not half reach it" if median is None else f"{median:,.0f}"
    p = "" if baseline is None else p_text(log_rank(own, baseline).p).removeprefix("= ")
    return shown, p


def _reaching(result: ArmResult, reached: _Reached) -> tuple[str, ...]:
    """Returns an arm's row."""
    num_replicates, num_first = len(reached.replicates), len(reached.first)
    steps = reached.rows.sort_values("tokens").groupby(_REPLICATE)["tokens"].diff().dropna()
    rate = result.tokens_per_second.get(ALONE)
    counts = f"{num_first} of {num_replicates}"
    step = f"{steps.median():,.0f}" if len(steps) else ""
    if 2 * num_first <= num_replicates:
        half = "only half reach it" if 2 * num_first == num_replicates else "not half reach it"
        return result.name, counts, half if num_replicates else "", "", step
    late = np.full(num_replicates - num_first, np.inf)
    tokens = reached.first["tokens"].to_numpy(dtype=float)
    median = float(np.median(np.concatenate([tokens, late])))
    seconds = number(median / rate) if rate else "not timed"
    return result.name, counts, f"{median:,.0f}", seconds, step
