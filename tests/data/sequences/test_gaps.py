"""Gaps: found among steps of any kind, refused or filled as asked."""

import numpy as np
import pytest

from harness.data import DataError
from harness.data.sequences.gaps import without_gaps

NAN = np.nan


def series(times, gaps="refuse", **columns):
    values = {name: np.array(each, np.float64) for name, each in columns.items()}
    return without_gaps("a series", "here", times, values, gaps)


def days(*numbers):
    microseconds = np.array(numbers) * 86_400e6
    return np.datetime64("2020-01-01", "us") + microseconds.astype("timedelta64[us]")


@pytest.mark.parametrize(
    ("gaps", "a", "b"),
    [
        ("previous", [1, 1, 1, 4, 5, 5, 7], [0, 2, 2, 2, 2, 2, 14]),
        ("linear", [1, 2, 3, 4, 5, 6, 7], [0, 2, 4.4, 6.8, 9.2, 11.6, 14]),
    ],
)
def test_rows_and_entries_that_lack_are_filled(gaps, a, b):
    times = days(0, 1, 3, 4, 6)
    filled = series(times, gaps, a=[1, NAN, 4, 5, 7], b=[0, 2, NAN, NAN, 14])
    np.testing.assert_allclose(filled.values, np.stack([a, b], axis=1))
    np.testing.assert_array_equal(filled.times, days(*range(7)))
    assert filled.is_measured.tolist() == [True, False, False, False, False, False, True]
    measured = filled.measured_values
    assert np.isnan(measured[1:6]).all() and measured[6].tolist() == [7, 14]


@pytest.mark.parametrize("unit", ["M", "Y"])
def test_months_and_years_are_equal_steps(unit):
    times = np.arange(np.datetime64("1950", unit), np.datetime64("2020", unit))
    whole = series(times.astype("datetime64[us]"), a=np.arange(len(times)))
    assert len(whole) == len(times) and whole.is_measured.all()
    kept = np.delete(np.arange(len(times)), slice(20, 50))
    filled = series(times[kept].astype("datetime64[us]"), "linear", a=kept)
    assert len(filled) == len(times) and (~filled.is_measured).sum() == 30
    np.testing.assert_allclose(filled.values[:, 0], np.arange(len(times)))
    off = np.abs(filled.times - times.astype("datetime64[us]")).max()
    assert off < np.timedelta64(3, "D")


def test_numbers_are_times_too():
    filled = series(np.array([0.0, 0.1, 0.2, 0.5]), "previous", a=[1, 2, 3, 4])
    np.testing.assert_allclose(filled.times, np.arange(6) / 10)
    assert series(np.array([3.5]), a=[1]).values.tolist() == [[1]]


@pytest.mark.parametrize(
    ("times", "gaps", "a", "rule"),
    [
        (days(0, 1, 2), "previous", [NAN, 2, 3], "a number before a gap .* none before row 1. Rem"),
        (days(0, 1, 2), "linear", [1, NAN, NAN], "a number after a gap .* after rows 2 and 3. Re"),
        (days(0, 1, 2), "refuse", [1, NAN, 3], "in every row, but got none in row 2. Write gaps"),
        (days(0, 1, 3, 4, 7), "refuse", [1] * 5, "got 3 missing above rows 3 and 5. Write gaps: p"),
        (days(0, 1, 2, 900), "linear", [1] * 4, "a row for half of its steps, .* 897 missing abo"),
        (days(0, 1, 2.5, 3.5), "linear", [1] * 4, "in equal steps, but got another in row 3. Cor"),
    ],
)
def test_what_cannot_be_filled_is_refused(times, gaps, a, rule):
    with pytest.raises(DataError, match=rule) as error:
        series(times, gaps, a=a)
    assert len(str(error.value).splitlines()) == 1


def test_a_gap_at_the_end_is_filled_with_the_value_before():
    assert series(days(0, 1, 2), "previous", a=[1, 2, NAN]).values[:, 0].tolist() == [1, 2, 2]
