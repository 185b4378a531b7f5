"""Studies of several conditions, of repeats of the whole, and with as many seeds as a first stage
asks for.
"""

import numpy as np
import pytest
import small_study
from rich.console import Console

from harness import study
from harness.report import stages
from harness.results import status
from harness.results.open import open_study
from harness.runner import executor, launch
from harness.statistics import inference, power
from harness.store.locations import Locations

pytestmark = pytest.mark.usefixtures("without_report_files")

SEVERAL = """\
study: several
version: 1
question: Does width matter, whatever the recipe?
compare:
  arms: {narrow: {hidden_size: 3}, wide: {hidden_size: 12}}
  baseline: narrow
across:
  adam: {optimizer: adam, tune: {learning_rate: {low: 0.005, high: 0.1, log: true}}}
  plain: {tune: {learning_rate: {low: 0.5, high: 2.0}}}
tune: {trials: 1, repeats: 5, pruner: none}
fix: {cell: lstm, corpus: text, path: text.txt, batch_size: 4, bptt_length: 8,
      budget: {updates: 20}, evaluations: 1, engine: reference}
replicate: {seeds: 1}
measure: {runtime: {rounds: 2, seconds: 0.001}, models: none}
"""
STAGED = """\
study: staged
version: 1
question: How many seeds does it take?
compare:
  arms: {narrow: {hidden_size: 3}, wide: {hidden_size: 12}}
  baseline: narrow
fix: {cell: rnn-tanh, corpus: text, path: text.txt, batch_size: 4, bptt_length: 8,
      budget: {updates: 20}, evaluations: 1, engine: reference}
replicate: {seeds: {until: %s, at_most: 9, first: 3}}
measure: {runtime: none, models: none}
"""


def run(folder, name, text):
    small_study.write(folder)
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    quiet = Console(quiet=True)
    report = launch.run(path, locations=Locations(folder), force=True, console=quiet)
    return path, Locations(folder), report


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    path, locations, report = run(tmp_path_factory.mktemp("several"), "several", SEVERAL)
    loaded, reader = open_study(str(path), (), locations)
    return path, locations, report, loaded, reader.runs(), reader.timings()


def test_every_unit_has_its_trials_and_replicates(several):
    *_, runs, timings = several
    counts = runs.groupby(["condition", "arm", "repeat", "phase"]).size()
    assert len(counts) == 2 * 2 * 5 * 2
    assert counts.groupby("phase").unique().map(list).to_dict() == {"replicate": [1], "trial": [1]}
    assert set(runs["state"]) == {"finished"}
    assert set(zip(timings["condition"], timings["arm"], strict=True)) == {
        (condition, arm) for condition in ("adam", "plain") for arm in ("narrow", "wide")
    }


def test_conditions_train_with_what_they_change(several):
    runs = several[4]
    for condition, optimizer, low, high in (
        ("adam", "adam", 0.005, 0.1),
        ("plain", "sgd", 0.5, 2.0),
    ):
        params = list(runs.loc[runs["condition"] == condition, "params"])
        assert {p["optimizer"] for p in params} == {optimizer}
        assert all(low <= p["learning_rate"] <= high for p in params)


def test_seeds_are_paired_within_a_repeat_and_fresh_in_each(several):
    runs = several[4]
    replicates = runs[(runs["phase"] == "replicate") & (runs["condition"] == "adam")]
    seeds = {
        arm: rows.sort_values(["repeat", "index"])["seed"].tolist()
        for arm, rows in replicates.groupby("arm")
    }
    assert seeds["narrow"] == seeds["wide"]
    assert len(set(seeds["narrow"])) == 5
    assert seeds["narrow"][:2] == ["1000", "1000/repeat/1"]
    trials = runs[
        (runs["phase"] == "trial") & (runs["condition"] == "adam") & (runs["arm"] == "wide")
    ]
    assert trials["seed"].nunique() == 5  # every repeat searches with a search seed of its own
    assert trials["params"].map(lambda p: p["learning_rate"]).nunique() == 5


def test_the_pair_is_the_repeat(several):
    _, _, report, _, runs, _ = several
    for part in report.conditions:
        own = runs[(runs["condition"] == part.title) & (runs["phase"] == "replicate")]
        means = own.groupby(["arm", "repeat"])["test/loss"].mean()
        differences = (means["wide"] - means["narrow"]).to_numpy()
        result = next(r for r in part.results if r.name == "wide")
        assert np.allclose(result.differences, differences, atol=1e-12)
        assert result.decision.num_pairs == result.num_planned == 5
        assert result.decision.p == pytest.approx(inference.student_p(differences))
        assert not part.missing


def test_a_verdict_on_each_condition(several):
    report = several[2]
    assert [part.title for part in report.conditions] == ["adam", "plain"]
    page = report.html()
    assert "adam" in page and "plain" in page


def test_a_finished_study_trains_nothing(several, monkeypatch):
    path, locations, *_ = several
    monkeypatch.setattr(executor.Inline, "execute", None)
    launch.run(path, locations=locations, force=True, console=Console(quiet=True))


def test_more_repeats_extend_a_study(several):
    _, _, _, loaded, *_ = several
    more = study.load(
        loaded.path, ["tune.repeats=6", "tune.trials=3", "replicate.seeds=2", "measure.target=9"]
    )
    assert more.changes_since(loaded.identity()) == []
    other = study.load(loaded.path, ["across.adam.tune.learning_rate.high=0.2"])
    assert other.changes_since(loaded.identity()) == ["across.adam.learning_rate.high: 0.1 -> 0.2"]


def test_status_counts_all_repeats(several):
    path, locations, *_ = several
    table = status.status_table(str(path), (), locations)
    assert list(table.columns[0].cells) == ["adam"] * 4 + ["plain"] * 4
    assert list(table.columns[3].cells) == ["5", "5"] * 4


@pytest.mark.parametrize("until", [0.9, 0.0001])
def test_seeds_are_added_as_the_first_stage_asks(tmp_path, until):
    path, locations, report = run(tmp_path, "staged", STAGED % until)
    loaded, reader = open_study(str(path), (), locations)
    runs = reader.runs()
    first = runs[runs["index"] < 3].pivot(index="index", columns="arm", values="test/loss")
    wanted = power.stein_seeds(
        [(first["wide"] - first["narrow"]).to_numpy()], half_width_nats=np.log1p(until), at_most=9
    )
    assert wanted == (3 if until == 0.9 else 9)
    assert runs.groupby("arm").size().tolist() == [wanted, wanted]
    assert stages.num_seeds(loaded, runs) == wanted
    result = report.conditions[0].results[1]
    pairs = runs.pivot(index="index", columns="arm", values="test/loss")
    differences = (pairs["wide"] - pairs["narrow"]).to_numpy()
    assert result.decision.interval == inference.student_interval(differences, first=3)
    assert result.decision.sign_flip is None and result.num_planned == wanted


def test_seeds_added_after_a_verdict_are_told(tmp_path):
    text = STAGED.replace("{until: %s, at_most: 9, first: 3}", "2")
    path, locations, first = run(tmp_path, "staged", text)
    assert not any("a verdict was seen" in line for line in first.warnings)
    more = launch.run(
        path,
        overrides=("replicate.seeds=3",),
        locations=locations,
        force=True,
        console=Console(quiet=True),
    )
    assert any("a verdict was seen at 2 of its 3 pairs" in line for line in more.warnings)
