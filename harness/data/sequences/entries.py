"""What a table's entries mean: numbers, time stamps, or neither; and which rows they stand in."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

_NO_VALUE = ("", "na", "nan", "null")
_MOST_ROWS = 5  # that a message names
_EPOCH = datetime(1970, 1, 1)


def rows_named(rows: Iterable[int]) -> str:
    """Returns how a message names rows, the first of which is 1."""
    numbers = [f"{row:,}" for row in rows]
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    if len(numbers) > _MOST_ROWS:
        more = len(numbers) - _MOST_ROWS
        return f"rows {', '.join(numbers[:_MOST_ROWS])} and {more:,} more"
    return f"rows {', '.join(numbers[:-1])} and {numbers[-1]}"


def numbers_of(where: str, entries: Sequence[Any]) -> tuple[np.ndarray, list[str]]:
    """Returns a column's numbers, float64 (L,), NaN where there is none; and what is wrong.

    Args:
        where: What the message calls the column.
        entries: Texts, numbers or None.
    """
    numbers = _each(_number, entries)
    values = np.array([np.nan if each is None else each for each in numbers], np.float64)
    wrong = [row for row, each in enumerate(numbers, 1) if each is None]
    if not wrong:
        return values, []
    first = entries[wrong[0] - 1]
    return values, [
        f"{where} must hold finite numbers, with a point and no comma, but got {first!r} in "
        f"{rows_named(wrong)}. Correct them, or name other columns."
    ]


def times_of(where: str, entries: Sequence[Any]) -> tuple[np.ndarray | None, list[str]]:
    """Returns a column's times, (L,), and what is wrong; None where they cannot be put in order.

    They are numbers, float64, or time stamps, datetime64 in UTC: whichever more entries can be.

    Args:
        where: What the message calls the column.
        entries: Texts, numbers, dates or None.
    """
    readings = _each(_moment, entries), _each(_time, entries)
    found = min(readings, key=lambda reading: reading.count(None))
    are_moments = found is readings[0]
    # NaN is neither before nor after anything, so it is no further problem.
    positions = np.array([np.nan if each is None else each for each in found], np.float64)
    problems = []
    if unreadable := [row for row, each in enumerate(found, 1) if each is None]:
        entry = entries[unreadable[0] - 1]
        problems.append(
            f"{where} must hold time stamps such as 2020-01-31 or 2020-01-31T08:00, or numbers, "
            f"but got {entry!r} in {rows_named(unreadable)}. Correct them."
        )
    if early := (np.flatnonzero(np.diff(positions) < 0) + 2).tolist():
        problems.append(
            f"{where} must ascend, but got a time before that of the row above in "
            f"{rows_named(early)}. Sort the rows by time."
        )
    if doubled := _doubled(positions):
        problems.append(
            f"{where} must hold every time once, but got one that was there before in "
            f"{rows_named(doubled)}. Keep one row of each time."
        )
    if problems:
        return None, problems
    return (positions.astype("datetime64[us]") if are_moments else positions), []


def time_of(entry: Any, *, are_moments: bool) -> np.generic | None:
    """Returns a time of the kind that a column has; None where it is none.

    Args:
        entry: A text, a number or a date.
        are_moments: Whether the column has time stamps; else they are numbers.
    """
    if not are_moments:
        number = _time(entry)
        return None if number is None else np.float64(number)
    moment = _moment(entry)
    return None if moment is None else np.datetime64(int(moment), "us")


def _each(read: Callable[[Any], float | None], entries: Sequence[Any]) -> list[float | None]:
    return [read(entry) for entry in entries]


def _number(entry: Any) -> float | None:
    """Returns an entry's number, NaN where it has no value; None where it is no finite number."""
    if entry is None or isinstance(entry, str) and entry.strip().lower() in _NO_VALUE:
        return np.nan
    if isinstance(entry, bool):
        return None
    try:
        number = float(entry)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if np.isinf(number) else number


def _time(entry: Any) -> float | None:
    number = _number(entry)
    return None if number is None or np.isnan(number) else number


def _moment(entry: Any) -> float | None:
    """Returns an entry's microseconds since 1970; None where it is no date."""
    if isinstance(entry, str):
        try:
            entry = datetime.fromisoformat(_day(entry.strip()))
        except ValueError:
            return None
    if not isinstance(entry, date):
        return None
    moment = entry if isinstance(entry, datetime) else datetime(entry.year, entry.month, entry.day)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return (moment - _EPOCH) / timedelta(microseconds=1)


def _day(text: str) -> str:
    """Returns a month, such as 2020-01, as its first day; any other text as it is."""
    return f"{text}-01" if len(text) == len("2020-01") and text[4] == "-" else text


def _doubled(positions: np.ndarray) -> list[int]:
    """Returns the rows whose time an earlier row has."""
    rows = np.flatnonzero(~np.isnan(positions))
    _, first = np.unique(positions[rows], return_index=True)
    return [int(row) + 1 for row in np.delete(rows, first)]
