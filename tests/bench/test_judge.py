"""The arithmetic of the bench, on repeats made by hand."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from harness.bench import tables
from harness.bench.judge import Results, estimate
from harness.bench.record import Bench, Peak, Series, Shape
from harness.statistics import inference

SHAPE = Shape("planted", 32, 35, 256, 28)
ROUNDS = 6
LSTM_FLOPS = 8 * 256**2
READOUT_FLOPS = 2 * 256 * 28
NOISE = (1.0, 1.1, 0.9, 1.05, 0.95, 1.0)
"""What a round does to all subjects alike: ratios paired by round do not see it."""


def series(kind, name, cell, milliseconds, *, gates=4, pack=1, cell_class="a", mode="train"):
    flops = LSTM_FLOPS * gates // 4
    seconds = [1e-3 * milliseconds * pack * factor for factor in NOISE]
    flags = (gates, kind == "engine", pack, mode)
    return Series(
        SHAPE.name, kind, name, cell, cell_class, *flags, flops + READOUT_FLOPS, flops, 1, seconds
    )


def results(*own, gflops=200.0, shape=SHAPE, mode="train", device="cpu"):
    """A bench where nn.LSTM takes 8 ms, nn.GRU 20, nn.RNN 6 and the loop of every cell 40, on two
    threads.
    """
    peers = [
        series("peer", f"nn.{name} {form}", cell, milliseconds, gates=gates, pack=pack, mode=mode)
        for pack in (1, 4)
        for name, cell, gates, milliseconds in (
            ("LSTM", "lstm", 4, 8),
            ("GRU", "gru", 3, 20),
            ("RNN", "rnn-tanh", 1, 6),
        )
        for form in ("one-hot", "prebuilt")
    ]
    loops = [
        series("loop", "loop", cell, 40, mode=mode) for cell in dict.fromkeys(s.cell for s in own)
    ]
    made = {"device": device, "threads": "2", "rounds": str(ROUNDS)}
    best = [gflops / factor for factor in NOISE]
    peaks = [Peak(shape.name, "small", 512, [2.0] * ROUNDS), Peak(shape.name, "large", 1024, best)]
    return Results(Bench(made, [shape], [*peers, *own, *loops], peaks), shape, mode)


def asked(found, own):
    return {
        target.text: (round(target.attained, 6), target.needed, target.is_met)
        for target in found.targets(row(found, own))
    }


def row(found, own):
    return found.row(own)


def test_the_interval_is_that_of_the_statistics():
    drawn = random.Random(1)
    for n in (1, 2, 5, 6, 7, 11, 12, 20, 50):
        values = [drawn.random() for _ in range(n)]
        found, expected = estimate(values), inference.median_interval(np.array(values))
        assert found.median == pytest.approx(np.median(values), rel=1e-15)
        assert (found.low, found.high) == (
            (None, None) if expected is None else (expected.low, expected.high)
        )


def test_the_interval_covers_the_median():
    """Of 11 draws the second and the tenth: 2 * (1 + 11) / 2^11 is outside, 1.2 %; the third would
    be 6.5 %.
    """
    assert (estimate(range(11)).low, estimate(range(11)).high) == (1, 9)


def test_a_row_divides_by_hand():
    """Packs of 4 in 20 ms: 5 ms a run-update, 200 of them a second, 1,120 tokens each."""
    own = series("engine", "cpu", "lstm", 5, pack=4)
    found = row(results(own), own)
    assert found.seconds.median == pytest.approx(
        5e-3
    ) and found.updates_per_second == pytest.approx(200)
    assert (found.seconds.low, found.seconds.high) == (pytest.approx(4.5e-3), pytest.approx(5.5e-3))
    assert found.tokens_per_second == pytest.approx(224_000)
    operations = 3 * 32 * 35 * (2 * 4 * 256 * 256 + 2 * 256 * 28)
    assert found.gflops == pytest.approx(operations * 200 / 1e9)
    assert found.share.median == pytest.approx(found.gflops / 200)
    assert found.share.low == pytest.approx(found.share.high)  # paired by round


def test_a_forward_pass_has_a_third_of_an_updates_products():
    own = series("engine", "cpu", "lstm", 5, pack=4)
    forward = series("engine", "cpu", "lstm", 5, pack=4, mode="forward")
    assert row(results(own), own).gflops == pytest.approx(
        3 * row(results(forward, mode="forward"), forward).gflops, rel=1e-12
    )


def test_ratios_are_paired_by_round_and_per_run():
    own = series("engine", "cpu", "lstm", 5, pack=4)
    found = row(results(own), own)
    for ratio, expected in ((found.peer, 8 / 5), (found.loop, 40 / 5)):
        assert (ratio.median, ratio.low, ratio.high) == (pytest.approx(expected),) * 3


def test_a_ratio_is_scaled_by_the_cells_own_products():
    own = series("engine", "cpu", "rnn-tanh", 2, gates=1, pack=4)
    found = row(results(own), own)
    assert found.peer.median == pytest.approx(4) and found.scaled.median == pytest.approx(1)


def test_class_b_is_scaled_to_nn_gru():
    own = series("engine", "cpu", "gru-reset-before", 10, gates=3, pack=4, cell_class="b")
    assert row(results(own), own).scaled.median == pytest.approx(2)


def test_a_cell_without_products_is_not_scaled():
    own = series("engine", "cpu", "indrnn", 1, gates=0, pack=4, cell_class="e")
    found = row(results(own), own)
    assert found.scaled is None and found.peer.median == pytest.approx(8)


def test_the_peak_is_the_best_products_median():
    assert results().peak.form == "large"


@pytest.mark.parametrize("milliseconds, attained", [(8 / 1.3, 1.0), (8, 1 / 1.3), (4, 2 / 1.3)])
def test_the_target_is_beside_nn_lstm_where_the_peak_is_far(milliseconds, attained):
    own = series("engine", "cpu", "lstm", milliseconds, pack=4)
    found = results(own, gflops=1e6)
    assert found.share_of_target(row(found, own)) == pytest.approx(attained)


def test_the_target_is_part_of_the_peak_where_that_is_lower():
    own = series("engine", "cpu", "lstm", 8, pack=4)
    found = results(own)
    low = results(own, gflops=row(found, own).gflops / 0.35)
    assert (
        low.share_of_target(row(low, own))
        == pytest.approx(max(1 / 1.3, 0.35 / 0.7))
        == pytest.approx(1 / 1.3)
    )
    lower = results(own, gflops=row(found, own).gflops / 0.7)
    assert lower.share_of_target(row(lower, own)) == pytest.approx(1.0)


def test_what_is_asked_of_a_full_pack():
    lstm = series("engine", "cpu", "lstm", 5, pack=4)
    assert asked(results(lstm, gflops=1e6), lstm) == {
        "0.8 of the target": (round(1.6 / 1.3, 6), 0.8, True),
        "4 x its loop": (8.0, 4.0, True),
    }
    rnn = series("engine", "cpu", "rnn-relu", 4, gates=1, pack=4)
    assert asked(results(rnn, gflops=1e6), rnn) == {
        "0.8 of the target": (round(0.5 / 1.3, 6), 0.8, False),
        "2 x nn.RNN": (1.5, 2.0, False),
        "4 x its loop": (10.0, 4.0, True),
    }
    gru = series("engine", "cpu", "gru-reset-before", 16, gates=3, pack=4, cell_class="b")
    assert asked(results(gru), gru) == {
        "1 x scaled nn.GRU": (1.25, 1.0, True),
        "4 x its loop": (2.5, 4.0, False),
    }
    normalised = series("engine", "cpu", "lstm-layer-norm", 16, pack=4, cell_class="ar")
    assert set(asked(results(normalised), normalised)) == {"4 x its loop"}


def test_what_is_asked_of_a_single_run():
    own, beside = series("engine", "cpu", "lstm", 9), series("engine", "cpu", "lstm", 9, pack=4)
    assert asked(results(own, beside), own) == {
        "0.8 x scaled nn.LSTM": (round(8 / 9, 6), 0.8, True)
    }


def test_words_must_pay():
    own = series("engine", "cpu", "lstm", 5, pack=4)
    words = Shape("planted", 32, 35, 256, 1027)
    found = asked(results(own, shape=words), own)
    assert found["2 x nn.LSTM one-hot"] == found["2 x nn.LSTM prebuilt"] == (1.6, 2.0, False)


def test_no_target_without_what_it_needs():
    own = series("engine", "cpu", "lstm", 5, pack=4)
    alone = Results(
        Bench({"device": "cpu", "threads": "2", "rounds": "6"}, [SHAPE], [own]), SHAPE, "train"
    )
    found = row(alone, own)
    assert (found.share, found.peer, found.scaled, found.loop) == (None,) * 4
    assert alone.targets(found) == [] and alone.overall("cpu") is None


@pytest.mark.parametrize(
    "name, device, mode",
    [("native", "cpu", "train"), ("cpu", "cuda", "train"), ("cpu", "cpu", "forward")],
)
def test_no_target_elsewhere(name, device, mode):
    own = series("engine", name, "lstm", 5, pack=4, mode=mode)
    found = results(own, device=device, mode=mode)
    assert found.targets(row(found, own)) == []


def test_no_target_for_an_engine_that_training_does_not_take():
    own = replace(series("engine", "cpu", "lstm", 5, pack=4), is_default=False)
    found = results(own)
    assert found.targets(row(found, own)) == []


@pytest.mark.parametrize("part, judged", [(0.25, True), (0.3, False)])
def test_no_target_on_a_busy_machine(part, judged):
    own = series("engine", "cpu", "lstm", 5, pack=4)
    found = results(own)
    own.busy = [True] * round(100 * part) + [False] * round(100 - 100 * part)
    assert bool(found.targets(row(found, own))) == judged
    assert tables.verdicts(found).startswith(
        "cpu, class a" if judged else "No target is judged: other processes"
    )


def test_a_pack_that_leaves_threads_idle_is_judged_as_none():
    own = series("engine", "cpu", "lstm", 5, pack=4)
    found = results(own)
    found.bench.made["threads"] = "5"
    assert found.targets(row(found, own)) == []


@pytest.mark.parametrize(
    "shares, word",
    [
        ((1.1, 1.0, 0.9), "met"),
        ((1.1, 0.99, 0.9), "missed"),
        ((1.1, 1.1, 0.79), "missed"),
        ((1.0,), "met"),
    ],
)
def test_class_a_is_judged_by_median_and_lowest(shares, word):
    own = [
        series("engine", "cpu", f"lstm-{index}", 8 / 1.3 / (share + 1e-9), pack=4)
        for index, share in enumerate(shares)
    ]
    said = results(*own, gflops=1e6).overall("cpu")
    assert (
        said.endswith(word)
        and f"of {len(shares)} cells" in said
        and f"{min(shares):.2f} (0.8" in said
    )


def test_a_median_of_an_even_number_lies_between():
    assert estimate([1.0, 3.0]).median == 2.0 and math.isclose(
        estimate([1.0, 2.0, 4.0, 8.0]).median, 3.0
    )
