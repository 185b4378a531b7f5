"""What a search tries once more where an arm's best value lies at the end of what it tried.

Everything here is decided from ended trials, so a search that was killed, or got another arm, finds
the same answer again. See docs/decisions/search.md.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.randomness import Name
from harness.study import Choices, Range
from harness.tuning import design
from harness.tuning.bracketing import Edge, brackets
from harness.tuning.design import Space
from harness.tuning.tried import TriedSetting

OUTER = 0.25
"""Share of a range that may not grow, at its end, from which more points are taken."""


def next_points(
    tried: Mapping[str, Sequence[TriedSetting]],
    space: Space,
    fields: Mapping[str, Sequence[str]],
    *,
    trials: int,
    batch: int,
    at_most: int,
    margin_loss: float,
    names: tuple[Name, ...],
    num_ended: int | None = None,
) -> list[dict[str, Any]]:
    """Returns the round that every arm of a condition and repeat tries next, or [].

    After the budget, and after each further round of ``batch`` trials, every arm gets one more
    round while any arm is open at an end beyond which something is left to try, up to ``at_most``
    trials. A round's points are divided evenly among these ends. Those of one end are a shifted
    Sobol sequence over the whole space, but of the open field over the strip that the end has to
    offer alone. A round that some arm has begun stays as it was: an arm that came later goes the
    same way as the older ones.

    Args:
        tried: Arm -> its ended trials, in any order; those that failed are absent.
        space: What the study says is searched.
        fields: Arm -> the fields that act in it.
        trials: The budget of an arm.
        batch: Trials of a round.
        at_most: Most trials of an arm.
        margin_loss: Of equivalence, as a difference of losses.
        names: What the points derive from, the same for all arms.
        num_ended: The trials of lower numbers have ended in every arm, in whole rounds. None: that
            holds for all trials given.
    """
    known = {each.number: dict(each.values) for arm in tried.values() for each in arm}
    if num_ended is None:
        num_ended = max(known, default=-1) + 1
    if not trials <= num_ended < at_most:
        return []
    numbers = range(num_ended, min(num_ended + batch, at_most))
    whole = {arm: [e for e in tried[arm] if e.number < num_ended] for arm in tried}
    now = searched_space(space, (values for n, values in known.items() if n < num_ended))
    made = _round(_open_ends(whole, now, fields, margin_loss), space, now, numbers, names)
    begun = [known.get(n, made[n - num_ended] if made else None) for n in numbers]
    return [values for values in begun if values is not None]


def searched_space(space: Space, tried: Iterable[Mapping[str, Any]]) -> dict[str, Range | Choices]:
    """Returns the space after as few growths as it takes to hold all values tried.

    Args:
        space: What the study says is searched.
        tried: The values of every trial.
    """
    now, rows = dict(space), list(tried)
    for field, given in space.items():
        if not isinstance(given, Range) or given.widen is None or not rows:
            continue
        values = [values[field] for values in rows]
        grown = given
        while grown.high < min(max(values), given.widen[1]):
            grown = _grown(field, "largest", given, grown)
        while grown.low > max(min(values), given.widen[0]):
            grown = _grown(field, "smallest", given, grown)
        now[field] = grown
    return now


End = tuple[str, Edge]
"""A field and one of its ends."""


def _open_ends(
    tried: Mapping[str, Sequence[TriedSetting]],
    space: Space,
    fields: Mapping[str, Sequence[str]],
    margin_loss: float,
) -> dict[End, Any]:
    """Returns the ends at which an arm is open, each with the value tried there.

    Of several arms it is that of the arm that has gone least far.
    """
    ends: dict[End, Any] = {}
    for arm, trials in tried.items():
        for field, bracket in brackets(trials, space, fields[arm], margin_loss).items():
            if bracket.kind == "open" and bracket.edge:
                end = (field, bracket.edge)
                nearest = min if bracket.edge == "largest" else max
                ends[end] = nearest(
                    (ends.get(end, bracket.end), bracket.end), key=lambda v: _size(end[0], v)
                )
    return dict(sorted(ends.items()))


def _round(
    ends: Mapping[End, Any],
    space: Space,
    now: Space,
    numbers: range,
    names: tuple[Name, ...],
) -> list[dict[str, Any]]:
    """Returns a round's points, none where no end has anything left to try."""
    strips = {
        end: strip
        for end, tried in ends.items()
        if (strip := _strip(end, space[end[0]], now[end[0]], tried)) is not None
    }
    if not strips:
        return []
    first, count = numbers.start, len(numbers)
    turn = first % len(strips)  # with more ends than points another one begins
    order = [*list(strips)[turn:], *list(strips)[:turn]]
    points = []
    for i, (field, edge) in enumerate(order):
        share = count // len(order) + (i < count % len(order))
        own = (*names, "extension", first, field, edge)
        points += design.points({**now, field: strips[field, edge]}, own, share)
    return points


def _strip(
    end: End, given: Range | Choices, now: Range | Choices, tried: Any
) -> Range | Choices | None:
    """Returns what is left to try at an end.

    Where a range may grow, it is what one growth adds; else its outer quarter. Of a list, and of
    steps and whole numbers that may not grow, it is what lies beyond the value tried. None: nothing
    is left.
    """
    field, edge = end
    if isinstance(now, Range) and isinstance(given, Range):
        grown = _grown(field, edge, given, now)
        if not _is_list(field, now):
            return _outer(edge, now) if grown == now else _added(field, edge, now, grown)
        if grown != now:
            tried = now.high if edge == "largest" else now.low
        now = grown
    sign, end_size = (1.0 if edge == "largest" else -1.0), _size(field, tried)
    beyond = [v for v in design.listed(field, now) if sign * (_size(field, v) - end_size) > 0.0]
    return Choices(tuple(beyond)) if beyond else None


def _grown(field: str, edge: Edge, given: Range, now: Range) -> Range:
    """Returns a range after one growth at an end: by the width given, in the scale searched.

    So the first growth doubles it, and the points of later rounds lie no further apart. ``widen``
    cuts it short.
    """
    if given.widen is None:
        return now
    least, most = given.widen
    if _is_list(field, given):  # whole steps alone
        step = given.step or 1
        room = (most - now.high) if edge == "largest" else (now.low - least)
        more = min(given.num_steps, int(room / step + 1e-9)) * step
        low, high = now.low - more, now.high + more
    elif given.log:
        low, high = now.low * given.low / given.high, now.high * given.high / given.low
        low, high = max(low, least), min(high, most)
    else:
        width = given.high - given.low
        low, high = max(now.low - width, least), min(now.high + width, most)
    if edge == "largest":
        return dataclasses.replace(now, high=design.typed(field, high))
    return dataclasses.replace(now, low=design.typed(field, low))


def _added(field: str, edge: Edge, now: Range, grown: Range) -> Range:
    """Returns what ``grown`` has beyond an end of ``now``."""
    gap = 1 if design.is_whole(field) else 0
    if edge == "largest":
        return dataclasses.replace(grown, low=now.high + gap)
    return dataclasses.replace(grown, high=now.low - gap)


def _outer(edge: Edge, now: Range) -> Range:
    """Returns the outer quarter of a range, in the scale searched."""
    if now.log:
        share = (now.high / now.low) ** OUTER
        inner = now.high / share if edge == "largest" else now.low * share
    else:
        share = OUTER * (now.high - now.low)
        inner = now.high - share if edge == "largest" else now.low + share
    return dataclasses.replace(now, **{"low" if edge == "largest" else "high": inner})


def _is_list(field: str, domain: Range | Choices) -> bool:
    """Returns whether the values are drawn from a list: not from a range, or its logarithm."""
    return design.is_listed(field, domain) and not (isinstance(domain, Range) and domain.log)


def _size(field: str, value: Any) -> float:
    found = design.size(field, value)
    assert found is not None  # what is ordered has a size
    return found
