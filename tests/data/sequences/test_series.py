"""Generated series against SciPy, closed forms and what is known of their attractors."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from harness.data import DataError
from harness.data.sequences import series

SEED = (7, "series")


@pytest.mark.parametrize("name", series.GENERATED)
def test_the_same_arguments_give_the_same_series_and_another_seed_another(name):
    one, same = (series.generated(name, SEED, 60) for _ in range(2))
    other = series.generated(name, (8, "series"), 60)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.values.dtype == np.float64 and np.isfinite(one.values).all()
    assert len(one) == 60 and one.is_measured.all() and (np.diff(one.times) > 0).all()
    assert len(series.generated(name, SEED, 1)) == 1
    with pytest.raises(DataError, match="must have at least 1 point, but got length=0"):
        series.generated(name, SEED, 0)


def test_a_sine_has_its_amplitude_and_its_noise():
    length, period, noise = 5000, 40, 0.2
    values = series.sine(SEED, length, period=period, noise=noise).values[:, 0]
    angle = 2 * np.pi * np.arange(length) / period
    waves = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    weights, (residue,), *_ = np.linalg.lstsq(waves, values, rcond=None)
    assert np.hypot(*weights) == pytest.approx(1, abs=5 * noise * np.sqrt(2 / length))
    assert np.sqrt(residue / length) == pytest.approx(noise, rel=5 / np.sqrt(2 * length))
    clean = series.sine(SEED, 50, period=period, noise=0.0).values[:, 0]
    angle = 2 * np.pi / period
    np.testing.assert_allclose(clean[2:], 2 * np.cos(angle) * clean[1:-1] - clean[:-2], atol=1e-12)


def growth(delayed):
    return 0.2 * delayed / (1 + delayed**10)


def test_mackey_glass_is_that_of_the_method_of_steps():
    """Up to 17 it is an exponential; up to 34 SciPy integrates what that drives."""
    history = 1.25

    def first(time):
        limit = growth(history) / 0.1
        return limit + (history - limit) * np.exp(-0.1 * time)

    path = series.mackey_glass_path(history, 35)
    np.testing.assert_allclose(path[:18], first(np.arange(18)), rtol=1e-9)
    later = solve_ivp(
        lambda time, x: growth(first(time - 17)) - 0.1 * x,
        (17, 34),
        [first(17)],
        t_eval=np.arange(17, 35),
        rtol=1e-11,
        atol=1e-12,
    )
    np.testing.assert_allclose(path[17:], later.y[0], rtol=1e-7)


def test_mackey_glass_steps_are_of_order_four():
    path = {steps: series.mackey_glass_path(1.25, 101, steps)[50:] for steps in (2, 4, 32)}
    coarse, fine = (np.abs(path[steps] - path[32]).max() for steps in (2, 4))
    assert 2**3.5 < coarse / fine < 2**4.5


def test_lorenz_is_that_of_scipy():
    start = np.array([1.0, 1.5, 1.2])
    path = series.lorenz_path(start, 101)
    expected = solve_ivp(
        lambda _, state: series.lorenz_slope(state),
        (0, 2),
        start,
        t_eval=np.arange(101) * 0.02,
        rtol=1e-10,
        atol=1e-10,
    )
    np.testing.assert_allclose(path, expected.y.T, atol=2e-3)
    finer = series.lorenz_path(start, 101, steps_per_sample=8)
    np.testing.assert_allclose(finer, expected.y.T, atol=1e-5)


def test_lorenz_rests_at_its_fixed_points_and_stays_in_leonovs_ball():
    far = np.sqrt(8 / 3 * 27)
    for point in ([0.0, 0.0, 0.0], [far, far, 27.0], [-far, -far, 27.0]):
        np.testing.assert_allclose(series.lorenz_slope(np.array(point)), 0, atol=1e-13)
    values = series.lorenz(SEED, 1500).values
    radius = 38 * (8 / 3) / (2 * np.sqrt(8 / 3 - 1))
    assert (np.linalg.norm(values - [0, 0, 38], axis=1) < radius).all()
    assert values[:, 0].min() < -5 and values[:, 0].max() > 5  # both wings
    np.testing.assert_allclose(series.lorenz(SEED, 3).times, [0, 0.02, 0.04])


def test_mackey_glass_stays_where_its_attractor_is():
    values = series.mackey_glass(SEED, 400).values
    assert 0.2 < values.min() < 0.6 and 1.1 < values.max() < 1.5


def test_a_fingerprint_is_of_all_that_a_model_sees():
    base = series.sine(SEED, 5)
    assert base.fingerprint != series.Series(**{**vars(base), "columns": ("y",)}).fingerprint
    for name in ("times", "values", "is_measured"):
        changed = vars(base)[name].copy()
        changed[-1] = not changed[-1] if name == "is_measured" else 9.0
        assert series.Series(**{**vars(base), name: changed}).fingerprint != base.fingerprint
    assert base.fingerprint == series.Series(**{**vars(base), "name": "else"}).fingerprint
