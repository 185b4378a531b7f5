"""Windows: each target once, no look ahead, and nothing of what was filled in."""

import re

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from harness.data import DataError
from harness.data.sequences.gaps import without_gaps
from harness.data.sequences.series import Series
from harness.data.sequences.series_windows import windows_of


def numbered(length, num_columns=1):
    """A series whose values say at which point and in which column they stand."""
    points = np.arange(length, dtype=np.float64)
    values = points[:, None] + np.arange(num_columns) * 1000
    names = tuple("abc"[:num_columns])
    return Series("numbers", points, values, names, np.ones(length, np.bool_))


def own(windows, inputs):
    """Inputs (S, T, C) in the series' units."""
    return windows.scaling.unscaled(inputs)


@pytest.mark.parametrize(("history", "horizon"), [(1, 1), (5, 1), (4, 3), (60, 10)])
def test_a_split_has_all_its_windows_and_none_looks_ahead(history, horizon):
    windows = windows_of(numbered(100, 2), history, horizon)
    assert [(each.start, each.stop) for each in windows.splits.values()] == [
        (0, 80),
        (80, 90),
        (90, 100),
    ]
    for split, points in windows.splits.items():
        sequences = windows.sequences(windows.starts(split))
        inputs = own(windows, sequences.inputs)[..., 0].round().astype(int)
        targets = windows.unscaled(sequences.targets)[..., 0].round().astype(int)
        assert inputs.shape == (len(sequences), history)
        assert (np.diff(inputs, axis=1) == 1).all()
        steps = inputs[..., None] + 1 + np.arange(horizon)
        np.testing.assert_array_equal(targets, steps)
        assert targets.max() == points.stop - 1  # nothing later is seen, and nothing is left out
        last = targets[:, -1]
        first = points.start or history
        assert last[:, 0].tolist() == list(range(first, points.stop - horizon + 1))
        assert (sequences.weights[:, -1] == 1).all() and not sequences.weights[:, :-1].any()
        np.testing.assert_allclose(windows.truth(split)[..., 0], last)
        np.testing.assert_allclose(windows.truth(split)[..., 1], last + 1000)
        np.testing.assert_allclose(
            own(windows, sequences.targets[:, -1, :2])[:, 1], last[:, 0] + 1000
        )


def test_what_comes_later_changes_nothing_before():
    """Planted: every value of the test part is another, and train and validation stay."""
    one = numbered(100)
    changed = one.values.copy()
    changed[90:] = 1e6
    windows = [windows_of(each, 5, 2) for each in (one, Series(**{**vars(one), "values": changed}))]
    for split in ("train", "validation"):
        first, second = (each.sequences(each.starts(split)) for each in windows)
        for name in ("inputs", "targets", "weights"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert windows[1].truth("test").max() == 1e6


def test_scaling_is_that_of_train():
    series = numbered(50, 2)
    windows = windows_of(series, 3, 1)
    expected = StandardScaler().fit(series.values[:40])
    np.testing.assert_allclose(
        windows.scaling.scaled(series.values), expected.transform(series.values)
    )
    np.testing.assert_allclose(
        own(windows, windows.scaling.scaled(series.values)), series.values, atol=1e-9
    )


@pytest.mark.parametrize("gaps", ["previous", "linear"])
def test_nothing_that_was_filled_in_is_predicted_or_tells_what_follows(gaps):
    """A gap's neighbour is changed: no window that is to predict it may notice before."""
    times, missing = np.arange(100.0), np.array([10, 11, 84, 85, 86])

    def windows(value_after):
        values = np.sin(times)
        values[missing], values[87] = np.nan, value_after
        return windows_of(without_gaps("gaps", "here", times, {"a": values}, gaps), 4, 2)

    one, other = windows(0.5), windows(-3.0)
    is_ahead = one.series.values[85] != other.series.values[85]
    assert is_ahead == (gaps == "linear")
    for split in one.splits:
        starts = one.starts(split)
        ends = starts + one.history - 1
        for points in (ends, one.ahead(starts)):
            assert not np.isin(points, missing).any()
        before = starts[ends < 87]
        np.testing.assert_array_equal(one.inputs(before), other.inputs(before))
    histories = one.starts("validation")[:, None] + np.arange(4)
    assert np.isin(histories, missing).any()  # they may be read, once all is known
    assert np.isnan(one.series.measured_values[missing]).all()


def test_cuts_may_be_others():
    splits = windows_of(numbered(30), 2, 1, cuts=(21, 24)).splits
    assert [len(each) for each in splits.values()] == [21, 3, 6]


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        ({"history": 0, "horizon": -1}, ["history: must be 1 at least", "horizon: must be 1 at"]),
        (
            {"horizon": 50},
            [
                r"train of numbers: must have at least 54 points for a window \(history=4, horizon"
                r"=50\), but got 32 of 40. Use a longer series",
                "validation of numbers: must have at least 50 points",
                "test of numbers: must have at least 50 points",
            ],
        ),
        ({"history": 32}, ["train of numbers: must have at least 33 points"]),
    ],
)
def test_what_has_no_window_is_told_at_once(given, rules):
    with pytest.raises(DataError) as error:
        windows_of(numbered(40), **{"history": 4, "horizon": 1, **given})
    problems = str(error.value).splitlines()
    assert len(problems) == len(rules)
    for problem, rule in zip(problems, rules, strict=True):
        assert re.match(rule, problem)


def test_a_constant_column_and_a_split_of_gaps_are_refused():
    series = numbered(40, 2)
    constant = series.values.copy()
    constant[:32, 1] = 0.1
    with pytest.raises(DataError, match="column 'b' must take two values at least, but got 0.1 al"):
        windows_of(Series(**{**vars(series), "values": constant}), 4, 1)
    measured = np.arange(40) < 36
    with pytest.raises(DataError, match="test of numbers: must have a window that ends without a"):
        windows_of(Series(**{**vars(series), "is_measured": measured}), 4, 1)
    with pytest.raises(DataError, match="train of numbers: must have at least 2 points"):
        windows_of(numbered(1), 1, 1)
