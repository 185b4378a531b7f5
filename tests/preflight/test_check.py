import io
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import small_study
from rich.console import Console

from harness import study
from harness.preflight import check, cost, history
from harness.preflight.cost import Pace
from harness.preflight.design import design_problem
from harness.preflight.disk import checkpoint_bytes, disk
from harness.preflight.probe import PROBE_UPDATES, probe_arm, short_training
from harness.preflight.resolve import pack_of, resolve
from harness.runner import runtime_phase
from harness.runner.progress import Display
from harness.runner.scheduler import Scheduler
from harness.settings import Budget
from harness.store.locations import Locations
from harness.training.pack import Pack
from harness.training.shard import Shard

OVERRIDES = ("fix.threads=2", "fix.pack_size=4")


def output_of(path, folder, *, terminal=False, **options):
    """Returns what `harness check` prints."""
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal)
    defaults = {"trains": False, "force": False}
    check.check(
        str(path), OVERRIDES, locations=Locations(folder), console=console, **defaults | options
    )
    return console.file.getvalue()


def words(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A study whose runs and timings are all stored: its path and its folder."""
    folder = tmp_path_factory.mktemp("ran")
    path = small_study.write(folder, trials=2, updates=8, runtime="{rounds: 6, seconds: 0.001}")
    scheduler = Scheduler(
        study.load(path, OVERRIDES), Locations(folder), Display(Console(file=io.StringIO()))
    )
    while plans := scheduler.next_plans():
        scheduler.train(plans)
    runtime_phase.measure(scheduler)
    return path, folder


@pytest.fixture(scope="module")
def stored(ran):
    """What is stored of that study."""
    path, folder = ran
    return next(iter(history.History(study.load(path, OVERRIDES), Locations(folder))))


@pytest.fixture
def loaded(tmp_path):
    """A study that was never run."""
    return study.load(small_study.write(tmp_path), OVERRIDES)


def other(path, folder, *changes):
    """Writes the study under another name, changed, and returns its path."""
    text = (
        path.read_text()
        .replace("study: small", "study: another")
        .replace("path: text.txt", f"path: {path.parent}/text.txt")
    )
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "another.yaml").write_text(text)
    return folder / "another.yaml"


def test_without_a_store_two_updates_are_timed_and_nothing_is_written(tmp_path):
    text = output_of(small_study.write(tmp_path), tmp_path)
    assert "by a few updates of each pack" in text and "of pairs is not known; if it is" in text
    assert "0.0312 by sign flips; 0.05 takes 6 seeds" in words(text) and "runs 20" in words(text)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.yaml", "text.txt"]
    assert max(map(len, text.splitlines())) <= 80


def test_the_store_tells_pace_and_spread_and_stays_as_it_is(ran):
    path, folder = ran
    before = (folder / "mlflow.db").read_bytes()
    text = output_of(path, folder)
    assert "from earlier runs of this study" in text and "of 6 pairs of this study" in text
    assert (folder / "mlflow.db").read_bytes() == before


def test_a_brief_look_makes_as_many_runs_of_a_pack_as_work_at_a_time(ran):
    loaded = study.load(ran[0], OVERRIDES)
    wide = resolve(loaded)[0]["wide"]
    whole, brief = (
        probe_arm(loaded, "wide", wide, is_brief=is_brief) for is_brief in (False, True)
    )
    assert (whole.pace.pack, brief.pace.pack) == (4, 2) == (wide.pack_size, wide.threads)
    assert brief.pace.seconds(4, 8, 1) == 2 * brief.pace.seconds(2, 8, 1)
    assert (brief.num_runs, brief.packs) == (whole.num_runs, whole.packs)


def test_a_pace_of_earlier_runs_is_their_median(ran, stored):
    loaded = study.load(ran[0], OVERRIDES)
    settings, _ = resolve(loaded)
    probe = probe_arm(loaded, "wide", settings["wide"])
    runs = stored.runs.query("arm == 'wide' and phase == 'replicate' and pack_size == 4")
    pace = history.pace(probe, stored)
    assert len(runs) == 4 and (pace.pack, pace.concurrent_runs, pace.evaluation_seconds) == (
        4,
        2,
        0.0,
    )
    assert pace.update_seconds == pytest.approx(runs["seconds"].median() / 8)
    for changed in (
        {"fingerprint": "another text"},
        {"threads": 1},
        {"hidden_size": 17},
        {"settings": replace(probe.settings, optimizer="sgd")},
        {"settings": replace(probe.settings, zoneout_h=0.1)},
        {"settings": replace(probe.settings, evaluation_batch_size=1)},
    ):
        assert history.pace(replace(probe, **changed), stored) is None


def test_timings_tell_the_pace_of_another_budget(ran, stored, tmp_path):
    path, folder = ran
    changed = other(
        path, tmp_path, ("updates: 8", "updates: 100"), ("evaluations: 4", "evaluations: 10")
    )
    loaded = study.load(changed, OVERRIDES)
    settings, _ = resolve(loaded)
    pace = history.pace(probe_arm(loaded, "wide", settings["wide"]), replace(stored, is_same=False))
    rows = stored.timings.query("arm == 'wide' and pack == 4").groupby("mode")["seconds"].median()
    tokens = len((path.parent / "text.txt").read_text()) // 10
    minibatches = math.ceil(math.ceil((tokens - 1) / 4) / 8)  # 4 streams, windows of 8
    assert pace.source == "from timings of small" and pace.update_seconds == rows["train"]
    assert pace.evaluation_seconds == pytest.approx(minibatches * rows["forward"])
    # Nothing was timed of minibatches of one stream.
    probe = probe_arm(loaded, "wide", replace(settings["wide"], evaluation_batch_size=1))
    alike = [{**params, "evaluation_batch_size": 1} for params in stored.runs["params"]]
    assert history.pace(probe, replace(stored, runs=stored.runs.assign(params=alike))) is None
    text = output_of(changed, folder)
    assert "from timings of small" in text and "of 6 pairs of small" in text


def test_a_changed_study_of_the_name_is_another(ran, stored):
    path, folder = ran
    loaded = study.load(path, (*OVERRIDES, "measure.margin=0.05"))
    assert [each.is_same for each in history.History(loaded, Locations(folder))] == [False]
    assert stored.is_same


def test_a_spread_is_that_of_the_paired_differences(ran, stored):
    loaded = study.load(ran[0], OVERRIDES)
    runs = stored.runs.query("phase == 'replicate'").pivot(
        index="seed", columns="arm", values="test/loss"
    )
    spread = history.spread(loaded, stored)
    assert (spread.study, spread.num_pairs) == ("this study", 6)
    assert spread.nats == {"wide": pytest.approx((runs["wide"] - runs["narrow"]).std())}
    repeated = replace(loaded, tune=replace(loaded.tune, repeats=5))
    assert history.spread(repeated, stored) is None  # of seeds, not of repeats
    half = stored.runs.assign(repeat=1, **{"test/loss": stored.runs["test/loss"] / 2})
    twice = replace(stored, runs=pd.concat([stored.runs, half], ignore_index=True))
    means = (runs["wide"] - runs["narrow"]).mean() * np.array([1.0, 0.5])
    assert history.spread(repeated, twice).nats == {"wide": pytest.approx(means.std(ddof=1))}


def test_another_study_tells_the_spread_where_baseline_and_text_are_its(ran, stored, tmp_path):
    for change, is_told in (
        (("hidden_size: 16", "hidden_size: 12"), True),
        (("cell: lstm", "cell: gru"), False),
        (("bptt_length: 8", "bptt_length: 8\n  token: word"), False),
    ):
        loaded = study.load(other(ran[0], tmp_path, change), OVERRIDES)
        assert (history.spread(loaded, replace(stored, is_same=False)) is not None) == is_told


def test_updates_that_a_budget_of_seconds_bought_stay(ran):
    path, folder = ran
    loaded = study.load(path, OVERRIDES)
    stored = history.History(loaded, Locations(folder))
    next(iter(stored)).pinned["wide"]["updates"] = 77
    settings, _ = resolve(loaded)
    settings = {arm: replace(each, budget=Budget(seconds=2.0)) for arm, each in settings.items()}
    pinned = history.with_pinned_budgets(settings, stored)
    assert pinned["wide"].budget == Budget(updates=77)
    assert pinned["narrow"].budget == Budget(seconds=2.0)


def test_a_short_training_trains_and_evaluates_once(loaded, monkeypatch):
    settings, _ = resolve(loaded)
    probe = probe_arm(loaded, "wide", settings["wide"])
    read, trained = [], []
    evaluate, train_updates = Shard.evaluate, Pack.train_updates
    monkeypatch.setattr(
        Shard, "evaluate", lambda self, split: read.append(split) or evaluate(self, split)
    )
    monkeypatch.setattr(
        Pack, "train_updates", lambda self, n: trained.append(n) or train_updates(self, n)
    )
    pace = short_training(loaded, probe)
    assert read == ["validation"] * 4 and trained[1] == 1 and 1 <= trained[2] <= PROBE_UPDATES
    assert (
        pace.update_seconds > 0
        and pace.evaluation_seconds > 0
        and pace.source.startswith("by a short training")
    )


def test_a_short_training_is_for_arms_without_earlier_runs(ran, tmp_path):
    path, folder = ran
    text = output_of(
        other(path, tmp_path, ("hidden_size: 16", "hidden_size: 12")), folder, trains=True
    )
    assert "from earlier runs of small: narrow" in text and re.search(
        "by a short training.*: wide", text
    )


@pytest.mark.parametrize(
    ("pace", "pack", "seconds"),
    [
        (Pace(8, 2, 1.0, 2.0, ""), 8, 14.0),  # 10 updates, 2 evaluations
        (Pace(8, 2, 1.0, 2.0, ""), 2, 3.5),  # one turn instead of four
        (Pace(8, 2, 1.0, 2.0, ""), 3, 7.0),
        (Pace(1, 2, 1.0, 2.0, ""), 5, 42.0),
        (Pace(8, None, 1.0, 2.0, ""), 2, 14.0),
        (Pace(8, None, 1.0, None, ""), 12, 15.0),
    ],
)
def test_a_packs_seconds(pace, pack, seconds):
    assert pace.seconds(pack, num_updates=10, num_evaluations=2) == pytest.approx(seconds)


def test_runs_are_cut_into_packs_as_they_train(loaded):
    settings = loaded.arms[0].settings
    assert cost.packs_of(loaded, settings) == cost.Packs((2, 2), (), (4, 2), (), ())
    repeated = replace(loaded, tune=replace(loaded.tune, repeats=5, trials=3))
    assert cost.packs_of(repeated, settings) == cost.Packs(
        (4, 4, 2, 4, 1), (), (4,) * 7 + (2,), (), ()
    )
    sequential = replace(loaded, tune=None, replicate=study.Replicate(6, until=0.01, at_most=15))
    assert cost.packs_of(sequential, settings) == cost.Packs((), (), (4, 2), (4, 4, 1), ())


def test_an_arms_seconds_are_those_of_its_packs(loaded):
    settings, _ = resolve(loaded)
    probe = probe_arm(loaded, "wide", settings["wide"])
    probe = replace(
        probe, pace=Pace(4, 2, 0.1, 1.0, ""), packs=cost.Packs((2, 2), (), (4, 2), (4,), ())
    )
    trials, replicates = (
        40 * 0.1 + 4 * 1.0,
        40 * 0.1 + 5 * 1.0,
    )  # a replicate reads the test split besides
    assert probe.seconds == pytest.approx(0.5 * trials * 2 + replicates * 1.5)
    assert probe.more_seconds == pytest.approx(replicates) and probe.num_runs == 10


def test_disk_is_what_a_study_took(ran):
    path, folder = ran
    loaded = study.load(path, OVERRIDES)
    settings, _ = resolve(loaded)
    probes = [probe_arm(loaded, arm, each) for arm, each in settings.items()]
    room = disk(loaded, probes)
    databases = sum((folder / name).stat().st_size for name in ("mlflow.db", "optuna.db"))
    assert room.databases == pytest.approx(databases, rel=0.25)
    models = [p.stat().st_size for p in folder.rglob("model.npz")]
    assert len(models) == 12 and room.models == pytest.approx(sum(models), rel=0.25)


def test_a_checkpoint_is_as_large_as_is_said(loaded, tmp_path):
    settings, _ = resolve(loaded)
    probe = probe_arm(loaded, "wide", replace(settings["wide"], hidden_size=64))
    plan = replace(
        pack_of(loaded, "wide", probe.settings, 1),
        checkpoint_folder=str(tmp_path / "checkpoints"),
    )
    pack = Pack(plan)
    pack.save()
    pack.close()
    (file,) = (tmp_path / "checkpoints").iterdir()
    assert checkpoint_bytes(probe) == pytest.approx(file.stat().st_size, rel=0.1)


def test_every_condition_is_a_family_of_its_own(tmp_path):
    path = small_study.write(tmp_path)
    across = "across:\n  short: {bptt_length: 8}\n  long: {bptt_length: 12}\n"
    path.write_text(
        path.read_text().replace("tune:", across + "tune:").replace("  bptt_length: 8\n", "")
    )
    loaded = study.load(path, OVERRIDES)
    assert design_problem(loaded) is None  # 6 seeds suffice for one comparison, not for three
    text = output_of(path, tmp_path)
    assert "design short, long compares 1 arm with narrow" in words(text)
    assert "runs 40" in words(text)


def test_an_arm_that_cannot_be_generated_runs_on_an_engine_of_its_own(tmp_path):
    path = small_study.write(tmp_path)
    (tmp_path / "grouped.py").write_text(
        "import torch\nfrom cells import Cell\n\nclass Grouped(Cell):\n"
        '    """h\' = lgamma(W x + R h)\n\n    Source: none\n    Reference: none\n'
        '    Differs from rnn-tanh: in lgamma\n    """\n    name, gates = "grouped", ("h",)\n'
        "    def step(self, p, x, h):\n        return (torch.lgamma(x.h + p.R(h).h),)\n"
    )
    text = path.read_text().replace("wide: {hidden_size: 16}", "wide: {cell: grouped}")
    path.write_text(text.replace("fix:", "cells: [grouped.py]\nfix:\n  hidden_size: 3"))
    settings, notes = resolve(study.load(path, OVERRIDES))
    assert {key: own.engine for key, own in settings.items()} == {
        "narrow": "cpu",
        "wide": "reference",
    }
    assert notes == [
        "engine cpu: not used, grouped: operation lgamma; its arms run on reference and the "
        "others on cpu, and runtimes compare within an engine alone"
    ]


def test_solved_sizes_are_starred(tmp_path):
    path = small_study.write(tmp_path)
    text = path.read_text().replace("wide: {hidden_size: 16}", "wide: {num_parameters: 2870}")
    path.write_text(text.replace("budget: {updates: 40}", "budget: {seconds: 0.1}"))
    text = words(output_of(path, tmp_path))
    assert "* solved: updates for 0.1 s of a run alone; H for num_parameters = 2,870" in text
    assert "narrow 3 400" in text and "wide 16* 2,870" in text


def test_the_way_is_shown_where_it_is_long(tmp_path, monkeypatch):
    path = small_study.write(tmp_path)
    for seconds, is_shown in ((math.inf, False), (-1.0, True)):
        monkeypatch.setattr(check, "QUIET_SECONDS", seconds)
        assert ("trying wide, 2 of 2" in output_of(path, tmp_path)) == is_shown
    assert "trying wide" in output_of(path, tmp_path, terminal=True)
