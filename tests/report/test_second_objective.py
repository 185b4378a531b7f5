"""Objectives that no task has yet, through the verdict's and the report's code."""

import math

import numpy as np
import pytest
from planted import BASE, UNIT, Measure, Tune, build, curve_rows, run_rows, study, trial_rows
from scipy import stats

from harness.tasks import objective
from harness.tasks.objective import Objective

ACCURACY = Objective(
    key="accuracy",
    name="accuracy",
    plural="accuracies",
    scale="difference",
    chance=lambda data: 0.9,
    better="higher",
    origin=1.0,
)
MSE = Objective(
    key="mse",
    name="mean squared error",
    plural="mean squared errors",
    scale="ratio",
    chance=lambda data: 0.0,
)
ERRORS = 0.2 + 0.01 * np.cos(np.arange(10))
"""Of the baseline: an accuracy of about 0.8."""


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for each in (ACCURACY, MSE):
        monkeypatch.setitem(objective.OBJECTIVES, each.key, each)


def report(key, base, shifts, spread, **measure):
    """The report of a baseline and one arm for each shift of its losses."""
    arms = {"lstm": base} | {name: base + shift + spread * UNIT for name, shift in shifts.items()}
    planned = study(*arms, measure=Measure(objective=f"validation/{key}", **measure), tune=Tune(9))
    rows, curves = [], []
    for i, (name, losses) in enumerate(arms.items()):
        rows += run_rows(name, losses, num_parameters=1000 * (i + 1))
        rows += trial_rows(name, losses.mean() + 0.05 * np.abs(np.arange(-4, 5)))
        curves += curve_rows(name, float(losses.mean()))
    return build(planned, rows, (), curves)


def student(shift, spread):
    """The ends of Student's 95 % interval of ten differences, by hand."""
    half = stats.t.ppf(0.975, 9) * spread / math.sqrt(10)
    return shift - half, shift + half


def texts(shown):
    whole = shown.html() + shown.markdown() + shown.latex() + shown.csv() + shown.note()
    return whole + shown._repr_html_() + "".join(f.svg_file() for f in shown.figures.values())


@pytest.fixture(scope="module")
def accuracies():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(objective.OBJECTIVES, "accuracy", ACCURACY)
        shifts = {"gru": -0.03, "rnn": 0.04, "same": 0.0}
        yield (shown := report("accuracy", ERRORS, shifts, 0.01, margin=0.02)), texts(shown)


@pytest.fixture(scope="module")
def errors():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(objective.OBJECTIVES, "mse", MSE)
        shifts = {"gru": -0.03, "rnn": 0.04, "same": 0.0}
        yield (shown := report("mse", BASE - 3.0, shifts, 0.01, margin=0.02)), texts(shown)


def test_a_higher_accuracy_is_better_and_its_difference_is_shown_with_its_sign(accuracies):
    shown, _ = accuracies
    table = shown.table.set_index("arm")
    assert list(table["verdict"]) == ["baseline", "better", "worse", "equivalent"]
    assert table.loc["lstm", "accuracy"] == pytest.approx(1.0 - ERRORS.mean())
    for arm, shift in (("gru", -0.03), ("rnn", 0.04), ("same", 0.0)):
        low, high = student(shift, 0.01)
        ends = table.loc[arm, ["difference", "difference_low", "difference_high"]]
        assert list(ends) == pytest.approx([-shift, -high, -low])
    low, high = student(-0.03, 0.01)
    gru = shown.sentences[0]
    assert "gru is better than lstm" in gru
    assert "Its test accuracy differs from that of lstm by +0.030" in gru
    assert f"95 % interval {-high:+.3f} to {-low:+.3f}" in gru
    assert "same is equivalent to lstm within 0.02" in shown.sentences[2]


def test_a_ratio_of_errors_is_one_of_the_task_s_own(errors):
    shown, _ = errors
    table = shown.table.set_index("arm")
    assert list(table["verdict"]) == ["baseline", "better", "worse", "equivalent"]
    assert table.loc["lstm", "mse"] == pytest.approx(math.exp(BASE.mean() - 3.0))
    for arm, shift in (("gru", -0.03), ("rnn", 0.04), ("same", 0.0)):
        ends = table.loc[arm, ["ratio", "ratio_low", "ratio_high"]]
        assert list(ends) == pytest.approx(np.exp([shift, *student(shift, 0.01)]))
    assert "Its test mean squared error is 0.970 times that of lstm" in shown.sentences[0]
    assert "same is equivalent to lstm within 2 %" in shown.sentences[2]


@pytest.mark.parametrize("name", ["accuracies", "errors"])
def test_no_word_of_another_objective_is_on_the_page(name, request):
    _, text = request.getfixturevalue(name)
    for word in ("erplexit", " nats", "nats_", "its per char", "its (95"):
        assert word not in text


def test_an_accuracy_has_no_ratio_and_its_axes_no_logarithm(accuracies):
    shown, text = accuracies
    assert "ratio" not in shown.csv().partition("\n")[0]
    assert "right is better" in text and "test accuracy minus lstm's" in text
    curves = shown.figures["learning-curves-tokens"].figure.axes[0]
    assert curves.get_yscale() == "linear"


def test_an_equivalent_arm_is_on_the_side_that_a_reader_sees():
    shown = report("accuracy", ERRORS, {"gru": -0.005}, 0.002, margin=0.02)
    (result,) = shown.results[1:]
    assert result.decision.verdict == "equivalent and lower"  # the loss
    assert shown.table["verdict"].iloc[1] == "equivalent and higher"
    assert "and its accuracy is higher" in shown.sentences[0]


def test_a_level_and_its_loss_are_inverse():
    for each in (ACCURACY, MSE, objective.PERPLEXITY):
        assert each.loss(each.level(0.3)) == pytest.approx(0.3)
    assert ACCURACY.within(0.02) == 0.02 and MSE.within(0.02) == math.log1p(0.02)
    assert ACCURACY.raised(0.8, 0.01) == pytest.approx(0.79)
    assert MSE.raised(2.0, 0.01) == pytest.approx(2.02)


def test_an_unknown_objective_is_named():
    with pytest.raises(ValueError, match="objective: must be one of perplexity"):
        objective.objective_of("validation/bleu")
