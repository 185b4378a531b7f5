"""What decides that an arm is better, worse, equivalent, faster or slower than the baseline."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.statistics import inference
from harness.statistics.inference import ROUNDING, Interval, SignFlip

Verdict = Literal[
    "better",
    "worse",
    "equivalent",
    "equivalent and lower",
    "equivalent and higher",
    "identical",
    "undecided",
    "not comparable",
]
SpeedVerdict = Literal["faster", "slower", "no difference shown", "undecided", "not comparable"]

SEARCH_FACTOR = 2.5
"""Spreads of the search by which a difference must exceed 0, as k in docs/decisions/search.md.

The least one of those simulated that holds its bounds (studies/results/search-simulation.csv).
"""
DISTURBED = 0.5
"""Part of the rounds with a busy machine above which what is said of a speed says so too."""


@dataclass(frozen=True)
class Decision:
    """One arm against the baseline.

    Attributes:
        verdict: By :func:`decide`.
        num_pairs: Pairs whose two replicates finished or diverged.
        num_finished: Pairs whose two replicates finished: those that ``mean`` is over.
        mean: Mean difference of losses; where ``num_finished < num_pairs``, conditional on
            finishing. None: no pair.
        interval: 95 %, unadjusted. None: fewer than two pairs, or a diverged one.
        p: Of the paired Student test, or of the sign test where a pair diverged. None: fewer than
            two pairs.
        adjusted_p: ``p`` after Holm over the family.
        sign_flip: None where ``interval`` is, and before :func:`with_sign_flips`.
        adjusted_sign_flip_p: The sign-flip p after Holm over the family.
        spread: S, the search's own spread, as a loss; None: not known, or nothing was searched.
        wide: ``interval`` after :func:`widened` by ``spread``, which a verdict rests on where S is
            given. None where ``interval`` or ``spread`` is.
    """

    verdict: Verdict
    num_pairs: int
    num_finished: int
    mean: float | None
    interval: Interval | None
    p: float | None
    adjusted_p: float | None
    sign_flip: SignFlip | None = None
    adjusted_sign_flip_p: float | None = None
    spread: float | None = None
    wide: Interval | None = None


def decide(
    family: Sequence[np.ndarray],
    *,
    margin_loss: float,
    threshold: float = 0.05,
    first: int | None = None,
    spreads: Sequence[float | None] = (),
    incomparable: Sequence[bool] = (),
) -> list[Decision]:
    """Decides every arm of a study against its baseline.

    In this order: ``not comparable`` (the arm's search or the baseline's is open); ``identical``
    (no pair differs); ``equivalent`` (the interval of confidence 1 - 2 ``threshold``, 90 % by
    default, lies within the margin: two one-sided tests), "and lower" or "and higher" where the
    adjusted p is below ``threshold`` too; ``better`` or ``worse`` (adjusted p below ``threshold``);
    ``undecided``. Where a pair diverged there is no mean to be equivalent, and the sign test
    decides with those pairs as losses of whoever diverged.

    Where settings were searched, ``equivalent`` and ``better`` or ``worse`` need intervals widened
    by the search's spread too: the one within the margin, the other (of confidence 1 -
    ``threshold``) without 0. Where a pair diverged, the sign test must also pass with all pairs
    that differ by no more than k S counted for the other side. An unknown spread allows none of
    these verdicts. It plays no part where no pair differs.

    Args:
        family: One array of paired differences of losses per arm that is not the baseline.
        margin_loss: Of equivalence, as a difference of losses.
        threshold: Largest family-wise error rate.
        first: Pairs of a sequential design's first stage, see ``statistics``; None: the number of
            pairs was fixed.
        spreads: The search's spread, one per arm; None: it cannot be known. Empty: nothing
            was searched, or the pairs are repeats, which hold it already.
        incomparable: Whether an arm cannot be compared, one per arm; empty: all can. Such an arm
            has no p; Holm counts it as p = 1.

    Raises:
        ValueError: ``margin_loss`` or a spread is negative, ``threshold`` is not between 0 and
            0.5, or ``spreads`` or ``incomparable`` is neither empty nor one per arm.
    """
    if not margin_loss >= 0.0:
        raise ValueError(
            f"statistics: margin_loss >= 0 must hold, but got {margin_loss=}. Give a difference of"
            " losses such as 0.01."
        )
    inference.check_threshold(threshold)
    _check_search(len(family), spreads, incomparable)
    is_out = list(incomparable) or [False] * len(family)
    known = list(spreads) or [None] * len(family)
    added = [math.inf if s is None else s for s in spreads] or [0.0] * len(family)
    p_values = [None if out else _p(d, first) for d, out in zip(family, is_out, strict=True)]
    adjusted = inference.holm(p_values)
    decisions = []
    for i, d in enumerate(family):
        finished, spread = d[np.isfinite(d)], known[i]
        interval = inference.student_interval(d, first=first) if len(finished) == len(d) else None
        verdict: Verdict = "not comparable"
        if not is_out[i]:
            verdict = _verdict(d, adjusted[i], margin_loss, threshold, first, added[i])
        decisions.append(
            Decision(
                verdict=verdict,
                num_pairs=len(d),
                num_finished=len(finished),
                mean=float(np.mean(finished)) if len(finished) else None,
                interval=interval,
                p=p_values[i],
                adjusted_p=adjusted[i],
                spread=spread,
                wide=None if interval is None or spread is None else widened(interval, spread),
            )
        )
    return decisions


def widened(interval: Interval, spread: float) -> Interval:
    """Returns an interval about its middle whose half width is sqrt(half^2 + (k S)^2).

    k is SEARCH_FACTOR, S the search's ``spread``. Without S it is the same interval.
    """
    if spread == 0.0:
        return interval
    middle, half = (interval.high + interval.low) / 2.0, (interval.high - interval.low) / 2.0
    wide = math.hypot(half, SEARCH_FACTOR * spread)
    return Interval(middle - wide, middle + wide)


def _check_search(
    num_arms: int, spreads: Sequence[float | None], incomparable: Sequence[bool]
) -> None:
    lengths = {len(spreads), len(incomparable)} - {0, num_arms}
    if lengths or any(spread is not None and not spread >= 0.0 for spread in spreads):
        raise ValueError(
            "statistics: spreads >= 0 and incomparable, one of each per arm or none, must hold, but"
            f" got {num_arms=}, {spreads=}, {incomparable=}. Give one per arm of the family."
        )


def with_sign_flips(decided: Sequence[Decision], family: Sequence[np.ndarray]) -> list[Decision]:
    """Returns the decisions on ``family`` with the sign-flip test beside them.

    ``decided`` is what :func:`decide` returned; the sign-flip test decides nothing. It is not for a
    sequential design: its number of pairs depends on their sizes, and the test assumes that it does
    not.
    """
    flips = [
        None if d.interval is None or d.p is None else inference.sign_flip(x)
        for d, x in zip(decided, family, strict=True)
    ]
    adjusted = inference.holm([None if flip is None else flip.p for flip in flips])
    return [
        dataclasses.replace(decision, sign_flip=flip, adjusted_sign_flip_p=p)
        for decision, flip, p in zip(decided, flips, adjusted, strict=True)
    ]


def _p(differences: np.ndarray, first: int | None) -> float | None:
    if len(differences) < 2:
        return None
    if np.isfinite(differences).all():
        return inference.student_p(differences, first=first)
    return inference.sign_test(differences)


def _verdict(
    differences: np.ndarray,
    adjusted_p: float | None,
    margin_loss: float,
    threshold: float,
    first: int | None,
    spread: float,
) -> Verdict:
    if adjusted_p is None:
        return "undecided"
    is_significant = adjusted_p < threshold and math.isfinite(spread)
    if not np.isfinite(differences).all():
        if not is_significant or _sign_test(differences, spread) >= threshold:
            return "undecided"
        return "better" if np.sum(differences < 0) > np.sum(differences > 0) else "worse"
    if np.all(np.abs(differences) <= ROUNDING):
        return "identical"
    is_lower = float(np.mean(differences)) < 0.0

    def interval(confidence: float) -> Interval:
        seen = inference.student_interval(differences, confidence, first=first)
        assert seen is not None  # what has a p has two pairs
        return widened(seen, spread)

    if spread > 0.0:
        wide = interval(1.0 - threshold)
        is_significant = is_significant and not wide.low <= 0.0 <= wide.high
    both_sides = interval(1.0 - 2.0 * threshold)
    if -margin_loss < both_sides.low and both_sides.high < margin_loss:
        return (
            "equivalent"
            if not is_significant
            else "equivalent and lower"
            if is_lower
            else "equivalent and higher"
        )
    return "undecided" if not is_significant else "better" if is_lower else "worse"


def _sign_test(differences: np.ndarray, spread: float) -> float:
    """Returns the p of the sign test, the pairs that the search may have made counted against it.

    Those are the pairs that differ by k S or less. It is 1 where fewer pairs are left on the side
    that leads than lie against it: so many would be significant too, but for the other side.
    """
    if spread == 0.0:
        return inference.sign_test(differences)
    known = differences[~np.isnan(differences)]
    side = 1.0 if np.sum(known > 0) >= np.sum(known < 0) else -1.0
    within = side * known <= SEARCH_FACTOR * spread
    counted = side * np.where(within & np.isfinite(known), -side, known)
    still_leads = np.sum(counted > 0) > np.sum(counted < 0)
    return inference.sign_test(counted) if still_leads else 1.0


@dataclass(frozen=True)
class Timing:
    """What one arm's runtime was, and under which conditions.

    Attributes:
        seconds: Seconds per token by the number of the round.
        conditions: What must be equal for two runtimes to compare: engine, device and so on.
        busy: The rounds in which others kept the machine busy while it was timed.
    """

    seconds: Mapping[int, float]
    conditions: Mapping[str, object]
    busy: frozenset[int] = frozenset()


@dataclass(frozen=True)
class SpeedDecision:
    """How many times as fast as the baseline an arm is.

    ``ratio`` is a median over rounds, ``interval`` its order-statistic 95 % interval; ``reason``
    says why the verdict is ``undecided`` or ``not comparable``, and is empty otherwise.
    ``is_disturbed``: others kept the machine busy in more than ``DISTURBED`` of its rounds.
    """

    verdict: SpeedVerdict
    num_rounds: int
    ratio: float | None = None
    interval: Interval | None = None
    adjusted_p: float | None = None
    reason: str = ""
    is_disturbed: bool = False

    @property
    def is_of_one_arm(self) -> bool:
        """Whether the interval leaves 1 out where the test, which asks of all arms, shows nothing.

        An interval is of its arm alone.
        """
        ends = self.interval
        is_left_out = ends is not None and not ends.low <= 1.0 <= ends.high
        return is_left_out and self.verdict == "no difference shown"


def decide_speed(
    baseline: Timing, arms: Sequence[Timing], *, threshold: float = 0.05
) -> list[SpeedDecision]:
    """Decides ``faster`` or ``slower`` by a sign test over rounds, after Holm over the arms.

    A round times all arms one after another, so its log ratio is free of slow drift. The test
    assumes that rounds are exchangeable and no more: without a difference each arm is the faster
    one of a round with probability 1/2. ``undecided`` where an arm's rounds are too few to reach
    ``threshold`` even if all of them agreed.
    """
    inference.check_threshold(threshold)
    reasons = [_incomparable(baseline, arm) for arm in arms]
    logs = [np.log(_speed_ratios(baseline, arm)) for arm in arms]
    p_values = [
        None if why else inference.sign_test(x) for why, x in zip(reasons, logs, strict=True)
    ]
    adjusted = inference.holm(p_values)
    decided = []
    for i, (x, p, why) in enumerate(zip(logs, adjusted, reasons, strict=True)):
        if p is None:
            decided.append(SpeedDecision("not comparable", len(x), reason=why))
            continue
        if_agreed = [*p_values[:i], inference.smallest_p(len(x)), *p_values[i + 1 :]]
        agreed = inference.holm(if_agreed)[i]
        assert agreed is not None
        decision = _speed_decision(x, p, agreed, len(arms), threshold)
        decided.append(dataclasses.replace(decision, is_disturbed=_is_disturbed(baseline, arms[i])))
    return decided


def _is_disturbed(baseline: Timing, arm: Timing) -> bool:
    rounds = set(baseline.seconds) & set(arm.seconds)
    return len(rounds & (baseline.busy | arm.busy)) > DISTURBED * len(rounds)


def _incomparable(baseline: Timing, arm: Timing) -> str:
    if not set(baseline.seconds) & set(arm.seconds):
        return "no round timed both"
    names = sorted(set(baseline.conditions) | set(arm.conditions))
    pairs = [(name, baseline.conditions.get(name), arm.conditions.get(name)) for name in names]
    return "; ".join(
        f"{name} differs ({theirs} and {ours})" for name, theirs, ours in pairs if theirs != ours
    )


def _speed_ratios(baseline: Timing, arm: Timing) -> np.ndarray:
    rounds = sorted(set(baseline.seconds) & set(arm.seconds))
    return np.array([baseline.seconds[r] / arm.seconds[r] for r in rounds], dtype=np.float64)


def _speed_decision(
    logs: np.ndarray, adjusted_p: float, agreed_p: float, num_comparisons: int, threshold: float
) -> SpeedDecision:
    """Decides one arm; ``agreed_p`` is what ``adjusted_p`` would be if all rounds agreed."""
    interval, reason = inference.median_interval(logs), ""
    verdict: SpeedVerdict = "no difference shown"
    if adjusted_p < threshold:
        verdict = "faster" if np.sum(logs > 0) > np.sum(logs < 0) else "slower"
    elif agreed_p >= threshold:
        verdict, needed = "undecided", inference.seeds_needed(num_comparisons, threshold)
        reason = (
            f"{len(logs)} round{'s' if len(logs) != 1 else ''} cannot show a difference, because"
            f" even if all agreed, the Holm-adjusted p would be {agreed_p:.2g}; {needed} could"
        )
    return SpeedDecision(
        verdict=verdict,
        num_rounds=len(logs),
        ratio=math.exp(float(np.median(logs))),
        interval=None
        if interval is None
        else Interval(math.exp(interval.low), math.exp(interval.high)),
        adjusted_p=adjusted_p,
        reason=reason,
    )
