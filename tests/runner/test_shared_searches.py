"""Searches of version 2: shared points, several seeds a trial, finalists, more while open."""

import io

import pandas as pd
import pytest
import small_study
from rich.console import Console

from harness import study
from harness.report.tried import tried
from harness.runner import exchange, launch
from harness.runner.scheduler import Scheduler
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.study.units import Phase, RunKey, Unit
from harness.training import worker
from harness.tuning import storage as storages

pytestmark = pytest.mark.usefixtures("without_report_files")

SEARCH = """
  batch: 2
  seeds: 2
  finalists: 2
  finalist_seeds: 3
  at_most: 8
"""


RATES = "{low: 0.001, high: 1000.0, log: true}"


def write(folder, **options):
    """Writes a study whose range ends far below the best rate, so that its search stays open."""
    path = small_study.write(folder, **{"seeds": 2, **options})
    text = path.read_text().replace("version: 1", "version: 2").replace("\n  batch: 2\n", SEARCH)
    rate = "{low: 0.0005, high: 0.001, log: true, widen: [0.0001, 0.3]}"
    path.write_text(text.replace("{low: 0.005, high: 0.1, log: true}", rate))
    return path


def run(path, folder):
    console = Console(file=io.StringIO(), width=100)
    report = launch.run(path, locations=Locations(folder), console=console, force=True)
    return report, console.file.getvalue()


def scheduler_of(path, folder):
    display = launch.Display(Console(quiet=True))
    return Scheduler(study.load(path), Locations(folder), display)


def search(path, folder, scheduler=None):
    """Runs the trials of a study and nothing else, and returns its scheduler."""
    scheduler = scheduler or scheduler_of(path, folder)
    while plans := scheduler.next_plans():
        if RunKey.parse(plans[0].runs[0].id).phase is not Phase.TRIAL:
            break
        scheduler.train(plans)
    return scheduler


def runs_of(folder):
    return StudyReader(Locations(folder).tracking_uri, "small").runs()


def numbers(folder):
    columns = ["arm", "phase", "index", "draw", "seed", "state", "objective", "test/loss"]
    rates = runs_of(folder)["params"].map(lambda params: params["learning_rate"])
    return runs_of(folder)[columns].assign(rate=rates)


def trials_of(folder):
    """Returns what Optuna's storage holds of every arm, points included."""
    with storages.opened(Locations(folder).storage_url) as storage:
        return {
            search.study_name.split("/")[1]: [
                (t.number, t.state, t.params, t.value, t.intermediate_values)
                for t in storage.get_all_trials(search._study_id)
            ]
            for search in storage.get_all_studies()
        }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    path = write(folder)
    return path, folder, *run(path, folder)


def test_all_arms_try_the_same_points_with_the_same_seeds(finished):
    _, folder, _, _ = finished
    trials = numbers(folder).query("phase == 'trial'").set_index(["arm", "index", "draw"])
    for column in ("rate", "seed"):
        narrow, wide = (trials.loc[arm, column] for arm in ("narrow", "wide"))
        pd.testing.assert_series_equal(narrow, wide)
    seeds = trials.loc["wide", "seed"]
    assert seeds[0, 0] == "0/trial/0" and seeds[0, 1] == "0/trial/0/1"
    assert (trials.groupby(level=["arm", "index"]).size() == 2).all()


def test_an_open_search_goes_on_beyond_its_range(finished):
    _, folder, _, _ = finished
    rates = numbers(folder).query("phase == 'trial' and arm == 'wide'").groupby("index")["rate"]
    assert len(rates) == 8 and rates.first()[:4].between(0.0005, 0.001).all()
    more = rates.first()[4:]
    assert not more.between(0.0005, 0.001).any() and more.between(0.0001, 0.3).all()
    assert more.gt(0.001).any()


def test_the_best_by_all_seeds_is_replicated(finished):
    _, folder, _, _ = finished
    runs = numbers(folder)
    for arm in ("narrow", "wide"):
        own = runs[runs["arm"] == arm]
        trials = own[own["phase"] == "trial"].groupby("index")["objective"].mean()
        best = trials.nsmallest(2).index
        finalists = own[own["phase"] == "finalist"]
        assert set(finalists["index"]) == set(best) and len(finalists) == 6
        assert set(finalists["seed"]) == {"0/finalist/0", "0/finalist/1", "0/finalist/2"}
        of_both = own[own["index"].isin(best) & own["phase"].isin(["trial", "finalist"])]
        chosen = of_both.groupby("index")["objective"].mean().idxmin()
        rate = own[(own["phase"] == "trial") & (own["index"] == chosen)]["rate"].iloc[0]
        assert (own[own["phase"] == "replicate"]["rate"] == rate).all()


def test_a_finished_study_trains_nothing_more(finished):
    path, folder, report, _ = finished
    before = numbers(folder)
    again, _ = run(path, folder)
    assert again.answer == report.answer and not again.missing
    pd.testing.assert_frame_equal(numbers(folder), before)


def test_interrupted_between_any_two_messages_it_ends_the_same(finished, tmp_path, monkeypatch):
    _, folder, _, _ = finished
    path = write(tmp_path)
    record, countdown = Scheduler.record, 3

    def interrupted(self, messages):
        nonlocal countdown
        countdown -= 1
        if not countdown:
            raise KeyboardInterrupt
        return record(self, messages)

    monkeypatch.setattr(Scheduler, "record", interrupted)
    for moment in (2, 9, 20):
        countdown = moment
        with pytest.raises(KeyboardInterrupt):
            run(path, tmp_path)
    monkeypatch.setattr(Scheduler, "record", record)
    run(path, tmp_path)
    pd.testing.assert_frame_equal(numbers(tmp_path), numbers(folder))
    assert trials_of(tmp_path) == trials_of(folder)


def test_plans_and_records_end_the_same(finished, tmp_path):
    _, folder, _, _ = finished
    path = write(tmp_path)
    locations, plan, records = Locations(tmp_path), tmp_path / "plan", tmp_path / "records"
    while "nothing is missing" not in exchange.write_plan(
        path, plan, locations=locations, force=True
    ):
        records.write_text("\n".join(worker.work(plan.read_text())))
        exchange.ingest_records(path, records, locations=locations)
    pd.testing.assert_frame_equal(numbers(tmp_path), numbers(folder))


def test_salted_arms_share_points_and_nothing_else(tmp_path):
    path = write(tmp_path)
    text = path.read_text().replace("wide: {hidden_size: 16}", "again: {hidden_size: 3}")
    text = text.replace("low: 0.0005, high: 0.001", "low: 0.01, high: 0.1")
    path.write_text(text.replace("baseline: narrow", "baseline: narrow\n  identical_arms: salted"))
    search(path, tmp_path)
    trials = numbers(tmp_path).query("phase == 'trial' and index < 4").set_index(["index", "draw"])
    one, other = (trials[trials["arm"] == arm] for arm in ("narrow", "again"))
    assert (one["rate"] == other["rate"]).all() and (one["seed"] == other["seed"]).all()
    assert (one["objective"] != other["objective"]).all()


def test_a_trial_of_several_seeds_is_pruned_by_their_mean(tmp_path):
    path = write(tmp_path, trials=8, updates=80)
    text = path.read_text().replace("at_most: 8", "sampler: random")
    path.write_text(text.replace("{low: 0.0005, high: 0.001", "{low: 0.0001, high: 0.05"))
    scheduler = scheduler_of(path, tmp_path)
    wide = scheduler.searches.by_unit[Unit("wide")]
    seen, should_prune = [], wide.should_prune
    wide.should_prune = lambda number, nats: (
        seen.append((number, len(nats), nats[-1])) or should_prune(number, nats)
    )
    search(path, tmp_path, scheduler)
    curves = StudyReader(Locations(tmp_path).tracking_uri, "small").curves()
    curves = curves[curves["arm"] == "wide"].assign(step=lambda rows: rows["update"] // 20)
    means = curves.groupby(["index", "step"])["validation/loss"].mean()
    assert len(seen) == len(means) > 5 * 4  # every point of every trial, once
    for number, step, nats in seen:
        assert nats == pytest.approx(means[number, step], rel=1e-12)


def test_scheduler_and_report_know_the_same_of_every_trial(tmp_path):
    """Some rates diverge, some learn nothing, some trials are pruned: one rule for all of them."""
    path = write(tmp_path, trials=8, updates=120)
    text = path.read_text().replace("at_most: 8", "at_most: 8\n  sampler: random")
    text = text.replace("{low: 0.0005, high: 0.001, log: true, widen: [0.0001, 0.3]}", RATES)
    path.write_text(text.replace("cell: lstm", "cell: rnn-relu\n  clip_norm: none"))
    report, _ = run(path, tmp_path)
    assert not [line for line in report.missing if "trials" in line or "finalists" in line]
    loaded, scheduler = study.load(path), scheduler_of(path, tmp_path)
    reader = StudyReader(Locations(tmp_path).tracking_uri, "small")
    ends = set()
    for arm in loaded.arms:
        ours = scheduler.searches.tried(Unit(arm.name))
        theirs = tried(loaded, reader.runs(), reader.curves(), arm.name)
        assert [(t.number, t.values, t.end, t.num_lost) for t in ours] == [
            (t.number, t.values, t.end, t.num_lost) for t in theirs
        ]
        assert [t.nats for t in ours] == pytest.approx([t.nats for t in theirs])
        assert [t.lead for t in ours] == pytest.approx([t.lead for t in theirs])
        ends |= {t.end for t in ours}
    assert {"finished", "diverged"} <= ends


def test_a_range_in_steps_is_searched_to_its_end(tmp_path):
    path = write(tmp_path)
    text = path.read_text().replace("at_most: 8", "sampler: grid").replace("trials: 4", "trials: 7")
    rate = "learning_rate: {low: 0.0005, high: 0.001, log: true, widen: [0.0001, 0.3]}"
    text = text.replace(rate, "dropout: {low: 0.1, high: 0.7, step: 0.1}")
    path.write_text(text.replace("cell: lstm", "cell: lstm\n  num_layers: 2"))
    search(path, tmp_path)
    trials = runs_of(tmp_path).query("phase == 'trial' and arm == 'wide' and draw == 0")
    values = sorted(params["dropout"] for params in trials["params"])
    assert values == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_an_arm_that_comes_later_goes_the_way_of_the_others(tmp_path):
    path = write(tmp_path)
    search(path, tmp_path)
    text = path.read_text().replace("trials: 4", "trials: 8")
    path.write_text(text.replace("wide: {", "middle: {hidden_size: 8}\n    wide: {"))
    search(path, tmp_path)
    trials = numbers(tmp_path).query("phase == 'trial' and index < 8").set_index(["index", "draw"])
    middle, wide = (trials.loc[trials["arm"] == arm, "rate"] for arm in ("middle", "wide"))
    pd.testing.assert_series_equal(middle, wide)
