"""Where a series is cut into training, validation and test, by shares or by times."""

from collections.abc import Sequence

import numpy as np

from harness.data.errors import DataError
from harness.data.sequences.entries import time_of
from harness.data.sequences.series import Series

SPLITS = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)


def cuts_by_shares(length: int, shares: Sequence[float | str] = SHARES) -> tuple[int, int]:
    """Returns the first points of validation and of test.

    Args:
        length: L, the points of a series.
        shares: Those of train, validation and test; numbers, or texts of them.

    Raises:
        DataError: They are no three positive numbers whose sum is 1.
    """
    try:
        numbers = [float(share) for share in shares]
    except ValueError:
        numbers = []
    # NaN is not above 0.
    if len(numbers) != len(SPLITS) or not min(numbers) > 0 or abs(sum(numbers) - 1) > 1e-9:
        raise DataError(
            "options.shares: must be three positive numbers whose sum is 1, those of train, "
            f"validation and test, but got {', '.join(map(str, shares))}. Write 0.8, 0.1, 0.1."
        )
    first, second = (int(round(length * share, 6)) for share in (numbers[0], sum(numbers[:2])))
    return first, second


def cuts_by_times(
    series: Series, validation_from: float | str, test_from: float | str
) -> tuple[int, int]:
    """Returns the first points of validation and of test.

    Args:
        series: That is split.
        validation_from: Points at this time or later are no training.
        test_from: Points at this time or later are for the test.

    Raises:
        DataError: One is no time of the kind that the series has, or a part would have no point.
            The message has a line for every problem.
    """
    are_moments = np.issubdtype(series.times.dtype, np.datetime64)
    given = {"validation_from": validation_from, "test_from": test_from}
    times = {name: time_of(each, are_moments=are_moments) for name, each in given.items()}
    kind = "a time stamp such as 2020-01-31" if are_moments else "a number"
    problems = [
        f"options.{name}: must be {kind}, as the times of {series.name} are, but got "
        f"{name}={given[name]!r}. Correct it."
        for name, time in times.items()
        if time is None
    ]
    if problems:
        raise DataError(*problems)
    known = [time for time in times.values() if time is not None]
    first, second = (int(np.searchsorted(series.times, time)) for time in known)
    if not 0 < first < second < len(series):
        low, high = (
            np.datetime_as_string(t, "D") if are_moments else f"{t:g}"
            for t in series.times[[0, -1]]
        )
        raise DataError(
            f"options.validation_from, test_from: each part of {series.name}, whose times are from "
            f"{low} to {high}, must have a point, but got {validation_from=} and {test_from=}. "
            "Write a later time for test than for validation, both within the series."
        )
    return first, second
