"""Divergence as a comparison of its own, held to SciPy's exact binomial test."""

import pytest
from planted import BASE, across, build, measuring, pair, run_rows, study, under
from scipy import stats

from harness.report.divergence import divergences

INF = float("inf")


def test_pairs_at_which_one_alone_diverged_are_tested_exactly_and_after_holm():
    losses = {
        "lstm": {str(j): INF if j < 1 else 1.4 for j in range(12)},
        "gru": {str(j): INF if j in (0, *range(4, 11)) else 1.4 for j in range(12)},
        "rnn": {str(j): INF if j in (0, 5) else 1.4 for j in range(12)},
        "open": {str(j): INF for j in range(12)},
    }
    found = divergences(losses, "lstm", ["open"])
    gru, rnn = found["gru"], found["rnn"]
    assert (gru.num_pairs, gru.num_arm, gru.num_baseline) == (12, 8, 1)
    assert (gru.num_only_arm, gru.num_only_baseline) == (7, 0)
    assert gru.p == pytest.approx(stats.binomtest(0, 7, 0.5).pvalue)
    assert rnn.p == pytest.approx(stats.binomtest(0, 1, 0.5).pvalue) == 1.0
    assert gru.adjusted_p == pytest.approx(3 * gru.p)  # the open arm stays in the family
    assert found["open"].p is None and found["open"].adjusted_p is None


def test_only_common_pairs_count():
    losses = {"lstm": {"0": 1.4, "1": 1.4}, "gru": {"1": INF, "2": INF}}
    found = divergences(losses, "lstm", [])["gru"]
    assert (found.num_pairs, found.num_arm, found.p) == (1, 1, 1.0)


def test_where_nothing_diverged_there_is_nothing_to_tell():
    assert divergences({"lstm": {"0": 1.4}, "gru": {"0": 1.5}}, "lstm", []) == {}


def test_the_report_tells_the_rates_and_the_test_of_every_arm():
    rows = run_rows("lstm", BASE, states=["diverged"] + ["finished"] * 9)
    rows += run_rows("gru", BASE, states=["diverged"] * 9 + ["finished"])
    rows += run_rows("rnn", BASE)
    built = build(study("lstm", "gru", "rnn"), rows)
    p = 2 * stats.binomtest(0, 8, 0.5).pvalue
    assert f"| gru | 9 of 10 | 1 of 10 | 8 | 0 | {p:.3f} |" in built.markdown()
    assert "| rnn | 0 of 10 | 1 of 10 | 0 | 1 | 1.00 |" in built.markdown()
    assert "p (McNemar, exact, Holm)" in built.html()
    assert built.table["p_holm_divergence"].tolist()[1:] == pytest.approx([p, 1.0])
    whole = build(study("lstm", "gru"), run_rows("lstm", BASE) + run_rows("gru", BASE))
    assert "Divergence" not in whole.markdown()


def test_an_arm_of_which_no_pair_finished_is_named_beside_the_figure_of_pairs():
    lost = run_rows("rnn", BASE, states=["diverged"] * 10)
    planned = study("lstm", "gru", "rnn")
    figure = build(planned, pair(0.03, 0.02) + lost).first_figure
    assert figure.label.endswith("; not drawn: rnn, of which no pair finished")
    rows = under("a", pair(0.03, 0.02) + lost) + under("b", pair(0.03, 0.02))
    figure = build(across(planned, a="time-machine", b="genesis"), rows).first_figure
    assert figure.label.endswith("; not drawn: rnn under a, of which no pair finished")
    assert "not drawn" not in build(study("lstm", "gru"), pair(0.03, 0.02)).first_figure.label


def test_the_figure_of_pairs_says_the_margin_as_it_is():
    planned = study("lstm", "gru", measure=measuring(margin=0.005))
    (axes,) = build(planned, pair(0.03, 0.02)).first_figure.figure.axes
    assert axes.get_xlabel().endswith("(left is better; shaded: 0.5 %)")
