"""How numbers are written: levels, ratios, differences, probabilities, each with its interval."""

import math

from harness.statistics.inference import Interval
from harness.tasks.objective import Objective

MOST_PLAIN = 1e7
"""From here on a number is written with an exponent: what diverged would else fill a table."""
LEAST_PLAIN = 0.01
"""A smaller number has significant digits instead of decimals."""


def number(value: float, *, decimals: int | None = None) -> str:
    """Returns a level or a rate with about four significant digits, or with ``decimals``.

    Of less than a hundredth, which three decimals would hide, it has two.

    >>> number(4.2), number(0.0213), number(0.000213)
    ('4.200', '0.021', '0.00021')
    """
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= MOST_PLAIN and decimals is None:
        return f"{value:.3g}"
    if decimals is None and 0 < abs(value) < LEAST_PLAIN:
        return f"{value:.2g}"
    if decimals is None:
        decimals = max(0, min(3, 3 - math.floor(math.log10(abs(value))))) if value else 0
    return f"{_rounded(value, decimals):,.{decimals}f}"


def _rounded(value: float, decimals: int) -> float:
    """Returns a value so that what is shown as zero has no sign."""
    return round(value, decimals) + 0.0


def p_text(p: float) -> str:
    """Returns ``= 0.004`` or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def ratio_texts(
    ratio: float, interval: Interval | None, *, decimals: int = 3, sign: str = ""
) -> tuple[str, str, str]:
    """Returns a ratio and the ends of its interval.

    They have ``decimals``, or as many more as show the interval's width. A ``sign`` of "+" writes
    the sign of a difference.
    """
    if interval is None:
        return _signed(ratio, decimals, sign), "", ""
    half = (interval.high - interval.low) / 2.0
    if 0.0 < half < 1.0:
        decimals = max(decimals, min(7, math.ceil(-math.log10(half))))
    ratio_text, low, high = (
        _signed(value, decimals, sign) for value in (ratio, interval.low, interval.high)
    )
    return ratio_text, low, high


def _signed(value: float, decimals: int, sign: str) -> str:
    if abs(value) >= MOST_PLAIN:
        return f"{value:{sign}.3g}"
    rounded = _rounded(value, decimals)
    return f"{rounded:{sign if rounded else ''},.{decimals}f}"


def difference_texts(
    objective: Objective, mean: float, interval: Interval | None
) -> tuple[str, str, str]:
    """Returns a mean difference of losses, and the ends of its interval, as a reader sees them."""
    ends = None
    if interval is not None:
        ends = Interval(*objective.difference_ends(interval.low, interval.high))
    return ratio_texts(objective.difference(mean), ends, sign=objective.sign)


def level_text(objective: Objective, mean: float, interval: Interval | None) -> str:
    """Returns a mean loss as the number shown, with its interval where there is one."""
    text = number(objective.level(mean))
    if interval is None:
        return text
    low, high = map(number, objective.level_ends(interval.low, interval.high))
    return f"{text} ({low} to {high})"
