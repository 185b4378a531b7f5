"""The sentences of an arm on planted frames, to the letter."""

import re
from dataclasses import replace

import numpy as np
import pytest
from planted import BASE, UNIT, build, pair, run_rows, search_of, study, timing_rows
from scipy import stats

from harness.statistics import inference
from harness.study import Replicate


def one_sentence(mean, spread, **fields):
    return build(study("lstm", "gru", **fields), pair(mean, spread)).sentences[0]


def test_sentence_worse_with_speed():
    built = build(
        study("lstm", "gru"),
        pair(0.03, 0.02),
        timing_rows("lstm", 0.1) + timing_rows("gru", 0.1 / 1.08),
    )
    assert built.sentences == [
        "gru is worse than lstm on this text, at the settings given. Its test perplexity is 1.030"
        " times that of lstm (95 % interval 1.016 to 1.045, unadjusted; Holm-adjusted p = 0.001; 10"
        " paired seeds). It trains 1.080 times as fast (1.078 to 1.083)."
    ]
    assert built.answer == (
        "Compared with lstm in test perplexity, gru is worse; in training speed, gru is faster."
    )


def test_sentence_better():
    assert one_sentence(-0.03, 0.02, tune=search_of()) == (
        "gru is better than lstm on this text, at the settings that one search found. Its test"
        " perplexity is 0.970 times that of lstm (95 % interval 0.957 to 0.984, unadjusted;"
        " Holm-adjusted p = 0.001; 10 paired seeds)."
    )


def test_sentence_undecided_says_how_many_more_seeds_would_decide():
    assert one_sentence(0.01, 0.03) == (
        "Whether gru differs from lstm is undecided on this text, at the settings given. Its test"
        " perplexity is 1.010 times that of lstm (95 % interval 0.989 to 1.032, unadjusted;"
        " Holm-adjusted p = 0.32; 10 paired seeds). About 63 more seeds should decide it, if effect"
        " and spread stay as observed."
    )
    assert ". Not even 1000 seeds should decide it, if effect" in one_sentence(0.02, 0.8)


def test_sentence_equivalent():
    assert one_sentence(0.0, 0.005).startswith(
        "gru is equivalent to lstm within 1 % on this text, at the settings given. Its test"
        " perplexity is 1.000 times that of lstm (95 %"
    )
    lower, higher = one_sentence(-0.004, 0.003), one_sentence(0.004, 0.003)
    assert lower.startswith("gru is equivalent to lstm within 1 %, and its perplexity is lower on")
    assert higher.startswith(
        "gru is equivalent to lstm within 1 %, and its perplexity is higher on"
    )
    assert "is 0.996 times" in lower and "is 1.004 times" in higher


def test_sentence_identical():
    assert one_sentence(0.0, 0.0) == (
        "gru and lstm are identical on this text, at the settings given. Their losses are equal at"
        " each of 10 paired seeds."
    )


def repeated(differences, **fields):
    """Five repeats of two seeds each, of which the arm's differ from the baseline's by these."""
    rows = []
    for repeat, difference in enumerate(differences):
        for arm, level in (("lstm", 1.4), ("gru", 1.4 + difference)):
            rows += [{**row, "repeat": repeat} for row in run_rows(arm, [level, level + 0.1])]
    return build(
        study("lstm", "gru", tune=search_of(repeats=5), replicate=Replicate(2), **fields), rows
    )


def test_repeats_of_the_search_are_the_pairs():
    built = repeated([0.02, 0.03, 0.04, 0.03, 0.03])
    interval = inference.student_interval(np.array([0.02, 0.03, 0.04, 0.03, 0.03]))
    low, high = np.exp([interval.low, interval.high])
    assert built.sentences == [
        "gru is worse than lstm on this text, over 5 repeats of the whole search. Its test"
        f" perplexity is 1.030 times that of lstm (95 % interval {low:.3f} to {high:.3f},"
        " unadjusted; Holm-adjusted p < 0.001; 5 paired repeats)."
    ]
    assert (
        "| Repeats ended |" in built.markdown()
        and "### Tuned values of the first repeat" in built.markdown()
    )
    assert "| Repeats finished |" in built.markdown()
    assert "A pair is one repeat of the whole search" in built.markdown()
    assert (
        "more repeats should decide it" in repeated([0.02, 0.03, -0.02, 0.03, -0.01]).sentences[0]
    )


def test_subwords_are_told_by_what_they_stand_for():
    """A token of the arms stands for 4 bytes, 3.5 characters and 0.8 words of the test text."""
    units = {f"test/{u}_per_token": n for u, n in zip(UNITS, (4.0, 3.5, 0.8), strict=True)}
    rows = run_rows("lstm", BASE, **units) + run_rows("gru", BASE + 0.03, **units)
    built = build(study("lstm", "gru", token="subword"), rows)
    row, nats = built.table.loc[1], float(np.mean(BASE)) + 0.03
    assert row["bits_per_byte"] == pytest.approx(nats / 4.0 / np.log(2))
    assert row["bits_per_byte_difference"] == pytest.approx(0.03 / 4.0 / np.log(2))
    assert row["bits_per_character"] == pytest.approx(nats / 3.5 / np.log(2))
    assert row["word_perplexity"] == pytest.approx(np.exp(nats / 0.8))
    assert row["perplexity"] == pytest.approx(np.exp(nats))
    for title in ("Bits per byte", "Difference in bits per byte", "Word perplexity"):
        assert f"| {title} " in built.markdown()


UNITS = ("bytes", "characters", "words")


def test_a_sequential_design_names_its_rule():
    planned = study("lstm", "gru", replicate=Replicate(10, until=0.05, at_most=40))
    built = build(planned, pair(0.03, 0.02))
    assert built.sentences[0].endswith(
        "Holm-adjusted p = 0.001; 10 paired seeds by Stein's two-stage rule, of at most 40)."
    )
    assert (
        "Stein's two-stage rule (1945), 95 %, unadjusted: the spread of the first 10 seeds"
        in built.markdown()
    )
    assert "sign-flip" not in built.note()


@pytest.mark.parametrize(
    "at_most, clause",
    [
        (10, "a higher at_most allows them"),
        (40, "a narrower until asks for them, which is another"),
    ],
)
def test_a_sequential_design_says_what_adds_the_seeds_that_would_decide(at_most, clause):
    """No seed is added to it by hand."""
    planned = study("lstm", "gru", replicate=Replicate(10, until=0.5, at_most=at_most))
    built = build(planned, pair(0.008, 0.02))
    spread = np.std(0.02 * UNIT, ddof=1)
    n = next(  # the spread and the degrees of the first stage stay
        n
        for n in range(11, 1000)
        if stats.norm.cdf(0.008 / spread * np.sqrt(n) - stats.t.ppf(0.975, 9)) >= 0.8
    )
    start = f"About {n - 10} more seeds should decide it, if effect and spread stay as observed; "
    assert start + clause in built.sentences[0]
    assert built.results[1].seeds_to_decide == n


def test_a_sequential_design_that_no_number_of_seeds_decides_asks_for_none():
    planned = study("lstm", "gru", replicate=Replicate(10, until=0.5, at_most=10))
    planned = replace(planned, measure=replace(planned.measure, margin=0.0))
    (sentence,) = build(planned, pair(1e-5, 0.02)).sentences
    assert sentence.endswith(" seeds should decide it, if effect and spread stay as observed.")


def test_sentence_diverged():
    rows = run_rows("lstm", BASE) + run_rows(
        "gru", BASE + 0.03, states=["finished"] * 7 + ["diverged"] * 3
    )
    built = build(study("lstm", "gru"), rows)
    assert built.sentences == [
        "gru is worse than lstm on this text, at the settings given. 3 of its 10 replicates"
        " diverged. A sign test counts a diverged replicate as a loss (Holm-adjusted p = 0.002; 10"
        " paired seeds). Over the 7 pairs in which both finished, its test perplexity is 1.030"
        " times that of lstm."
    ]
    assert built.warnings == ["gru: 3 of 10 replicates diverged."]
    assert built.table.loc[1, ["finished", "diverged"]].tolist() == [7, 3]
    assert built.table.loc[1, ["ratio_low", "perplexity_low", "bits_difference_low"]].isna().all()
    assert "1.030 (conditional)" in built.markdown() and "(7 finished only)" in built.markdown()


def test_sentence_baseline_diverged():
    rows = run_rows("lstm", BASE, states=["diverged"] + ["finished"] * 9) + run_rows(
        "gru", BASE - 0.03
    )
    text = build(study("lstm", "gru"), rows).sentences[0]
    assert text.startswith("gru is better than lstm on this text")
    assert ". lstm diverged at 1 of these seeds. A sign test counts" in text


def test_everything_diverged():
    rows = [row for arm in ("lstm", "gru") for row in run_rows(arm, BASE, states=["diverged"] * 10)]
    built = build(study("lstm", "gru"), rows)
    assert (
        ". 10 of its 10 replicates diverged, and lstm diverged at 10 of these seeds. "
        in built.sentences[0]
    )
    assert built.sentences[0].endswith("No pair finished.")
    assert built.figures == {}


def test_sentence_one_pair():
    planned = study("lstm", "gru", replicate=Replicate(1))
    assert build(planned, run_rows("lstm", [1.4]) + run_rows("gru", [1.5])).sentences == [
        "Whether gru differs from lstm is undecided on this text, at the settings given. Its test"
        " perplexity is 1.105 times that of lstm at one paired seed, which gives no interval and no"
        " test."
    ]
    text = build(
        planned, run_rows("lstm", [1.4]) + run_rows("gru", [1.5], states=["diverged"])
    ).sentences[0]
    assert (
        "1 of its 1 replicates diverged. One pair allows no test (1 paired seed). No pair finished."
        in text
    )


@pytest.mark.parametrize(
    "gru_timings, expected",
    [
        (
            timing_rows("gru", 0.1, engine="reference"),
            " Its training speed does not compare: engine differs (cpu and",
        ),
        (timing_rows("gru", 0.2), " It trains 0.50 times as fast (0.50 to 0.50)."),
        (
            timing_rows("gru", 0.2, rounds=3),
            " Whether it trains faster or slower is undecided: 3 rounds cannot show a difference,"
            " because even if all agreed, the Holm-adjusted p would be 0.25; 6 could (0.50 times as"
            " fast was measured).",
        ),
        (timing_rows("gru", 0.1, mode="forward"), "paired seeds)."),
    ],
)
def test_speed_sentences(gru_timings, expected):
    timings = timing_rows("lstm", 0.1) + timing_rows("lstm", 0.1, mode="forward") + gru_timings
    text = build(study("lstm", "gru"), pair(0.03, 0.02), timings).sentences[0]
    assert (
        re.sub(r"0\.\d+ to 0\.\d+\)", "0.50 to 0.50)", text.replace("0.500", "0.50")).find(expected)
        > 0
    ), text
    assert "No difference" not in text


def test_no_difference_in_speed():
    """Rounds that take turns: ten each way."""
    rows = timing_rows("gru", 0.1)
    for row in rows:
        row["tokens_per_second"] *= 1.02 if row["round"] % 2 else 0.98
    built = build(study("lstm", "gru"), pair(0.03, 0.02), timing_rows("lstm", 0.1) + rows)
    assert (
        "No difference in training speed is shown: 1.00 times as fast (0.98 to 1.02)."
        in built.sentences[0]
    )
    assert built.answer.endswith("; in training speed, gru shows no difference.")


def test_an_interval_that_leaves_1_out_is_of_one_arm_where_no_difference_is_shown():
    """Fifteen rounds of twenty: p is 0.041 for gru alone, and 0.124 among three arms."""
    slower = timing_rows("gru", 0.1)
    for row in slower:
        row["tokens_per_second"] *= 0.9 if row["round"] % 4 else 1.05
    names, timings = ("lstm", "gru", "mgu", "rnn-tanh"), timing_rows("lstm", 0.1) + slower
    for name in names[2:]:
        timings += timing_rows(name, 0.1)
    rows = [row for name in names for row in run_rows(name, BASE)]
    text = build(study(*names), rows, timings).sentences[0]
    shown = "No difference in training speed is shown: 0.901 times as fast (0.899 to 0.903 for it"
    assert text.endswith(f"{shown} alone; Holm-adjusted p = 0.12)."), text


def test_speed_in_packs_alone_says_so():
    timings = timing_rows("lstm", 0.1, pack=8) + timing_rows("gru", 0.05, pack=8)
    assert (
        build(study("lstm", "gru"), pair(0.03, 0.02), timings)
        .sentences[0]
        .endswith("), in packs of 8.")
    )
