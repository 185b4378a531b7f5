"""Simple forecasters: by hand, and against statsmodels."""

import numpy as np
import pytest
from statsmodels.tsa.ar_model import AutoReg
from statsmodels.tsa.vector_ar.var_model import VAR

from harness.data import DataError
from harness.data.sequences import forecasts, tables
from harness.data.sequences.series import Series, generated, sine
from harness.data.sequences.series_windows import windows_of


def series_of(values):
    values = np.asarray(values, np.float64).reshape(len(values), -1)
    length, names = len(values), tuple("abc"[: values.shape[1]])
    return Series("planted", np.arange(length) * 1.0, values, names, np.ones(length, np.bool_))


def test_the_last_value_and_the_last_season_by_hand():
    windows = windows_of(series_of([*range(16), 20, 21, 30, 31]), 3, 2)
    assert windows.truth("test")[..., 0].tolist() == [[30, 31]]
    assert forecasts.naive(windows, "test")[..., 0].tolist() == [[21, 21]]
    assert forecasts.seasonal_naive(windows, "test", 2)[..., 0].tolist() == [[20, 21]]
    assert forecasts.seasonal_naive(windows, "test", 10)[..., 0].tolist() == [[8, 9]]
    three = windows_of(series_of(np.arange(40)), 3, 4)
    # Three points a season: the fourth step ahead repeats the first of the same season again.
    assert forecasts.seasonal_naive(three, "test", 3)[0, :, 0].tolist() == [33, 34, 35, 33]
    for period in (0, 19):
        with pytest.raises(DataError, match=f"from 1 to 18, the points .* but got period={period}"):
            forecasts.seasonal_naive(windows, "test", period)


@pytest.mark.parametrize("period", [5, 25, 60])
def test_the_season_is_found_on_train(period):
    series = sine((4,), 400, period=period, noise=0.3)
    trend = series.values + np.linspace(0, 20, 400)[:, None] ** 2 / 50
    assert abs(forecasts.season_of(windows_of(series_of(trend), 4, 1)) - period) <= period // 25
    later = trend.copy()
    later[320:] = np.resize([9.0, -9.0], (80, 1))
    assert forecasts.season_of(windows_of(series_of(later), 4, 1)) == forecasts.season_of(
        windows_of(series_of(trend), 4, 1)
    )


def test_seasons_of_real_series_and_of_none():
    assert forecasts.season_of(windows_of(tables.shipped("co2", gaps="linear"), 4, 1)) == 52
    assert forecasts.season_of(windows_of(tables.shipped("sunspots"), 4, 1)) == 11
    assert forecasts.season_of(windows_of(series_of(np.arange(50) ** 2), 4, 1)) is None


def test_a_linear_autoregression_is_that_of_statsmodels():
    windows = windows_of(tables.shipped("sunspots"), 9, 1)
    train = windows.series.values[: windows.splits["train"].stop, 0]
    model = AutoReg(train, 9).fit()
    forecast = forecasts.LinearAutoregression.fitted(windows).forecast(windows, "test")
    histories = windows.scaling.unscaled(windows.inputs(windows.starts("test")))[..., 0]
    expected = model.params[0] + histories[:, ::-1] @ model.params[1:]
    np.testing.assert_allclose(forecast[:, 0, 0], expected, rtol=1e-9)


def test_with_several_columns_it_is_a_vector_autoregression(monkeypatch):
    windows = windows_of(tables.shipped("macro", columns=["infl", "unemp"]), 3, 2)
    monkeypatch.setattr(forecasts, "_NUMBERS_AT_ONCE", 100)  # several blocks
    train = windows.series.values[: windows.splits["train"].stop]
    model = VAR(train[:-1]).fit(3)  # the last window has two points after it
    linear = forecasts.LinearAutoregression.fitted(windows)
    assert linear.coefficients.shape == (3 * 2 + 1, 2 * 2)
    forecast = linear.forecast(windows, "test")
    histories = windows.scaling.unscaled(windows.inputs(windows.starts("test")))
    expected = [model.forecast(history, 1)[0] for history in histories]
    np.testing.assert_allclose(forecast[:, 0], expected, rtol=1e-8)


def test_a_clean_sine_is_linear_and_too_many_coefficients_are_refused():
    windows = windows_of(sine((4,), 200, noise=0.0), 12, 5)  # rank 2 of 13
    forecast = forecasts.LinearAutoregression.fitted(windows).forecast(windows, "test")
    np.testing.assert_allclose(forecast, windows.truth("test"), atol=1e-9)
    short = windows_of(generated("lorenz", (4,), 50), 12, 1)
    with pytest.raises(DataError, match="more windows than coefficients, but got 28 and 37"):
        forecasts.LinearAutoregression.fitted(short)
