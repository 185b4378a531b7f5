"""The report on planted frames: sentences to the letter, every form, every way in which data may be short."""

import csv
import io
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from harness import report, statistics
from harness.settings import Settings


@dataclass(frozen=True)
class Arm:
    name: str
    settings: Settings
    is_baseline: bool = False


@dataclass(frozen=True)
class Study:
    name: str = "output-tanh"
    question: str = "Does the output tanh matter?"
    arms: tuple[Arm, ...] = ()
    tune: object = None
    replicate: object = field(default_factory=lambda: SimpleNamespace(seeds=10, first_seed=1000))
    measure: object = field(default_factory=lambda: SimpleNamespace(margin=0.01, threshold=0.05, runtime=None))

    @property
    def baseline(self):
        return next(arm for arm in self.arms if arm.is_baseline)


def study(*names, split="holdout", token="char", **fields):
    settings = Settings(cell="lstm", corpus="time-machine", split=split, token=token)
    return Study(arms=tuple(Arm(name, settings, is_baseline=i == 0) for i, name in enumerate(names)), **fields)


# Ten numbers of mean 0 and standard deviation 1, so that a difference's mean and spread are what they are given as.
UNIT = np.array([-1.5, -1.2, -0.6, -0.3, -0.1, 0.2, 0.3, 0.7, 1.0, 1.5])
UNIT = (UNIT - UNIT.mean()) / UNIT.std(ddof=1)
BASE = 1.4 + 0.02 * np.cos(np.arange(10))


def run_rows(arm, nats, *, states=None, first_seed=1000, **columns):
    states = states or ["finished"] * len(nats)
    row = {"objective": np.nan, "num_parameters": 300_000, "num_states": 512, "tokens": 2_000_000, **columns}
    row = {"params": {"learning_rate": 0.5}, "samples": [{"prefix": "traveller ", "text": "the <b> & psy"}], **row}
    return [
        {"arm": arm, "phase": "replicate", "index": j, "seed": str(first_seed + j), "state": states[j], **row}
        | {"test/loss": float(x), "validation/loss": float(x), "train/loss": float(x)}
        for j, x in enumerate(nats)
    ]


def timing_rows(arm, seconds, *, mode="train", pack=1, engine="cpu", busy=False, rounds=20):
    drift = 1.0 + 0.1 * np.sin(np.arange(rounds))  # the machine's, common to the arms of a round
    jitter = 1.0 + 0.004 * np.cos(len(arm) + 2.0 * np.arange(rounds))
    same = {"arm": arm, "mode": mode, "pack": pack, "engine": engine, "device": "cpu", "precision": "float32"}
    return [
        {
            **same,
            "threads": 2,
            "round": r,
            "seconds": seconds * a,
            "tokens_per_second": 1120 / (seconds * a),
            "busy": busy,
        }
        for r, a in enumerate(drift * jitter)
    ]


def build(planned, rows=(), timings=(), curves=(), warnings=()):
    frames = (pd.DataFrame(list(x)) for x in (rows, curves, timings))
    return report.build(planned, *frames, list(warnings))


def pair(mean, spread, **columns):
    """Rows of a baseline ``lstm`` and an arm ``gru`` whose ten paired differences have this mean and spread."""
    return run_rows("lstm", BASE) + run_rows("gru", BASE + mean + spread * UNIT, **columns)


def one_sentence(mean, spread, *, tune=None, **fields):
    return build(study("lstm", "gru", tune=tune, **fields), pair(mean, spread)).sentences[0]


def test_sentence_worse_with_speed():
    built = build(study("lstm", "gru"), pair(0.03, 0.02), timing_rows("lstm", 0.1) + timing_rows("gru", 0.1 / 1.08))
    assert built.sentences == [
        "At the settings given, on this text, gru is worse than lstm: perplexity 1.030 times (95 % interval 1.016 to"
        " 1.045, unadjusted), Holm-adjusted p = 0.001, 10 paired seeds. It trains 1.080 times as fast (1.078 to 1.083)."
    ]
    assert built.answer == "Against lstm, in perplexity: gru is worse; in training speed: gru is faster."


def test_sentence_better():
    assert one_sentence(-0.03, 0.02, tune=SimpleNamespace(num_trials=0)) == (
        "At the settings that one search found, on this text, gru is better than lstm: perplexity 0.970 times (95 %"
        " interval 0.957 to 0.984, unadjusted), Holm-adjusted p = 0.001, 10 paired seeds."
    )


def test_sentence_undecided_says_how_many_seeds_would_decide():
    text = one_sentence(0.01, 0.03)
    assert re.fullmatch(
        r"At the settings given, on this text, whether gru differs from lstm is undecided: perplexity 1\.010"
        r" times \(95 % interval 0\.989 to 1\.032, unadjusted\), Holm-adjusted p = 0\.32, 10 paired seeds; about 73"
        r" seeds would decide, were effect and spread those seen\.",
        text,
    ), text
    assert "; more than 1000 seeds would decide" in one_sentence(0.02, 0.8)


def test_sentence_equivalent():
    assert one_sentence(0.0, 0.005).startswith(
        "At the settings given, on this text, gru is equivalent to lstm within 1 %: perplexity 1.000 times (95 %"
    )
    assert "gru is equivalent to lstm within 1 %, and lower: perplexity 0.996 times" in one_sentence(-0.004, 0.003)
    assert "gru is equivalent to lstm within 1 %, and higher: perplexity 1.004 times" in one_sentence(0.004, 0.003)


def test_sentence_identical():
    assert one_sentence(0.0, 0.0) == (
        "At the settings given, on this text, gru and lstm are identical: equal loss at each of 10 paired seeds."
    )


def test_sentence_diverged():
    rows = run_rows("lstm", BASE) + run_rows("gru", BASE + 0.03, states=["finished"] * 7 + ["diverged"] * 3)
    built = build(study("lstm", "gru"), rows)
    assert built.sentences == [
        "At the settings given, on this text, gru is worse than lstm: 3 of 10 diverged; sign test with a diverged"
        " replicate as a loss, Holm-adjusted p = 0.002, 10 paired seeds; perplexity 1.030 times over the 7 finished"
        " pairs alone, conditional on finishing."
    ]
    assert built.warnings == ["gru: 3 of 10 replicates diverged."]
    assert built.table.loc[1, ["finished", "diverged"]].tolist() == [7, 3]
    assert built.table.loc[1, ["ratio_low", "perplexity_low"]].isna().all()
    assert "1.030 (conditional)" in built.markdown() and "(7 finished only)" in built.markdown()


def test_sentence_baseline_diverged():
    rows = run_rows("lstm", BASE, states=["diverged"] + ["finished"] * 9) + run_rows("gru", BASE - 0.03)
    text = build(study("lstm", "gru"), rows).sentences[0]
    assert "gru is better than lstm: lstm diverged at 1 of these seeds; sign test" in text


def test_everything_diverged():
    rows = [row for arm in ("lstm", "gru") for row in run_rows(arm, BASE, states=["diverged"] * 10)]
    built = build(study("lstm", "gru"), rows)
    assert "is undecided: 10 of 10 diverged; lstm diverged at 10 of these seeds; " in built.sentences[0]
    assert built.sentences[0].endswith("no pair finished.")
    assert built.figures() == []


def test_sentence_one_pair():
    planned = study("lstm", "gru", replicate=SimpleNamespace(seeds=1, first_seed=1000))
    assert build(planned, run_rows("lstm", [1.4]) + run_rows("gru", [1.5])).sentences == [
        "At the settings given, on this text, whether gru differs from lstm is undecided: perplexity 1.105 times at one"
        " paired seed, which gives no interval and no test."
    ]
    planned = study("lstm", "gru", replicate=SimpleNamespace(seeds=1, first_seed=1000))
    text = build(planned, run_rows("lstm", [1.4]) + run_rows("gru", [1.5], states=["diverged"])).sentences[0]
    assert "1 of 1 diverged; no test for one pair, 1 paired seed; no pair finished" in text


@pytest.mark.parametrize(
    "gru_timings, expected",
    [
        (timing_rows("gru", 0.1, engine="reference"), " Its training speed does not compare: engine differs (cpu and"),
        (timing_rows("gru", 0.2), " It trains 0.50 times as fast (0.50 to 0.50)."),
        (timing_rows("gru", 0.2, rounds=3), " No difference in training speed is shown: 0.50 times as fast."),
        (timing_rows("gru", 0.1, mode="forward"), "paired seeds."),
    ],
)
def test_speed_sentences(gru_timings, expected):
    timings = timing_rows("lstm", 0.1) + timing_rows("lstm", 0.1, mode="forward") + gru_timings
    text = build(study("lstm", "gru"), pair(0.03, 0.02), timings).sentences[0]
    assert re.sub(r"0\.\d+ to 0\.\d+\)", "0.50 to 0.50)", text.replace("0.500", "0.50")).find(expected) > 0, text


def test_speed_in_packs_alone_says_so():
    timings = timing_rows("lstm", 0.1, pack=8) + timing_rows("gru", 0.05, pack=8)
    assert build(study("lstm", "gru"), pair(0.03, 0.02), timings).sentences[0].endswith("), in packs of 8.")


def test_an_arm_timed_under_two_conditions_compares_with_none():
    mixed = timing_rows("gru", 0.1, rounds=10) + [
        {**row, "round": row["round"] + 10, "threads": 1} for row in timing_rows("gru", 0.1, rounds=10)
    ]
    built = build(study("lstm", "gru"), pair(0.03, 0.02), timing_rows("lstm", 0.1) + mixed)
    assert built.sentences[0].endswith("does not compare: threads differs (2 and 1 and 2 in gru).")


def test_training_perplexity_is_named_as_such():
    rows = [{**row, "objective": row["test/loss"], "test/loss": np.nan} for row in pair(0.03, 0.02)]
    built = build(study("lstm", "gru", split="none"), rows)
    assert built.warnings[0] == "train/perplexity: running training perplexity, no held-out number."
    assert "gru is worse than lstm: running training perplexity 1.030 times" in built.sentences[0]
    assert built.answer == "Against lstm, in running training perplexity: gru is worse."
    assert "| Running training perplexity (95 %) |" in built.markdown()


def test_arms_of_different_text_do_not_compare():
    planned = study("lstm", "gru", "words")
    words = replace(planned.arms[2].settings, token="word")
    planned = replace(planned, arms=(*planned.arms[:2], Arm("words", words)))
    built = build(planned, pair(0.03, 0.02) + run_rows("words", BASE + 3))
    assert "words and lstm do not compare: token differs (char and word)." in built.sentences[1]
    assert built.table["verdict"].tolist() == ["baseline", "worse", "not comparable"]
    assert built.results[1].decision.adjusted_p == built.results[1].decision.p  # it is not one of the family
    assert built.table["bits_per_character"].notna().tolist() == [True, True, False]
    assert built.answer.endswith("gru is worse, words is not comparable.")


def test_pairs_are_by_seed():
    """Five seeds in common, in another order and under other indices."""
    rows = run_rows("lstm", BASE) + run_rows("gru", BASE[5:][::-1] + 0.03)
    for row, seed in zip(rows[10:], range(1009, 1004, -1), strict=True):
        row["seed"] = str(seed)
    result = build(study("lstm", "gru"), rows).results[1]
    np.testing.assert_allclose(result.differences, np.full(5, 0.03))


def test_failed_and_blank_replicates_enter_no_figure():
    rows = run_rows("lstm", BASE) + run_rows("gru", BASE + 0.03, states=["failed"] * 2 + ["finished"] * 8)
    rows[12]["test/loss"] = np.nan
    built = build(study("lstm", "gru"), rows)
    assert built.results[1].decision.num_pairs == 7
    assert built.warnings == [
        "gru: 2 of 10 replicates failed and enter no figure.",
        "gru: 1 finished replicates have no test/loss and enter no figure.",
    ]
    assert "7 of 10, 2 failed" in built.markdown()


def test_warnings():
    rows = pair(0.03, 0.02)
    rows[-1]["params"] = {"learning_rate": 0.6}
    timings = timing_rows("lstm", 0.1) + timing_rows("gru", 0.1, busy=True)
    built = build(study("lstm", "gru"), rows, timings, warnings=["gru: learning_rate at the edge of its range."])
    assert built.warnings == [
        "gru: learning_rate at the edge of its range.",
        "gru: its replicates were trained at different tuned values.",
        "gru: the machine was busy in 20 of 20 timings.",
    ]


def test_tests_that_disagree_are_a_warning():
    planned = study("lstm", "gru", replicate=SimpleNamespace(seeds=4, first_seed=1000))
    differences = np.array([0.030, 0.031, 0.029, 0.030])
    built = build(planned, run_rows("lstm", BASE[:4]) + run_rows("gru", BASE[:4] + differences))
    assert built.table.loc[1, "verdict"] == "worse"
    assert re.fullmatch(
        r"gru: the tests disagree at 0\.05: Student's Holm-adjusted p is \S+, the sign-flip test's 0\.125 \(4 pairs"
        r" cannot go below 0\.125 before adjustment\)\.",
        built.warnings[0],
    )


def test_incomplete_studies_say_what_is_missing():
    planned = study(
        "lstm",
        "gru",
        tune=SimpleNamespace(num_trials=3),
        measure=SimpleNamespace(margin=0.01, threshold=0.05, runtime=SimpleNamespace(rounds=20)),
    )
    trial = {"phase": "trial", "state": "finished", "tokens": 5}
    rows = run_rows("lstm", BASE) + run_rows("gru", BASE + 0.1, states=["finished"] * 8 + ["running", "pruned"])
    rows += [{**trial, "arm": "lstm", "index": k, "seed": f"0-{k}"} for k in range(3)]
    built = build(planned, rows, timing_rows("lstm", 0.1))
    assert built.missing == [
        "gru: 0 of 3 trials ended.",
        "gru: replicates are missing for the seeds 1008, 1009.",
        "gru: its runtime has not been measured.",
    ]
    assert built.answer == "Incomplete: so far, against lstm, in perplexity: gru is worse."
    assert built.table["tokens"].tolist() == [20_000_015, 20_000_000]
    for text in (built.markdown(), built.note(), built.html()):
        assert "replicates are missing for the seeds 1008, 1009." in text


def test_missing_baseline():
    built = build(study("lstm", "gru"), run_rows("gru", BASE))
    assert built.sentences == [
        "At the settings given, on this text, nothing is known of gru against lstm: no seed has an ended replicate of"
        " both."
    ]
    assert built.answer == "Incomplete: so far, against lstm, in perplexity: gru is not known."
    assert "| lstm | baseline | none |" in built.markdown()


def test_nothing_has_run():
    built = build(study("lstm", "gru"))
    assert built.answer == "Incomplete: no replicate of output-tanh has ended yet."
    assert len(built.missing) == 2
    for text in (built.markdown(), built.html(), built.csv(), built.note(), printed(built)):
        assert "gru" in text


def test_an_arm_alone():
    assert build(study("lstm"), run_rows("lstm", BASE)).answer == "Against lstm, in perplexity: nothing to compare."


def curve_rows(arm, level, num_updates=5):
    return [
        {"arm": arm, "phase": "replicate", "index": j, "update": u, "tokens": u * 1e5, "time_seconds": 1.0 * u}
        | dict.fromkeys(("train/loss", "validation/loss"), level + 1.0 / u + 0.01 * j)
        for j in range(10)
        for u in range(1, num_updates + 1)
    ]


def full():
    names = ("lstm", "lstm-no-output-tanh", "gru-reset-before", "rnn|<b>")
    rows, timings, curves = [], [], []
    for i, (name, mean) in enumerate(zip(names, (0.0, 0.03, -0.03, 0.005), strict=True)):
        rows += run_rows(name, BASE + mean + 0.02 * (i > 0) * UNIT)
        curves += curve_rows(name, 1.4 + mean)
        for mode, pack in (("train", 1), ("train", 8), ("forward", 1)):
            timings += timing_rows(name, 0.1 / (1 + 0.1 * i), mode=mode, pack=pack)
    return build(study(*names), rows, timings, curves, ["a <script> in a warning"])


def printed(built, width=80):
    console = Console(width=width, record=True, file=io.StringIO(), color_system="standard", force_terminal=True)
    built.terminal(console)
    return console.export_text(styles=True)


def test_terminal_fits_80_columns():
    text = printed(full())
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= 80
    line = next(line for line in plain.splitlines() if line.startswith("lstm-no-output-tanh"))
    perplexity = f"{np.exp(BASE.mean() + 0.03):.3f}"
    assert line.split() == ["lstm-no-output-tanh", perplexity, "1.030", "(1.016-1.045)", "0.003", "1.10", "worse"]
    table = plain[plain.index("Arm ") : plain.index("At the settings")].rstrip().splitlines()
    assert len(table) == 2 + 4  # no row is wrapped
    for colour, word in ((31, "worse"), (32, "better"), (33, "undecided")):
        assert re.search(rf"\x1b\[{colour}m{word}", text)
    assert "a <script> in a warning" in plain


def test_markdown_is_a_table_on_github():
    text = full().markdown()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line in lines:
        assert len(re.findall(r"(?<!\\)\|", line)) in (12, 8, 3)
    assert "| rnn\\|&lt;b> |" in text
    assert f"| 10 of 10 | {BASE.mean() / np.log(2):.3f} | 300,000 | 512 | 20,000,000 |" in text
    assert re.findall(r"(?m)^\| (\w+) .*\n\| ---", full().note()) == ["Arm"]


def test_csv_reads_back():
    built = full()
    rows = list(csv.DictReader(io.StringIO(built.csv())))
    assert [row["arm"] for row in rows] == [result.name for result in built.results]
    assert float(rows[1]["ratio"]) == pytest.approx(np.exp(0.03))
    assert rows[1]["pairs"] == "10" and rows[0]["pairs"] == ""
    assert float(rows[3]["train_pack_8_speed"]) == pytest.approx(1.3, rel=0.01)
    assert rows[2]["params"] == '{"learning_rate": 0.5}'


def test_numbers_of_the_table():
    table, losses = full().table, BASE + 0.03 + 0.02 * UNIT
    interval = statistics.student_interval(losses)
    row = table.iloc[1]
    assert row["perplexity"] == pytest.approx(np.exp(losses.mean()))
    assert (row["perplexity_low"], row["perplexity_high"]) == pytest.approx(
        (np.exp(interval.low), np.exp(interval.high))
    )
    assert row["bits_per_character"] == pytest.approx(losses.mean() / np.log(2))
    assert row["train_pack_1_tokens_per_second"] == pytest.approx(1120 / 0.1 * 1.1, rel=0.02)


class Page(HTMLParser):
    """Collects what a page refers to and checks that its elements close in order."""

    VOID = ("meta", "br", "img", "link", "hr", "input")

    def __init__(self):
        super().__init__()
        self.open, self.labels, self.references, self.ids, self.tags = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        self.ids += [values["id"]] if "id" in values else []
        self.labels += [values["aria-label"]] if tag == "svg" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_one_sound_page():
    built = full()
    text = built.html()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert [label.split(":")[0] for label in page.labels] == ["Paired differences", "Runtime", "Learning curves"]
    assert set(re.findall(r"https?://[^\"' <]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert all(reference.startswith("#") and reference[1:] in page.ids for reference in page.references)
    assert "script" not in page.tags and "a &lt;script&gt; in a warning" in text
    assert "the &lt;b&gt; &amp; psy" in text  # a sample
    for result in built.results[1:3]:
        assert text.count(f">{result.name}</text>") >= 3  # in each figure
    assert text == full().html()  # the same figures, to the byte


def test_curves_are_drawn_while_all_replicates_are_finite():
    curves = curve_rows("lstm", 1.4)
    whole = build(study("lstm"), run_rows("lstm", BASE), curves=curves).figures()[0]
    curves[-1]["validation/loss"] = np.nan
    assert build(study("lstm"), run_rows("lstm", BASE), curves=curves).figures()[0] != whole
    for row in curves:
        row["validation/loss"] = np.inf
    assert build(study("lstm"), run_rows("lstm", BASE), curves=curves).figures() == []


def test_many_arms_are_told_apart():
    names = [f"arm-{i}" for i in range(12)]
    curves = [row for name in names for row in curve_rows(name, 1.4)]
    svg = build(study(*names), [r for n in names for r in run_rows(n, BASE)], curves=curves).figures()[-1]
    lines = set(re.findall(r"fill: none; (?:stroke-dasharray[^;]*; [^;]*; )?stroke: (#[0-9a-f]{6})", svg))
    assert "stroke-dasharray" in svg and len(lines) >= 8
