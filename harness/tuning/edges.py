"""What searches have to say beside a verdict, such as a best value at the edge of its range."""

import math
from collections.abc import Sequence
from typing import Any

from harness.study import Choices, Range
from harness.study.units import FAILURES_IN_A_ROW
from harness.tuning.search import ArmSearch

EDGE = 0.05
"""Share of a range's width, in the scale that it is searched in, that counts as its edge."""


def warnings(searches: Sequence[ArmSearch]) -> list[str]:
    """Returns what the searches of one arm, one a repeat, have to say beside a verdict.

    A line for an arm without a setting, for one that was stopped, and, in version 1 of the format,
    for every tuned field whose best value lies at the edge of its range: later versions do not
    compare such an arm.
    """
    lines = []
    for repeat, search in enumerate(searches):
        key = f"{search.arm}@{repeat}" if repeat else search.arm
        if search.best() is None:
            lines.append(f"{key}: no trial finished; the arm has no setting to replicate.")
        elif search.stopped:
            lines.append(f"{key}: stopped after {FAILURES_IN_A_ROW} failed trials in a row.")
    own = [search for search in searches if search.design is None]
    bests = [(search, trial) for search in own if (trial := search.best()) is not None]
    at_edge: dict[tuple[str, str], list[float]] = {}
    for search, trial in bests:
        for field, values in search.tune.space.items():
            if (edge := edge_of(values, trial.values[field])) is not None:
                at_edge.setdefault((field, edge), []).append(trial.values[field])
    lines += [
        f"{bests[0][0].arm}: {_edge_text(field, edge, values, len(searches))}; "
        "a wider range might favour this arm, so the comparison may not be fair."
        for (field, edge), values in at_edge.items()
    ]
    return lines


def _edge_text(field: str, edge: str, values: list[float], num_searches: int) -> str:
    where = f"lies at the {edge} edge of the range searched"
    if num_searches == 1:
        return f"its best {field} = {values[0]:.4g} {where}"
    return f"its best {field} {where} in {len(values)} of {num_searches} repeats"


def edge_of(values: Range | Choices, best: Any) -> str | None:
    """Returns "lower" or "upper" where ``best`` lies at that edge, else None.

    Only numbers have edges.
    """
    if isinstance(values, Choices):
        numbers = [
            v for v in values.choices if isinstance(v, (int, float)) and not isinstance(v, bool)
        ]
        if len(numbers) != len(values.choices) or len(numbers) < 3:
            return None
        return "lower" if best == min(numbers) else "upper" if best == max(numbers) else None
    low, high, at = values.low, values.high, float(best)
    if values.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    place = (at - low) / (high - low)
    return "lower" if place <= EDGE else "upper" if place >= 1 - EDGE else None
