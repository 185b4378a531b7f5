"""Errors of forecasts against scikit-learn, numeric integration and by hand."""

import closed_scores
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from sklearn import metrics

from harness.data import DataError
from harness.data.sequences import forecasts
from harness.data.sequences.series import Series, sine
from harness.data.sequences.series_windows import windows_of
from harness.tasks import forecast_metrics

RANDOM = np.random.default_rng(0)
TRUTH, FORECAST = RANDOM.normal(size=(2, 6, 3, 2))


def test_errors_are_those_of_scikit_learn():
    flat = TRUTH.reshape(-1, 2), FORECAST.reshape(-1, 2)
    for ours, theirs in (
        (forecast_metrics.mean_absolute_error, metrics.mean_absolute_error),
        (forecast_metrics.root_mean_squared_error, metrics.root_mean_squared_error),
    ):
        np.testing.assert_allclose(ours(TRUTH, FORECAST), theirs(*flat, multioutput="raw_values"))


def test_the_mase_by_hand():
    """Hyndman and Koehler's: 1 is as good as repeating the season before was on train."""
    train = np.array([[1.0], [3.0], [2.0], [7.0], [3.0], [8.0]])
    assert forecast_metrics.seasonal_scale(train, 1) == (2 + 1 + 5 + 4 + 5) / 5
    assert forecast_metrics.seasonal_scale(train, 2) == (1 + 4 + 1 + 1) / 4
    gapped = train.copy()
    gapped[3] = np.nan
    assert forecast_metrics.seasonal_scale(gapped, 2) == 1
    for period in (0, 6):
        with pytest.raises(DataError, match=f"of the 6 of train, but got period={period}"):
            forecast_metrics.seasonal_scale(train, period)
    gapped[[2, 4]] = np.nan
    with pytest.raises(DataError, match="period=2"):
        forecast_metrics.seasonal_scale(gapped, 2)


@pytest.mark.parametrize(("truth", "mean", "deviation"), [(0.3, 0.0, 1.0), (-4.0, 1.0, 0.5)])
def test_the_crps_of_a_normal_distribution_is_its_integral(truth, mean, deviation):
    ends = (min(truth, mean) - 12 * deviation, max(truth, mean) + 12 * deviation)
    below = quad(lambda x: norm.cdf(x, mean, deviation) ** 2, ends[0], truth, epsabs=1e-12)[0]
    above = quad(lambda x: norm.sf(x, mean, deviation) ** 2, truth, ends[1], epsabs=1e-12)[0]
    given = [np.array([each]) for each in (truth, mean, deviation)]
    assert closed_scores.gaussian_crps(*given) == pytest.approx(below + above, rel=1e-8)
    levels = (np.arange(2000) + 0.5) / 2000
    quantiles = norm.ppf(levels, mean, deviation)[None]
    score = closed_scores.quantile_crps(given[0], quantiles, levels)
    assert score == pytest.approx(below + above, rel=1e-3)


def test_the_pinball_loss_is_that_of_scikit_learn():
    levels = (0.1, 0.5, 0.9)
    quantiles = FORECAST[..., None] + [-1, 0, 1]
    losses = closed_scores.quantile_loss(TRUTH, quantiles, levels)
    expected = [
        metrics.mean_pinball_loss(TRUTH.ravel(), quantiles[..., i].ravel(), alpha=level)
        for i, level in enumerate(levels)
    ]
    np.testing.assert_allclose(losses.mean(axis=(0, 1, 2)), expected)
    whole = closed_scores.quantile_crps(TRUTH, quantiles, levels)
    # By the trapezoidal rule, from 0 to 1, a level counts for half of what lies beside it.
    by_rule = 2 * np.dot([0.25, 0.4, 0.25], expected)
    assert whole.shape == TRUTH.shape and whole.mean() == pytest.approx(by_rule)


def test_intervals_cover_what_they_say():
    low, high = forecast_metrics.gaussian_interval(np.array([1.0]), np.array([2.0]), 0.9)
    np.testing.assert_allclose([low[0], high[0]], norm.interval(0.9, 1.0, 2.0))
    drawn = RANDOM.normal(1.0, 2.0, size=(20_000, 1))
    assert closed_scores.coverage(drawn, low, high) == pytest.approx(0.9, abs=0.01)
    by_hand = closed_scores.coverage(
        np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([2.0]), np.array([3.0])
    )
    assert by_hand.tolist() == [0.5]


def test_simple_forecasters_in_one_table():
    windows = windows_of(sine((5,), 600, noise=0.1), 30, 2)
    rows = forecast_metrics.baseline_errors(windows)
    assert [(row.forecaster, row.split) for row in rows] == [
        (name, split)
        for split in ("validation", "test")
        for name in ("naive", "seasonal naive", "linear autoregression")
    ]
    naive, seasonal, linear = rows[3:]
    assert seasonal.remark == "period 25, found on train" and naive.remark == ""
    # Two independent noises apart; the autoregression comes near the noise itself.
    assert seasonal.rmse == pytest.approx(0.1 * np.sqrt(2), rel=0.15)
    assert 0.09 < linear.rmse < 0.13 < naive.rmse
    assert seasonal.mase == pytest.approx(1, rel=0.2) and naive.mase > 2
    error = forecasts.naive(windows, "test") - windows.truth("test")
    assert naive.mae == pytest.approx(np.abs(error).mean())
    scale = forecast_metrics.error_scale(windows)
    assert naive.mase == pytest.approx(naive.mae / scale[0])
    given = forecast_metrics.baseline_errors(windows, period=50, splits=["test"])
    assert given[1].remark == "period 50, as given" and given[1].mae != seasonal.mae


def series_of(values):
    length, names = len(values), tuple("abc"[: values.shape[1]])
    return Series("planted", np.arange(length) * 1.0, values, names, np.ones(length, np.bool_))


def test_a_forecaster_that_cannot_be_made_says_why():
    squares = series_of(np.arange(50.0)[:, None] ** 2 * [1, 2, 3])
    windows = windows_of(squares, 12, 1)
    rows = forecast_metrics.baseline_errors(windows, splits=["test"])
    assert [row.column for row in rows] == ["a", "b", "c"] * 3
    assert rows[0].mase is not None and rows[3].mae is rows[3].mase is None
    assert rows[3].remark == "no season is seen in train"
    assert "more windows than coefficients" in rows[6].remark and rows[6].rmse is None
    with pytest.raises(DataError, match="but got period=100"):
        forecast_metrics.baseline_errors(windows, period=100)


def test_where_repeating_the_season_has_no_error_there_is_no_mase():
    windows = windows_of(series_of(np.resize([1.0, 2.0, 4.0], (60, 1))), 4, 1)
    rows = forecast_metrics.baseline_errors(windows, splits=["test"])
    assert [row.mase for row in rows] == [None] * 3
    assert rows[1].mae == 0 and rows[0].mae > 0 and rows[2].mae < 1e-9
