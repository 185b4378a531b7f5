"""Gaps of a series: steps that have no row, and rows that have no value.

A series goes on in equal steps. What is missing is refused, or filled as asked.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from harness.data.errors import DataError
from harness.data.sequences.entries import rows_named
from harness.data.sequences.series import Series

Gaps = Literal["refuse", "previous", "linear"]
"""refuse; fill with the value before; or with what lies on the line between the two beside it."""
_UNEVEN = 0.2  # of a step; the months of a year are 8 % apart from their mean at most
_REMEDY = "Write gaps: previous or gaps: linear, and they are filled; or mend the rows."


def without_gaps(
    name: str,
    where: str,
    times: np.ndarray | None,
    values: Mapping[str, np.ndarray],
    gaps: Gaps,
    problems: Sequence[str] = (),
) -> Series:
    """Returns a series in equal steps, in which every step has a value of every column.

    Args:
        name: What it is, in one line.
        where: What messages call it.
        times: (L,), ascending; None: they could not be read.
        values: Column -> (L,), with NaN where there is none.
        gaps: What becomes of them.
        problems: What is wrong already.

    Raises:
        DataError: Something is wrong already, steps are unequal, or gaps are not as asked. The
            message has a line for every problem.
    """
    found = [*problems]
    for column, each in values.items():
        found += _value_problems(f"{where}: column {column!r}", each, gaps)
    if times is not None:
        steps, faults = _steps(f"{where}: time", times, gaps)
        found += faults
    if found or times is None:
        raise DataError(*found)
    length = int(steps[-1]) + 1
    spread = np.full((length, len(values)), np.nan)
    spread[steps] = np.stack(list(values.values()), axis=1)
    is_measured = ~np.isnan(spread).any(axis=1)
    if not is_measured.all():
        times = _times_between(times, steps)
        spread = np.stack([_filled(column, gaps) for column in spread.T], axis=1)
    return Series(name, times, spread, tuple(values), is_measured)


def _value_problems(where: str, values: np.ndarray, gaps: Gaps) -> list[str]:
    missing = np.isnan(values)
    if missing.all():
        return [f"{where} must have numbers, but got none in any row. Name other columns."]
    if gaps == "refuse":
        if not missing.any():
            return []
        rows = rows_named((np.flatnonzero(missing) + 1).tolist())
        return [f"{where} must have a number in every row, but got none in {rows}. {_REMEDY}"]
    known = np.flatnonzero(~missing)
    sides = {"before": list(range(1, known[0] + 1))}
    if gaps == "linear":
        sides["after"] = list(range(known[-1] + 2, len(values) + 1))
    return [
        f"{where} must have a number {side} a gap that is to be filled by {gaps=}, but got none "
        f"{side} {rows_named(rows)}. Remove these rows."
        for side, rows in sides.items()
        if rows
    ]


def _steps(where: str, times: np.ndarray, gaps: Gaps) -> tuple[np.ndarray, list[str]]:
    """Returns on which step each row lies, int64 (L,), and what is wrong."""
    spans = np.diff(times).astype(np.float64)
    if len(spans) == 0:
        return np.zeros(len(times), np.int64), []
    # Months are not equally long; and of half of the rows the next one is there.
    step = spans[spans < 1.5 * np.quantile(spans, 0.5, method="lower")].mean()
    nearest = np.rint(spans / step)
    # Over many steps, that of the mean is as uncertain as all of them are together.
    is_uneven = (np.abs(spans / step - nearest) > _UNEVEN + 0.02 * nearest) | (nearest == 0)
    steps = np.concatenate([[0], np.cumsum(nearest)]).astype(np.int64)
    if rows := (np.flatnonzero(is_uneven) + 2).tolist():
        return steps, [
            f"{where} must go on in equal steps, but got another in {rows_named(rows)}. Correct "
            "them, or leave out time: rows then follow each other in equal steps."
        ]
    num_missing = int(steps[-1]) + 1 - len(times)
    if num_missing > (0 if gaps == "refuse" else len(times)):
        rows = (np.flatnonzero(nearest > 1) + 2).tolist()
        rule = "no step without a row" if gaps == "refuse" else "a row for half of its steps"
        text = (
            f"{where} must have {rule}, but got {num_missing:,} missing above {rows_named(rows)}."
        )
        other = "Leave out time, and rows follow each other in equal steps."
        return steps, [f"{text} {_REMEDY if gaps == 'refuse' else 'Correct them.'} {other}"]
    return steps, []


def _times_between(times: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Returns the times of all steps, those of missing ones at equal distances."""
    every = np.interp(np.arange(steps[-1] + 1), steps, times.astype(np.float64))
    rounded = np.rint(every) if times.dtype.kind == "M" else every
    return rounded.astype(times.dtype)


def _filled(values: np.ndarray, gaps: Gaps) -> np.ndarray:
    """Returns a column without NaN."""
    steps, known = np.arange(len(values)), np.flatnonzero(~np.isnan(values))
    before = known[np.searchsorted(known, steps, side="right") - 1]
    filled: np.ndarray = (
        np.interp(steps, known, values[known]) if gaps == "linear" else values[before]
    )
    return filled
