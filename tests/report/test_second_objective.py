"""Objectives other than perplexity, through the verdict's and the report's code."""

import math

import numpy as np
import pytest
from landscapes import EQUAL_ERRORS, WORSE_ERRORS
from null_studies import TOLD_APART, Claim
from planted import BASE, UNIT, build, curve_rows, measuring, run_rows, search_of, study, trial_rows
from scipy import stats
from search_simulation import EIGHT
from simulated_search import ONE, SEEDS, Setting, Simulated

from harness.statistics.decisions import decide
from harness.statistics.power import power_of
from harness.study import Replicate
from harness.tasks import objective
from harness.tasks.objective import ACCURACY, MSE, Objective

ERRORS = 0.2 + 0.01 * np.cos(np.arange(10))
"""Of the baseline: an accuracy of about 0.8."""


def report(key, base, shifts, spread, **measure):
    """The report of a baseline and one arm for each shift of its losses."""
    arms = {"lstm": base} | {name: base + shift + spread * UNIT for name, shift in shifts.items()}
    planned = study(
        *arms, measure=measuring(objective=f"validation/{key}", **measure), tune=search_of(9)
    )
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
    shifts = {"gru": -0.03, "rnn": 0.04, "same": 0.0}
    shown = report("accuracy", ERRORS, shifts, 0.01, margin=0.02)
    return shown, texts(shown)


@pytest.fixture(scope="module")
def errors():
    shifts = {"gru": -0.03, "rnn": 0.04, "same": 0.0}
    shown = report("mse", BASE - 3.0, shifts, 0.01, margin=0.02)
    return shown, texts(shown)


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


# Simulated studies of ten seeds: what the verdict says of equal and of unequal arms

NUM_STUDIES, NUM_SEEDS, NUM_HELD_OUT = 1000, 10, 1000
SPREAD = 0.1
"""Of paired differences of the logarithms of errors."""
RATE, SPREAD_OF_RATES = 0.02, 0.4
"""Of errors: an accuracy of about 0.98, which is skewed from seed to seed."""


def planted(judged: Objective, ratio: float) -> np.ndarray:
    """Numbers of a baseline and of an arm with ``ratio`` times its errors: (2, studies, seeds).

    Each has noise of its own, and each seed a part that pairing takes out. An accuracy is counted
    on a test set.
    """
    generator = np.random.default_rng(5)
    of_seed = generator.normal(size=(NUM_STUDIES, NUM_SEEDS))
    own = generator.normal(size=(2, *of_seed.shape))
    ratios = np.array([1.0, ratio]).reshape(2, 1, 1)
    if judged is MSE:
        return 0.05 * ratios * np.exp(0.2 * of_seed + SPREAD / math.sqrt(2) * own)
    rates = RATE * ratios * np.exp(SPREAD_OF_RATES * (own + 0.5 * of_seed))
    return 1.0 - generator.binomial(NUM_HELD_OUT, np.minimum(rates, 1.0)) / NUM_HELD_OUT


def truth_of(judged: Objective, ratio: float) -> float:
    """The ratio of geometric means, or the difference of mean accuracies."""
    if judged is MSE:
        return ratio
    mean_rate = RATE * math.exp(SPREAD_OF_RATES**2 * 1.25 / 2)
    return mean_rate * (1.0 - ratio)


@pytest.fixture(scope="module", params=[MSE, ACCURACY], ids=lambda judged: judged.key)
def judged(request):
    return request.param


def verdicts(judged, ratio):
    """Verdict -> how many studies came to it; and how many intervals hold the truth."""
    losses = np.vectorize(judged.loss)(planted(judged, ratio))
    truth, found, num_covering = truth_of(judged, ratio), {}, 0
    for pairs in losses[1] - losses[0]:
        (decision,) = decide([pairs], margin_loss=0.0)
        found[decision.verdict] = found.get(decision.verdict, 0) + 1
        low, high = judged.difference_ends(decision.interval.low, decision.interval.high)
        num_covering += low <= truth <= high
    return found, num_covering


def holds(count, rate, relation="equals"):
    low, high = Claim("", rate, relation).bounds(NUM_STUDIES)
    return low <= count <= high


def test_equal_arms_are_told_apart_as_rarely_as_by_perplexity(judged):
    """Differences of skewed numbers are symmetric, of which Student's test is conservative."""
    found, num_covering = verdicts(judged, 1.0)
    told_apart = sum(found.get(verdict, 0) for verdict in TOLD_APART)
    assert holds(told_apart, 0.05, "equals" if judged is MSE else "at most"), found
    assert holds(num_covering, 0.95)


@pytest.mark.parametrize(("ratio", "side"), [(0.9, "better"), (1.5, "worse")])
def test_unequal_arms_are_told_apart_as_often_as_power_says(judged, ratio, side):
    found, num_covering = verdicts(judged, ratio)
    if judged is MSE:
        assert holds(found[side], power_of(abs(math.log(ratio)), SPREAD, NUM_SEEDS)), found
    else:  # what is skewed is no normal noise: the power is about that of as much of it
        first, second = planted(judged, ratio)
        power = power_of(abs(truth_of(judged, ratio)), float((second - first).std()), NUM_SEEDS)
        assert found[side] / NUM_STUDIES == pytest.approx(power, abs=0.05)
    wrong = found.get("worse" if side == "better" else "better", 0)
    assert holds(wrong, 0.025, "at most") and wrong < found[side]
    assert holds(num_covering, 0.95)


# A whole study: a search of eight trials that its arms share, and replicates at its best


def as_report(simulated):
    """The report of a simulated study, from rows such as the store holds."""
    measured, rows = simulated.measured, []
    for name, arm in (("lstm", 0), ("gru", 1)):
        tried = simulated.tried[str(arm)]
        trials = trial_rows(name, [each.nats for each in tried])
        for row, each in zip(trials, tried, strict=True):
            row |= {"params": dict(each.values), "not_learned": each.num_lost > 0}
        runs = run_rows(name, simulated.replicates(arm))
        rows += trials + [{**row, "objective": row["test/loss"]} for row in runs]
    key = f"validation/{measured.objective.key}"
    planned = study(
        "lstm",
        "gru",
        version=2,
        measure=measuring(objective=key, margin=measured.margin),
        tune=search_of(len(tried), space=dict(ONE)),
        replicate=Replicate(seeds=SEEDS),
    )
    return build(planned, rows)


@pytest.mark.parametrize(
    ("landscape", "verdicts"),
    [
        *((each, {"undecided"}) for each in EQUAL_ERRORS if "1.35 times" in each.name),
        *((each, {"worse"}) for each in WORSE_ERRORS if "3 times" in each.name),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_report_says_what_simulated_studies_count(landscape, verdicts):
    """The counts, and their bounds, are those of tools/search_simulation.py."""
    found = set()
    for number in range(3):
        simulated = Simulated(Setting(landscape, 0.1, EIGHT), number)
        end, (_, result) = simulated.outcome(), as_report(simulated).results
        assert result.search_spread == pytest.approx(end.spread)
        assert result.decision.verdict == end.verdict()
        np.testing.assert_allclose(result.differences, end.differences)
        found.add(end.verdict())
    assert found == verdicts
