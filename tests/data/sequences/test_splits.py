"""Where a series is cut: by shares and by times, as a study says it, and what it says wrongly."""

import numpy as np
import pytest

from harness.data import DataError
from harness.data.sequences import dataset
from harness.data.sequences.series import Series
from harness.data.sequences.splits import cuts_by_shares, cuts_by_times
from harness.settings import Options, Settings

DAYS = np.arange("2020-01-01", "2020-02-10", dtype="datetime64[D]").astype("datetime64[us]")
NUMBERS = np.arange(9.0)
WITHOUT_A_POINT = "validation_from, test_from: each part of a series, whose times are from"


def series(times):
    values = np.arange(float(len(times)))[:, None]
    return Series("a series", times, values, ("a",), np.ones(len(times), np.bool_))


def loaded(corpus="sine", path=None, **options):
    if corpus == "sine":
        options |= {"length": 200}
    given = Options.of(options)
    settings = Settings("lstm", task="forecasting", corpus=corpus, path=path, options=given)
    return dataset.load(settings)


def cut(data):
    """The first points of validation and of test."""
    return tuple(data.windows.splits[name].start for name in ("validation", "test"))


def test_shares_are_of_points():
    assert cuts_by_shares(200) == (160, 180)
    assert cuts_by_shares(30, (0.7, 0.1, 0.2)) == (21, 24)
    assert cut(loaded(shares="0.5, 0.25, 0.25")) == (100, 150)


@pytest.mark.parametrize("shares", ["0.9, 0.1, 0.1", "0.9, 0.1", "1, 0, 0", "nan, 1, 1", "a, b, c"])
def test_shares_of_another_kind_are_told(shares):
    with pytest.raises(DataError, match=f"shares: must be three .* 1, .*, but got {shares}. Write"):
        loaded(shares=shares)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("2020-01-11", "2020-02-01", (10, 31)),
        ("2020-01-10T00:01", "2020-02", (10, 31)),  # between two points
        ("2020-01-11T02:00+02:00", "2020-01-31T23:00-01:00", (10, 31)),
    ],
)
def test_times_are_those_of_the_column(first, second, expected):
    assert cuts_by_times(series(DAYS), first, second) == expected


def test_numbers_are_times_where_the_series_has_them(tmp_path):
    years = loaded("sunspots", validation_from=1950, test_from="1980").windows
    assert [years.series.times[years.splits[n].start] for n in ("validation", "test")] == [
        1950,
        1980,
    ]
    assert years.scaling.mean == pytest.approx(years.series.values[:250].mean())
    path = tmp_path / "table.csv"
    rows = [f"{day},{number % 7}" for number, day in enumerate(DAYS.astype("datetime64[D]"))]
    path.write_text("day,a\n" + "\n".join(rows) + "\n")
    firsts = {"validation_from": "2020-01-25", "test_from": "2020-02-01"}
    settings = {"time": "day", "horizon": 2}
    with pytest.raises(DataError, match="train of the table .*: must have at least 37 points"):
        loaded("table", str(path), **settings, **firsts)  # a history of 35


@pytest.mark.parametrize(
    ("times", "firsts", "problems"),
    [
        (DAYS, ("x", 3), ["validation_from: must be a time stamp", "test_from: must be a time st"]),
        (NUMBERS, ("2020-01-01", 4), ["validation_from: must be a number, as the times"]),
        (DAYS, ("2020-02-01", "2020-01-20"), [WITHOUT_A_POINT]),
        (DAYS, ("2020-01-01", "2020-01-20"), [WITHOUT_A_POINT]),
        (NUMBERS, (3, 9), [WITHOUT_A_POINT]),
        (NUMBERS, (3, 3), [WITHOUT_A_POINT]),
    ],
)
def test_times_without_a_part_are_told(times, firsts, problems):
    with pytest.raises(DataError) as error:
        cuts_by_times(series(times), *firsts)
    lines = str(error.value).splitlines()
    assert len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith(f"options.{problem}")


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        (
            {"test_from": 90},
            ["options.validation_from: must be given with test_from, but is missi"],
        ),
        (
            {"shares": "0.8, 0.1, 0.1", "validation_from": 80, "test_from": 90, "head": "x"},
            ["options.head: must be one of", "options.shares: must be left out where times say"],
        ),
        (
            {"test_from": True},
            ["options.test_from: must be a time stamp or a number, but got test"],
        ),
    ],
)
def test_options_that_contradict_each_other_are_told_at_once(options, problems):
    with pytest.raises(DataError) as error:
        loaded(**options)
    lines = str(error.value).splitlines()
    assert len(lines) == len(problems)
    for line, rule in zip(lines, problems, strict=True):
        assert line.startswith(rule)


def test_the_message_names_the_times_that_there_are():
    with pytest.raises(DataError, match="whose times are from 2020-01-01 to 2020-02-09, must have"):
        cuts_by_times(series(DAYS), "2020-03-01", "2020-04-01")
