"""Which arm is cheapest at an equal number, from a study's stored runs.

The rule: an arm's *final* loss is the one that most of its replicates, more than half of them, came
down to at an evaluation. The target is the worst arm's, or one that a person names. A replicate
reaches it at its first evaluation that is as good, and one that never does is later than all
others. An arm's cost is the median over its replicates of the seconds of training until then; what
was spent on its search is not among them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.report import measure
from harness.report.arm_results import ArmResult
from harness.report.assemble import stored_report, warnings_of
from harness.report.condition_report import ConditionReport
from harness.report.number_texts import number
from harness.report.tables import Section
from harness.report.timings import ALONE
from harness.results.open import open_study
from harness.statistics import inference
from harness.store.locations import Locations
from harness.study.units import Phase
from harness.tasks.objective import Objective, objective_of, split_of
from harness.training.files import write_whole
from harness.training.messages import RunState

ALONE_SECONDS = "seconds of a run alone, by its measured speed"
PACK_SECONDS = "seconds as the packs took, since not every arm was timed alike"
REPLICATE = ["repeat", "index"]
TERA = 1e12
NONE_FINISHED = "no replicate finished"
DIVERGED = "half or more of its replicates diverged"
PASSES = 3
"""Forward passes that an update is worth in products."""


class EqualCostError(ValueError):
    """A study of which no costs at an equal number can be told."""


@dataclass(frozen=True)
class ArmCost:
    """What it took an arm to come down to the target.

    Attributes:
        name: The arm's.
        final: What most of its replicates came down to; None: no such number.
        num_reached: The replicates that reached the target.
        num_replicates: All that ended.
        tokens: The median until then; None: no more than half of the replicates reach it.
        seconds: Likewise.
        lowest_seconds: Of the replicate that was first to reach it.
        highest_seconds: Of that which was last, of those that did.
        flops: The median FLOPs of products until then; None: not known.
        seconds_between: From one evaluation to the next: no cost is known more finely.
        ratio: Of its seconds to the cheapest arm's, the geometric mean over pairs of replicates.
        interval: Its ends at 95 %; None: fewer than two pairs.
        left_out: Why it stands beside no other; empty: it does.
        curve: The median number by tokens and by seconds.
    """

    name: str
    final: float | None
    num_reached: int
    num_replicates: int
    tokens: float | None = None
    seconds: float | None = None
    lowest_seconds: float | None = None
    highest_seconds: float | None = None
    flops: float | None = None
    seconds_between: float | None = None
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    left_out: str = ""
    curve: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True)
class EqualCosts:
    """The costs of the arms under one condition.

    Attributes:
        condition: Its name; empty where there is but one.
        split: The split whose number is reached.
        objective: Its key.
        target: The number.
        origin: Whose it is.
        clock: Which seconds are told.
        arms: In the study's order.
    """

    condition: str
    split: str
    objective: str
    target: float
    origin: str
    clock: str
    arms: tuple[ArmCost, ...]

    @property
    def cheapest(self) -> ArmCost | None:
        """The arm that takes the fewest seconds; None: none reaches the target."""
        reaching = [arm for arm in self.arms if arm.seconds is not None]
        return min(reaching, key=lambda arm: arm.seconds or 0.0, default=None)

    @property
    def answer(self) -> str:
        """A sentence on the cheapest arm, and one on those that never reach the target."""
        where = f"{self.condition}: at" if self.condition else "At"
        name = objective_of(f"{self.split}/{self.objective}").name
        at = f"{where} {self.split} {name} {number(self.target)}, {self.origin},"
        best = self.cheapest
        if best is None or best.seconds is None:
            few = "no more than half of the replicates of any arm reach it"
            return f"{at} no arm is cheapest: {few}."
        others = [arm for arm in self.arms if arm.interval is not None and arm is not best]
        near = [arm.name for arm in others if arm.interval and arm.interval[0] <= 1.0]
        never = [arm.name for arm in self.arms if arm.seconds is None and not arm.left_out]
        lines = [f"{at} {best.name} is cheapest, after {number(best.seconds)} s"]
        lines[0] += f"; {', '.join(near)} cannot be told apart from it." if near else "."
        if never:
            verb = "reaches" if len(never) == 1 else "reach"
            lines.append(f"{', '.join(never)} {verb} it in no more than half of the replicates.")
        return " ".join(lines)

    @property
    def section(self) -> Section:
        """A row per arm."""
        name = objective_of(f"{self.split}/{self.objective}").title
        header = ("Arm", f"{name} (final)", "Reach it", "Seconds", "Ratio (95 %)")
        title = f"{f'{self.condition}: ' if self.condition else ''}{self.clock}"
        rows = [_row(arm) for arm in self.arms]
        return Section(title, (*header, "TFLOP", "Step, s"), rows)


def _row(arm: ArmCost) -> tuple[str, ...]:
    reach = f"{arm.num_reached}/{arm.num_replicates}"
    final = "none" if arm.final is None else number(arm.final)
    if arm.left_out:
        return arm.name, final, "", f"left out: {arm.left_out}", "", "", ""
    step = "" if arm.seconds_between is None else number(arm.seconds_between)
    if arm.seconds is None:
        return arm.name, final, reach, "never", "", "", step
    ratio = "1" if arm.ratio is None else f"{arm.ratio:.2f}"
    if arm.interval is not None:
        ratio = f"{ratio} ({arm.interval[0]:.2f}-{arm.interval[1]:.2f})"
    flops = "" if arm.flops is None else f"{arm.flops / TERA:.3g}"
    return arm.name, final, reach, number(arm.seconds), ratio, flops, step


def equal_costs(
    study: str, overrides: tuple[str, ...], locations: Locations, target: float | None = None
) -> tuple[list[EqualCosts], list[ConditionReport]]:
    """Returns the costs under every condition of a stored study, and what they were told from.

    Args:
        study: Its YAML file, or its name in the store.
        overrides: As ``harness run`` was given them.
        locations: Where it is stored.
        target: The number to be reached; None: the worst arm's.

    Raises:
        EqualCostError: No arm of it has a cost, or no number is such a target.
        ValueError: As :func:`harness.results.open.open_study`.
    """
    loaded, reader = open_study(study, overrides, locations)
    report = stored_report(loaded, reader, warnings_of(loaded, reader.notes()))
    costs = [costs_of(each, target) for each in report.conditions]
    found = [each for each in costs if each is not None]
    if not found:
        raise EqualCostError(_no_cost(loaded.name, report.conditions, locations))
    told = [r for r, each in zip(report.conditions, costs, strict=True) if each is not None]
    return found, told


def _no_cost(study: str, conditions: Sequence[ConditionReport], locations: Locations) -> str:
    """Returns why no arm of a study has a cost, and what to do."""
    why = set()
    for condition in conditions:
        ended = _ended(condition)
        for result in condition.results:
            rows = ended[ended["arm"] == result.name]
            reason = _left_out(result, rows)
            all_diverged = reason == NONE_FINISHED and len(rows)
            why.add(DIVERGED if all_diverged or not reason else reason)
    if why == {NONE_FINISHED}:
        return f"study: must have replicates that finished, but got none of {study!r}. Run it."
    return (
        f"study: must have an arm whose cost can be told, but got none of {study!r}: of each arm "
        f"{' or '.join(sorted(why))}. `harness report {study}{locations.options}` tells more."
    )


def costs_of(condition: ConditionReport, target: float | None = None) -> EqualCosts | None:
    """Returns the costs under a condition; None: no arm's replicates came down to a number.

    Args:
        condition: What its runs show.
        target: The number to be reached; None: the worst arm's.

    Raises:
        EqualCostError: No number is such a target.
    """
    metric = measure.curve_metric(condition.study)
    objective = objective_of(condition.study.measure.objective)
    if target is not None and (not math.isfinite(target) or (objective.is_ratio and target <= 0)):
        raise EqualCostError(
            f"target: must be a {objective.name} that can be, but got {target=}. Give another."
        )
    rows, clock = _clocked(condition, metric)
    of_arm = {r.name: rows[rows["arm"] == r.name] for r in condition.results}
    finals = {name: _final(own) for name, own in of_arm.items()}
    placed = [r.name for r in condition.results if not _left_out(r, of_arm[r.name])]
    known = {name: final for name in placed if (final := finals[name]) is not None}
    if not known:
        return None
    worst = max(known, key=lambda name: known[name])
    level = objective.level(known[worst]) if target is None else target
    arms = [
        _arm_cost(result, of_arm[result.name], finals[result.name], objective, level)
        for result in condition.results
    ]
    return EqualCosts(
        condition=condition.title,
        split=split_of(metric),
        objective=objective.key,
        target=level,
        origin=f"which {worst} comes down to" if target is None else "which was asked for",
        clock=clock[0].upper() + clock[1:],
        arms=tuple(_with_ratios(arms, rows, objective.loss(level))),
    )


def _clocked(condition: ConditionReport, metric: str) -> tuple[pd.DataFrame, str]:
    """Returns the evaluations of replicates that ended, and which seconds are told.

    They have loss and seconds. A replicate that diverged before its first has a row without.
    """
    curves = condition.curves[condition.curves["phase"] == Phase.REPLICATE]
    key = ["arm", *REPLICATE]
    rows = _ended(condition).join(curves.set_index(key)[["tokens", "time_seconds", metric]], on=key)
    rows = rows.assign(loss=rows[metric].astype(float).fillna(math.inf))
    timed = [result for result in condition.results if ALONE in result.tokens_per_second]
    alike = {result.conditions[ALONE] for result in timed}
    if len(timed) == len(condition.results) and len(alike) == 1:
        rates = {result.name: result.tokens_per_second[ALONE] for result in timed}
        return rows.assign(
            seconds=rows["tokens"] / rows["arm"].map(rates).astype(float)
        ), ALONE_SECONDS
    return rows.assign(seconds=rows["time_seconds"].astype(float)), PACK_SECONDS


def _ended(condition: ConditionReport) -> pd.DataFrame:
    """Returns the replicates that ended, a row each, with their state."""
    runs = condition.runs[condition.runs["phase"] == Phase.REPLICATE]
    is_over = runs["state"].isin([RunState.FINISHED, RunState.DIVERGED])
    ended = runs.loc[is_over, ["arm", *REPLICATE, "state"]].astype({"arm": "str"})
    return ended.drop_duplicates(["arm", *REPLICATE])


def _left_out(result: ArmResult, ended: pd.DataFrame) -> str:
    """Returns why an arm, whose replicates that ended are given, stands beside no other."""
    if result.incomparable:
        return "it reads another text"
    if result.is_open:
        return "its search is open"
    return "" if (ended["state"] == RunState.FINISHED).any() else NONE_FINISHED


def _final(rows: pd.DataFrame) -> float | None:
    """Returns the loss that most of an arm's replicates came down to; None: they diverged."""
    lowest = np.sort(rows.groupby(REPLICATE)["loss"].min().to_numpy())
    diverged = rows.loc[rows["state"] == RunState.DIVERGED].groupby(REPLICATE).ngroups
    if not len(lowest) or 2 * diverged >= len(lowest):
        return None
    final = float(lowest[len(lowest) // 2])
    return final if math.isfinite(final) else None


def _first(rows: pd.DataFrame, loss: float, column: str) -> pd.Series:
    """Returns what each replicate had spent when it reached a loss; infinite where it never did."""
    # A replicate's own lowest loss is reached by it, however it is rounded on the way.
    is_reached = rows["loss"] <= loss + 1e-12 * max(1.0, abs(loss))
    reached: pd.Series = rows[is_reached].groupby(REPLICATE)[column].min()
    return reached.reindex(rows.groupby(REPLICATE).size().index).fillna(math.inf)


def _arm_cost(
    result: ArmResult,
    rows: pd.DataFrame,
    final: float | None,
    objective: Objective,
    target: float,
) -> ArmCost:
    seconds = _first(rows, objective.loss(target), "seconds").to_numpy(dtype=float)
    tokens = _first(rows, objective.loss(target), "tokens").to_numpy(dtype=float)
    reached = seconds[np.isfinite(seconds)]
    steps = rows.sort_values("tokens").groupby(REPLICATE)["seconds"].diff().dropna()
    cost = ArmCost(
        name=result.name,
        final=None if final is None else objective.level(final),
        num_reached=len(reached),
        num_replicates=len(seconds),
        seconds_between=float(steps.median()) if len(steps) else None,
        left_out=_left_out(result, rows),
        curve=_curve(rows, objective),
    )
    if cost.left_out or not len(seconds) or not math.isfinite(median := float(np.median(seconds))):
        return cost
    spent = float(np.median(tokens))
    flops = result.flops_per_token
    return replace(
        cost,
        tokens=spent,
        seconds=median,
        lowest_seconds=float(reached.min()),
        highest_seconds=float(reached.max()),
        flops=None if flops is None else PASSES * flops * spent,
    )


def _curve(rows: pd.DataFrame, objective: Objective) -> tuple[dict[str, float], ...]:
    medians = rows.groupby("tokens", sort=True)[["seconds", "loss"]].median()
    return tuple(
        {
            "tokens": float(str(tokens)),
            "seconds": float(row["seconds"]),
            objective.key: objective.level(float(row["loss"])),
        }
        for tokens, row in medians.iterrows()
        if math.isfinite(float(row["loss"]))
    )


def _with_ratios(arms: Sequence[ArmCost], rows: pd.DataFrame, loss: float) -> list[ArmCost]:
    """Returns the arms with their ratios to the cheapest, over the replicates of one seed."""
    reaching = [arm for arm in arms if arm.seconds is not None]
    if not reaching:
        return list(arms)
    best = min(reaching, key=lambda arm: arm.seconds or 0.0)
    firsts = {arm.name: _first(rows[rows["arm"] == arm.name], loss, "seconds") for arm in reaching}
    return [
        arm if arm is best or arm.seconds is None else _with_ratio(arm, firsts, best.name)
        for arm in arms
    ]


def _with_ratio(arm: ArmCost, firsts: Mapping[str, pd.Series], best: str) -> ArmCost:
    logs = np.log(firsts[arm.name]) - np.log(firsts[best])
    pairs = logs[np.isfinite(logs)].to_numpy(dtype=float)
    if not len(pairs):
        return arm
    interval = inference.student_interval(pairs)
    ends = None if interval is None else (math.exp(interval.low), math.exp(interval.high))
    return replace(arm, ratio=math.exp(float(pairs.mean())), interval=ends)


def to_json(costs: Sequence[EqualCosts]) -> str:
    """Returns the costs of all conditions as JSON, with the arms' curves."""
    values: list[dict[str, Any]] = [{**asdict(each), "answer": each.answer} for each in costs]
    return json.dumps({"version": 1, "conditions": values}, indent=1)


def write_json(costs: Sequence[EqualCosts], path: Path) -> None:
    """Writes :func:`to_json` into a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, to_json(costs).encode())


def draw(costs: Sequence[EqualCosts], reports: Sequence[ConditionReport], path: Path) -> list[Path]:
    """Draws the curves over seconds with the target, a file a condition; returns the files."""
    from harness.report import curve_figures, drawing  # late: they load matplotlib

    written = []
    for each, report in zip(costs, reports, strict=True):
        metric = measure.curve_metric(report.study)
        drawn = curve_figures.learning_curves(report.results, report.curves, metric)
        over_seconds = next(figure for figure in drawn if figure.name.endswith("seconds"))
        with drawing.style():
            for axes in over_seconds.figure.axes:
                axes.axhline(each.target, color=drawing.FAINT, linewidth=0.8, linestyle=":")
            file = path.with_stem(f"{report.slug}{path.stem}") if report.title else path
            file.parent.mkdir(parents=True, exist_ok=True)
            over_seconds.figure.savefig(file, dpi=drawing.PNG_DOTS_PER_INCH)
        written.append(file)
    return written
