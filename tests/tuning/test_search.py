import math
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from harness.store.patience import once
from harness.study import Choices, Range, Tune
from harness.training.messages import RunState
from harness.tuning import edges
from harness.tuning import search as tuning
from harness.tuning import storage as storages
from harness.tuning.importances import importances as importances_of

SPACE = {"learning_rate": Range(0.01, 1.0, log=True), "clip_norm": Choices((0.25, 1.0, 4.0))}


def make_tune(**changes):
    values = {
        "space": SPACE,
        "trials": 6,
        "batch": 4,
        "sampler": "tpe",
        "pruner": "median",
        "search_seed": 0,
    }
    return Tune(**{**values, **changes})


@pytest.fixture
def storage(tmp_path):
    with storages.opened(f"sqlite:///{tmp_path / 'optuna.db'}") as opened:
        yield opened


def loss(values):
    return (math.log(values["learning_rate"]) + 2.0) ** 2 + values["clip_norm"]


def run_to_end(own):
    asked = []
    while trials := own.ask():
        asked += trials
        for trial in trials:
            own.tell(trial.number, RunState("finished"), loss(trial.values))
    return asked


def test_rounds_fill_up_to_the_budget_and_no_further(storage):
    own = tuning.ArmSearch(storage, "s/lstm", "lstm", make_tune(), 20)
    first = own.ask()
    assert [t.number for t in first] == [0, 1, 2, 3]
    assert own.ask() == first  # asked again before it is told: the same round
    for trial in first:
        own.tell(trial.number, RunState("finished"), loss(trial.values))
    assert [t.number for t in own.ask()] == [4, 5]
    assert not own.done
    for trial in own.running():
        own.tell(trial.number, RunState("finished"), loss(trial.values))
    assert own.done and own.ask() == []


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_crash_anywhere_leaves_the_sequence_as_it_was(tmp_path, sampler):
    space = {
        "clip_norm": Choices((0.1, 0.2, 0.5, 1.0)),
        "learning_rate": Choices((0.1, 0.2, 0.3, 0.4)),
    }
    tune = make_tune(sampler=sampler, trials=14, space=space if sampler == "grid" else SPACE)
    with storages.opened(f"sqlite:///{tmp_path / 'a.db'}") as store:
        whole = tuning.ArmSearch(store, "s", "lstm", tune, 20)
        expected = [t.values for t in run_to_end(whole)]
    url = f"sqlite:///{tmp_path / 'b.db'}"
    seen = {}
    for kill_at in range(40):  # a new process each time: asks, tells one trial, dies
        with storages.opened(url) as store:
            own = tuning.ArmSearch(store, "s", "lstm", tune, 20)
            trials = own.ask()
            seen |= {t.number: t.values for t in trials}
            if not trials:
                break
            if kill_at % 2:  # half of them die before anything is told
                for trial in trials:
                    own.tell(trial.number, RunState("finished"), loss(trial.values))
    assert [seen[number] for number in sorted(seen)] == expected


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_what_a_lost_storage_did_not_confirm_is_stored_once(tmp_path, kind):
    def twice(function, *args, **kwargs):  # the first answer was lost
        function(*args, **kwargs)
        return function(*args, **kwargs)

    def trials(patience, name):
        with storages.opened(f"{kind}:///{tmp_path / name}") as store:
            own = tuning.ArmSearch(store, "s", "lstm", make_tune(), 20, patience=patience)
            run_to_end(own)
            return [(t.number, t.state, t.params, t.value) for t in own.trials()]

    assert trials(twice, "a.db") == trials(once, "b.db")


def test_a_trial_is_stored_whole_or_not_at_all(storage):
    own = tuning.ArmSearch(storage, "s", "lstm", make_tune(), 20)
    own.ask()
    for trial in optuna.load_study(study_name="s", storage=storage).trials:
        assert trial.state == TrialState.RUNNING and set(trial.params) == set(SPACE)


def test_equal_seeds_give_equal_searches_and_others_give_others(tmp_path):
    def values(name, arm, seed):
        with storages.opened(f"sqlite:///{tmp_path / name}.db") as store:
            own = tuning.ArmSearch(store, "s", arm, make_tune(search_seed=seed), 20)
            return [t.values for t in run_to_end(own)]

    assert values("a", "lstm", 0) == values("b", "lstm", 0)
    assert values("c", "lstm", 1) != values("d", "lstm", 0)
    assert values("e", "gru", 0) != values("f", "lstm", 0)


def test_ends_are_booked_as_what_they_are(storage):
    own = tuning.ArmSearch(storage, "s", "lstm", make_tune(), 20)
    own.ask()
    for number, (state, nats) in enumerate(
        [("finished", 2.0), ("diverged", 3.3), ("pruned", 2.5), ("failed", None)]
    ):
        own.tell(number, RunState(state), nats)
    states = [t.state for t in own.trials()]
    assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert own.best().number == 0


def test_three_failures_in_a_row_stop_the_arm(storage):
    own = tuning.ArmSearch(storage, "s", "lstm", make_tune(trials=20), 20)
    for trial in own.ask():
        own.tell(trial.number, RunState("failed"), None)
    assert own.stopped and own.done and own.ask() == [] and own.best() is None
    assert edges.warnings([own]) == [
        "lstm: no trial finished; the arm has no setting to replicate."
    ]


def test_a_poor_trial_is_pruned_where_it_stands(storage):
    own = tuning.ArmSearch(storage, "s/lstm", "lstm", make_tune(trials=8, batch=4), 4)
    for trial in own.ask():
        points = [1.0 + 0.1 * trial.number] * 4
        assert not any(own.should_prune(trial.number, points[:n]) for n in (1, 2, 3, 4))
        own.tell(trial.number, RunState("finished"), 1.0, points)
    poor, good = own.ask()[:2]
    assert own.should_prune(poor.number, [5.0]) and own.should_prune(poor.number, [5.0, 5.0])
    assert not any(own.should_prune(good.number, [0.5] * n) for n in (1, 2, 3, 4))


def test_a_trial_is_judged_without_the_storage(storage, monkeypatch):
    own = tuning.ArmSearch(storage, "s", "lstm", make_tune(), 4)
    trial = own.ask()[0]
    for name in [*vars(optuna.storages.RDBStorage)]:
        if name.startswith(("get_", "set_")):
            monkeypatch.delattr(optuna.storages.RDBStorage, name)
    for name in ("sample_relative", "sample_independent", "infer_relative_search_space"):
        monkeypatch.delattr(optuna.samplers.TPESampler, name)
    assert own.should_prune(trial.number, [2.5]) is False


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_points_are_stored_as_optuna_stores_them_once(tmp_path, kind):
    points = [0.1, 2.0 / 3.0, math.inf, -1e-300]
    store = storages.open_storage(f"{kind}:///{tmp_path / 'optuna.db'}")
    own = tuning.ArmSearch(store, "s", "lstm", make_tune(), 4)
    first, second, third = own.ask()[:3]
    earlier = store.get_trial_id_from_study_id_trial_number(0 if kind == "journal" else 1, 0)
    store.set_trial_intermediate_value(earlier, 2, points[1])  # of an earlier version
    storages.store_values(store, "s", second.number, {1: points[0]})  # and then it was killed
    storages.store_values(store, "s", first.number, {2: -7.0})  # what is there stays
    for trial in (first, second, third):
        own.tell(trial.number, RunState("pruned"), math.nan, points)
    for trial in own.trials()[:3]:
        assert trial.intermediate_values == dict(enumerate(points, start=1))
        assert trial.state == TrialState.PRUNED and trial.value == points[-1]
    storages.close(store)


def test_without_a_pruner_nothing_is_pruned_nor_stored(storage):
    own = tuning.ArmSearch(storage, "s", "lstm", make_tune(pruner="none"), 4)
    trial = own.ask()[0]
    assert not own.should_prune(trial.number, [math.inf])
    own.tell(trial.number, RunState("finished"), 1.0, [2.0, 1.0])
    assert own.trials()[0].intermediate_values == {}


@pytest.mark.parametrize(
    ("values", "best", "edge"),
    [
        (Range(0.01, 1.0, log=True), 0.011, "lower"),
        (Range(0.01, 1.0, log=True), 0.9, "upper"),
        (Range(0.01, 1.0, log=True), 0.1, None),
        (Range(0.0, 10.0), 0.4, "lower"),
        (Range(0.0, 10.0), 5.0, None),
        (Choices((1, 2, 3)), 3, "upper"),
        (Choices((1, 2, 3)), 2, None),
        (Choices((1, 2)), 2, None),  # of two numbers both are edges, which says nothing
        (Choices(("sgd", "adam", "adamw")), "sgd", None),
    ],
)
def test_edges(values, best, edge):
    assert edges.edge_of(values, best) == edge


def test_a_best_value_at_an_edge_is_a_warning(storage):
    tune = make_tune(space={"learning_rate": Choices((0.1, 0.2, 0.3))}, sampler="grid", trials=9)
    own = tuning.ArmSearch(storage, "s", "lstm", tune, 20)
    assert tune.num_trials == 3  # the whole grid
    for trial in own.ask():
        own.tell(trial.number, RunState("finished"), trial.values["learning_rate"])
    assert own.done
    assert "best learning_rate = 0.1 lies at the lower edge" in edges.warnings([own])[0]


def test_a_grid_of_a_range_steps_through_it(storage):
    tune = make_tune(space={"hidden_size": Range(8, 24, step=8)}, sampler="grid", trials=9)
    own = tuning.ArmSearch(storage, "s", "lstm", tune, 20)
    found = {t.values["hidden_size"] for t in own.ask()}
    assert found == {8, 16, 24} and all(isinstance(v, int) for v in found)


def test_a_storage_that_cannot_be_reached_is_an_error():
    with pytest.raises(
        storages.SearchError,
        match=r"storage: must be a database that Optuna reaches, but got storage=",
    ):
        storages.open_storage("sqlite:////dev/null/optuna.db")


def test_tables_of_another_version_are_told_with_what_mends_them(tmp_path):
    path = tmp_path / "old.db"
    storages.close(storages.open_storage(f"sqlite:///{path}"))
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE alembic_version SET version_num = 'v3.0.0.c'")
    remedy = f"run: optuna storage upgrade --storage sqlite:///{path}. Where a newer"
    with pytest.raises(storages.SearchError, match=f"are of another version.*{remedy}"):
        storages.open_storage(f"sqlite:///{path}")


def importance_runs(num_trials, loss, **changes):
    """An arm's trials at random values, with ``loss`` of the logarithms of learning_rate and
    clip_norm.
    """
    rng = np.random.default_rng(0)
    rows = []
    for i in range(num_trials):
        rate, clip_norm = 10 ** rng.uniform(-2, 0), [0.25, 1.0, 4.0][rng.integers(3)]
        row = {
            "arm": "lstm",
            "phase": "trial",
            "index": i,
            "state": "finished",
            "objective": loss(rate, clip_norm),
        }
        rows.append({**row, "params": {"learning_rate": rate, "clip_norm": clip_norm}, **changes})
    return pd.DataFrame(rows)


def importances(runs, **changes):
    arms = [SimpleNamespace(name="lstm"), SimpleNamespace(name="gru")]
    return importances_of(SimpleNamespace(arms=arms, tune=make_tune(**changes)), runs)


def test_the_field_that_decides_is_the_important_one():
    by_rate = importances(
        importance_runs(24, lambda rate, clip_norm: (math.log10(rate) + 1.2) ** 2)
    )
    by_clip = importances(importance_runs(24, lambda rate, clip_norm: clip_norm + 0.001 * rate))
    assert by_rate["gru"] == by_clip["gru"] == {}
    assert list(by_rate["lstm"]) == list(SPACE) and math.isclose(sum(by_rate["lstm"].values()), 1.0)
    assert by_rate["lstm"]["learning_rate"] > 0.8 and by_clip["lstm"]["clip_norm"] > 0.6


def test_importances_are_of_ended_trials_and_of_two_fields_or_more():
    runs = importance_runs(12, lambda rate, clip_norm: rate)
    found = importances(runs)
    assert found == importances(
        runs.sample(frac=1.0, random_state=1)
    )  # the same trials, whatever their order
    other = importance_runs(12, lambda rate, clip_norm: -clip_norm, state="pruned")
    noise = other.assign(phase="replicate", state="finished")
    assert found == importances(pd.concat([runs, other, noise]))
    assert importances(runs[:7])["lstm"] == {} and importances(runs[:8])["lstm"] != {}
    assert importances(runs, space={"learning_rate": SPACE["learning_rate"]})["lstm"] == {}
    diverged = runs.assign(
        state=["diverged" if rate > 0.9 else "finished" for rate in runs["objective"]]
    )
    assert found == importances(diverged)


def test_importances_take_a_choice_of_none_and_a_whole_number_that_an_export_wrote_as_a_float():
    space = {"clip_norm": Choices((None, 1.0)), "hidden_size": Range(8, 64)}
    runs = importance_runs(10, lambda rate, clip_norm: rate)
    runs["params"] = [
        {"hidden_size": float(8 + i)} | ({"clip_norm": 1.0} if i % 2 else {}) for i in range(10)
    ]
    runs["objective"] = [float(i % 2) + 0.01 * i for i in range(10)]
    found = importances(runs, space=space)["lstm"]
    assert found["clip_norm"] > found["hidden_size"]


def test_nothing_tuned_has_no_importances():
    study = SimpleNamespace(arms=[SimpleNamespace(name="lstm")], tune=None)
    assert importances_of(study, importance_runs(12, lambda rate, clip_norm: rate)) == {"lstm": {}}


def test_edges_of_repeats_are_counted(storage):
    tune = make_tune(space={"learning_rate": Choices((0.1, 0.2, 0.3))}, trials=1)
    searches = [tuning.ArmSearch(storage, f"s/{repeat}", "lstm", tune, 4) for repeat in range(3)]
    for own, rate in zip(searches, (0.1, 0.1, 0.2), strict=True):
        own.best = lambda rate=rate: tuning.Trial(0, {"learning_rate": rate})
    (line,) = edges.warnings(searches)
    assert line.startswith(
        "lstm: its best learning_rate lies at the lower edge of the range searched in 2 of 3 rep"
    )
