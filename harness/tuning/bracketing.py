"""Whether an arm's best setting lies inside of what its search tried.

Where a better value may lie beyond the last one tried, the arm has not been tried at its best, and
what it loses by says nothing of the arm.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.study import Choices, Range
from harness.study.fields import FIELDS
from harness.tuning.design import Space, is_ordered, size
from harness.tuning.tried import TriedSetting

Kind = Literal["flat", "open", "bracketed"]
Edge = Literal["smallest", "largest"]
EDGES: tuple[Edge, ...] = ("smallest", "largest")
NUM_ERRORS = 2.0
"""Standard errors of a setting's mean within which it may be as good as the best one."""


@dataclass(frozen=True)
class Bracket:
    """What a search shows of one ordered field.

    Attributes:
        kind: ``flat``: the smallest and the largest value tried are as good as the best one.
            ``open``: one of the two is, or may be. ``bracketed``: neither is, or the one that is
            has an excuse.
        edge: Which of the two; empty where it is both or neither.
        value: The best setting's.
        end: The value tried at ``edge``; None where there is no edge.
        excuse: Why a best value at ``edge`` does not make the field open: ``limit``, no value lies
            beyond; ``accepted``, the study says ``edge: accept``. Empty where it needs none.
    """

    kind: Kind
    edge: Edge | Literal[""]
    value: Any
    end: Any = None
    excuse: Literal["", "limit", "accepted"] = ""


def brackets(
    tried: Sequence[TriedSetting], space: Space, fields: Iterable[str], margin_loss: float
) -> dict[str, Bracket]:
    """Returns what a search shows of every field whose values have an order.

    A finished setting counts as good as the best one within :func:`tolerance` of it. A diverged one
    is worse. A pruned one is worse if it was worse than the best by more than the tolerance when it
    was ended; otherwise nobody knows, so that it can make a field open, but not flat. A field of
    which a single value was tried is open. Text, true and false, ``none`` outside of ``clip_norm``
    and lists of two have no value between others and are left out. Empty where nothing finished.

    Args:
        tried: Of one arm in one repeat.
        space: What is searched, as wide as it is by now.
        fields: Those that act in the arm.
        margin_loss: Of equivalence, as a difference of losses.
    """
    best = best_of(tried)
    if best is None:
        return {}
    within = tolerance(tried, margin_loss)
    return {
        field: _bracket(tried, best, field, space[field], within)
        for field in sorted(fields)
        if is_ordered(field, space[field])
    }


def best_of(tried: Sequence[TriedSetting]) -> TriedSetting | None:
    """Returns the finished setting of the lowest mean, the earliest of equals, or None."""
    finished = [each for each in tried if each.end == "finished"]
    return min(finished, key=lambda each: (each.nats, each.number), default=None)


def tolerance(tried: Sequence[TriedSetting], margin_loss: float) -> float:
    """Returns how far from the best a mean loss may lie and still be as good.

    It is the margin, or two standard errors of a setting's mean where those are more.
    """
    squares, degrees = seed_squares(tried)
    if not degrees:
        return margin_loss
    num_seeds = max(len(each.seed_nats) for each in tried)
    return max(margin_loss, NUM_ERRORS * math.sqrt(squares / degrees / num_seeds))


def seed_squares(tried: Sequence[TriedSetting]) -> tuple[float, int]:
    """Returns the sum of squares from seed to seed within settings, and its degrees of freedom.

    Over the better half of the settings that finished with all their seeds: seeds of bad settings
    lie further apart, and the question is whether good ones can be told apart.
    """
    whole = [each for each in tried if each.end == "finished" and not each.num_lost]
    whole.sort(key=lambda each: (each.nats, each.number))
    half = whole[: (len(whole) + 1) // 2]
    several = [each.seed_nats for each in half if len(each.seed_nats) > 1]
    squares = sum(float(np.var(seeds)) * len(seeds) for seeds in several)
    return squares, sum(len(seeds) - 1 for seeds in several)


def _bracket(
    tried: Sequence[TriedSetting],
    best: TriedSetting,
    field: str,
    domain: Range | Choices,
    within: float,
) -> Bracket:
    value = best.values[field]
    sizes = [(_size(field, each), each) for each in tried]
    ends = {"smallest": min(s for s, _ in sizes), "largest": max(s for s, _ in sizes)}
    at_end = {edge: [each for s, each in sizes if s == ends[edge]] for edge in EDGES}
    if ends["smallest"] == ends["largest"]:
        return _at(domain, field, "smallest", value, value)
    sure = [e for e in EDGES if any(_is_near(each, best, within) for each in at_end[e])]
    if len(sure) == 2:
        return Bracket("flat", "", value)
    unsure = {e: _least_lead(at_end[e], within) for e in EDGES if e not in sure}
    likely = sure or sorted((e for e in unsure if unsure[e] < math.inf), key=lambda e: unsure[e])
    if not likely:
        return Bracket("bracketed", "", value)
    found = [_at(domain, field, edge, value, at_end[edge][0].values[field]) for edge in likely]
    return next((bracket for bracket in found if bracket.kind == "open"), found[0])


def _at(domain: Range | Choices, field: str, edge: Edge, value: Any, end: Any) -> Bracket:
    """Returns the bracket of a field whose best values include one end of those tried alone."""
    if domain.edge == "accept":
        return Bracket("bracketed", edge, value, end, "accepted")
    if _ends_at_a_limit(domain, field, edge):
        return Bracket("bracketed", edge, value, end, "limit")
    return Bracket("open", edge, value, end)


def _ends_at_a_limit(domain: Range | Choices, field: str, edge: Edge) -> bool:
    """Returns whether what is searched goes as far as the field's values do, such as dropout 0."""
    bounds = FIELDS[field].metadata["bounds"]
    values = (domain.low, domain.high) if isinstance(domain, Range) else domain.choices
    sizes = [s for s in (size(field, value) for value in values) if s is not None]
    if edge == "smallest":
        return "ge" in bounds and min(sizes) <= bounds["ge"]
    return max(sizes) == math.inf or ("le" in bounds and max(sizes) >= bounds["le"])


def _is_near(each: TriedSetting, best: TriedSetting, within: float) -> bool:
    return each.end == "finished" and each.nats <= best.nats + within


def _least_lead(settings: Sequence[TriedSetting], within: float) -> float:
    """Returns how far behind the best a pruned setting was that may be as good; inf: none may."""
    leads = [each.lead or 0.0 for each in settings if each.end == "pruned"]
    return min((lead for lead in leads if lead <= within), default=math.inf)


def _size(field: str, each: TriedSetting) -> float:
    found = size(field, each.values[field])
    assert found is not None  # what is ordered has a size
    return found
