"""A search whose driver is killed between any two points prunes and stores as if it were not."""

import math
import random
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import small_study

from harness import study
from harness.runner.recorder import End, Point
from harness.runner.restoring import restore
from harness.runner.searches import Searches
from harness.study.units import Phase, RunKey, Unit
from harness.training.messages import RunState
from harness.tuning import storage as storages

NUM_POINTS = 4
UNIT = Unit("wide")


class Killed(Exception):
    pass


class Driver:
    """Trains nothing: it says what runs would, and is killed after so many points."""

    def __init__(self, loaded, folder, points_to_live=math.inf):
        self.loaded, self.url = loaded, f"sqlite:///{folder}/optuna.db"
        self.points_to_live = points_to_live
        self.ends, self.curves, self.pruned = {}, {}, []  # the first two are what MLflow holds

    def search(self):
        """Searches to the end, in as many processes as it takes."""
        while True:
            settings = {UNIT: SimpleNamespace(evaluations=NUM_POINTS)}
            self.searches = Searches(self.loaded, settings, self.url, "0", self.ends)
            restore(self.searches, pd.DataFrame, self._curves, self.ends, "validation")
            self.left = self.points_to_live
            try:
                while self._round():
                    pass
                return self
            except Killed:
                continue
            finally:
                self.searches.close()

    def _round(self):
        self.searches.tell_finished()
        self.searches.ask()
        runs = [key for key, _, _ in self.searches.trials(UNIT)]
        for pair in sorted({key.index // 2 for key in runs}):
            self._train([key for key in runs if key.index // 2 == pair])
        return runs

    def _train(self, keys):
        curves = {key: [] for key in keys}
        for point in range(1, NUM_POINTS + 1):
            running = [key for key in keys if key not in self.ends]
            if not running:
                return
            self._live()
            for key in running:
                curves[key].append(nats_of(key, point))
            said = [Point(key, point, curves[key][-1]) for key in running]
            pruned = self.searches.to_prune(said, [])
            self.pruned += [(name, point) for name in sorted(pruned)]
            for key in running:
                is_lost = is_diverging(key, point)
                if str(key) in pruned or is_lost or point == NUM_POINTS:
                    state = RunState.PRUNED if str(key) in pruned else RunState.FINISHED
                    self._end(key, curves[key], RunState.DIVERGED if is_lost else state)

    def _end(self, key, curve, state):
        self._live()
        self.curves[key] = curve
        self.ends[key] = End(state, curve[-1], is_lost=state is RunState.DIVERGED)
        self.searches.to_prune([], [key])

    def _live(self):
        self.left -= 1
        if self.left < 0:
            raise Killed

    def _curves(self, only):
        assert only and only <= self.curves.keys()
        rows = [
            {**dict(zip(KEY, (*key.unit, str(key.phase), key.index, key.draw), strict=True)),
             "update": point, "validation/loss": nats}
            for key in only
            for point, nats in enumerate(self.curves[key], start=1)
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def stored(self):
        with storages.opened(self.url) as storage:
            (search,) = storage.get_all_studies()
            return [
                (t.number, t.state, t.params, t.value, t.intermediate_values)
                for t in storage.get_all_trials(search._study_id)
            ]


KEY = ("arm", "condition", "repeat", "phase", "index", "draw")


def nats_of(key: RunKey, point):
    return random.Random(f"{key} {point}").uniform(1, 2) / point


def is_diverging(key: RunKey, point):
    """Says of some runs that they are lost before their last point."""
    return random.Random(f"{key}").random() < 0.15 and point == 2


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    path = small_study.write(tmp_path_factory.mktemp("study"), trials=24, seeds=2)
    text = path.read_text().replace("version: 1", "version: 2")
    path.write_text(text.replace("  batch: 2\n", "  batch: 4\n  seeds: 2\n  sampler: random\n"))
    return study.load(path)


def test_killed_again_and_again_it_prunes_and_stores_the_same(loaded, tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = Driver(loaded, tmp_path / "whole").search()
    killed = Driver(loaded, tmp_path / "killed", points_to_live=17).search()
    assert killed.ends == whole.ends
    assert {end.state for end in whole.ends.values()} == {
        RunState.FINISHED,
        RunState.PRUNED,
        RunState.DIVERGED,
    }
    assert set(killed.pruned) == set(whole.pruned)
    assert killed.stored() == whole.stored()
    assert any(t[4] for t in whole.stored())


def test_points_are_kept_until_their_trial_is_told_and_no_longer(loaded, tmp_path):
    searches = Driver(loaded, tmp_path).search().searches
    for phase in (Phase.FINALIST, Phase.REPLICATE):
        key = RunKey(UNIT, phase, 0)
        assert searches.to_prune([Point(key, 1, 1.0)], [key]) == set()
    assert not searches._nats and not searches._means


def test_the_seeds_of_a_trial_wait_for_one_another_where_they_are_judged(loaded, tmp_path):
    url, settings = f"sqlite:///{tmp_path}/o.db", {UNIT: SimpleNamespace(evaluations=NUM_POINTS)}
    first, second, other = (RunKey(UNIT, Phase.TRIAL, *place) for place in ((3, 0), (3, 1), (4, 0)))
    with closing(Searches(loaded, settings, url, "0", {})) as searches:
        assert searches.judged_with(first) == searches.judged_with(second) is not None
        assert searches.judged_with(first) != searches.judged_with(other)
        search = searches.by_unit[UNIT]
        for changes in ({"pruner": "none"}, {"seeds": 1}):
            search.tune = replace(loaded.tune, **changes)
            assert searches.judged_with(second) is None
