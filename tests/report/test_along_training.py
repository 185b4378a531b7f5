"""The ratio of two arms at several points of training, against SciPy and statsmodels."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from planted import of_arms, search_of
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.report import along_training
from harness.settings import Settings
from harness.study import Arm, Replicate

UPDATES = [50, 100, 150, 200, 250, 300, 350, 400]


def study(repeats=1, replicate=None, **settings):
    baseline = Arm("a", Settings("lstm", "time-machine", **settings), is_baseline=True)
    return of_arms(baseline, tune=search_of(repeats=repeats), replicate=replicate or Replicate(10))


def results(*names):
    return [SimpleNamespace(name=n, is_baseline=n == "a", incomparable="", open=[]) for n in names]


def curves(arms, seeds=5, repeats=1, updates=UPDATES):
    draw = np.random.default_rng(3)
    rows = [
        (arm, "replicate", repeat, index, update, 2.0 + shift + 0.1 * draw.normal(), "finished", 0)
        for arm, shift in arms.items()
        for repeat in range(repeats)
        for index in range(seeds)
        for update in updates
    ]
    columns = ["arm", "phase", "repeat", "index", "update", "validation/loss", "state"]
    columns += ["not_learned"]
    return pd.DataFrame(rows, columns=columns)


def test_ratios_and_p_are_those_of_scipy_after_holm():
    frame = curves({"a": 0.0, "b": 0.1, "c": -0.3})
    table = along_training.section(study(), results("a", "b", "c"), frame)
    assert table.header == ("Arm", "50 updates", "100 updates", "200 updates", "400 updates")
    assert "p after Holm over all 8 comparisons" in table.title
    nats = frame.pivot(index=["arm", "index"], columns="update", values="validation/loss")
    pairs = [nats.loc[arm, u] - nats.loc["a", u] for arm in "bc" for u in (50, 100, 200, 400)]
    p = multipletests([stats.ttest_1samp(x, 0.0).pvalue for x in pairs], method="holm")[1]
    cells = [cell for row in table.rows for cell in row[1:]]
    for cell, differences, adjusted in zip(cells, pairs, p, strict=True):
        low, high = stats.t.interval(0.95, 4, loc=differences.mean(), scale=stats.sem(differences))
        ratio, _, rest = cell.partition(" (")
        ends, _, said = rest.partition("), p ")
        assert float(ratio) == pytest.approx(np.exp(differences.mean()), abs=1e-3)
        assert [*map(float, ends.split("-"))] == pytest.approx(np.exp([low, high]), abs=1e-3)
        assert (
            said == "< 0.001"
            if adjusted < 0.001
            else float(said[2:]) == pytest.approx(adjusted, abs=0.006)
        )


def test_a_pair_is_a_repeat_where_the_whole_is_repeated():
    frame = curves({"a": 0.0, "b": 0.1}, seeds=2, repeats=5)
    table = along_training.section(study(repeats=5), results("a", "b"), frame)
    means = frame[frame["update"] == 400].groupby(["arm", "repeat"])["validation/loss"].mean()
    differences = means["b"] - means["a"]
    low, high = stats.t.interval(0.95, 4, loc=differences.mean(), scale=stats.sem(differences))
    assert table.rows[0][-1].startswith(
        f"{np.exp(differences.mean()):.3f} ({np.exp(low):.3f}-{np.exp(high):.3f})"
    )


def test_a_design_in_stages_keeps_the_spread_of_its_first_one():
    frame = curves({"a": 0.0, "b": 0.1}, seeds=12)
    frame = frame[(frame["arm"] != "b") | (frame["index"] != 3)]  # of the first stage
    staged = study(replicate=Replicate(6, until=0.01, at_most=12))
    table = along_training.section(staged, results("a", "b"), frame)
    nats = frame[frame["update"] == 400].set_index(["arm", "index"])["validation/loss"]
    differences = (nats["b"] - nats["a"]).dropna()
    scale = differences[differences.index < 6].std() / np.sqrt(len(differences))
    low, high = stats.t.interval(0.95, 4, loc=differences.mean(), scale=scale)
    assert table.rows[0][-1].startswith(
        f"{np.exp(differences.mean()):.3f} ({np.exp(low):.3f}-{np.exp(high):.3f})"
    )


def test_along_training_says_that_it_leaves_the_search_out():
    title = along_training.section(study(), results("a", "b"), curves({"a": 0.0, "b": 0.1})).title
    assert "(95 %, without the spread of the search; p after" in title
    repeated = curves({"a": 0.0, "b": 0.1}, seeds=2, repeats=5)
    assert "search" not in along_training.section(study(5), results("a", "b"), repeated).title


def test_epochs_are_named_and_what_did_not_finish_is_no_pair():
    frame = curves({"a": 0.0, "b": 0.1})
    frame.loc[(frame["arm"] == "b") & (frame["index"] > 0), "state"] = "diverged"
    table = along_training.section(study(evaluations="epoch"), results("a", "b"), frame)
    assert table.header == ("Arm", "epoch 1", "epoch 2", "epoch 4", "epoch 8")
    assert all("p" not in cell for cell in table.rows[0][1:])  # one pair has no test
    lost = frame.assign(state=frame["state"].where(frame["arm"] == "a", "diverged"))
    assert along_training.section(study(), results("a", "b"), lost) is None


def test_one_point_is_no_way():
    frame = curves({"a": 0.0, "b": 0.1}, updates=[100])
    assert along_training.section(study(), results("a", "b"), frame) is None


def test_a_replicate_that_learned_nothing_is_left_out_with_its_partner():
    frame = curves({"a": 0.0, "b": 0.1})
    before = along_training.section(study(), results("a", "b"), frame[frame["index"] != 2])
    is_lost = (frame["arm"] == "b") & (frame["index"] == 2)
    frame.loc[is_lost, "validation/loss"] = 900.0  # its curve may go anywhere
    frame.loc[is_lost, "not_learned"] = 1
    assert along_training.section(study(), results("a", "b"), frame) == before


def test_a_ratio_that_is_large_beyond_reading_has_an_exponent():
    frame = curves({"a": 0.0, "b": 0.1})
    frame.loc[(frame["arm"] == "b") & (frame["update"] == 50), "validation/loss"] += 60.0
    table = along_training.section(study(), results("a", "b"), frame)
    cell = table.rows[0][1]
    assert len(cell) < 50 and "e+26" in cell
