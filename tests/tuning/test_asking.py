"""What asking for a trial costs does not grow with the trials before it."""

import optuna
import pytest

from harness.study import Range, Tune
from harness.training.messages import RunState
from harness.tuning import sampling
from harness.tuning import search as tuning
from harness.tuning import storage as storages
from harness.tuning.aside import Aside
from harness.tuning.extension import searched_space
from harness.tuning.sampling import SharedDesign


@pytest.fixture
def storage(tmp_path):
    storage = storages.open_storage(f"sqlite:///{tmp_path / 'optuna.db'}")
    yield storage
    storages.close(storage)


def make_tune(**changes):
    space = {"learning_rate": Range(low=0.001, high=0.1, log=True)}
    values = {"space": space, "trials": 24, "batch": 6, "sampler": "random"}
    values |= {"pruner": "none", "search_seed": 0}
    return Tune(**{**values, **changes})


def counted(monkeypatch, name):
    calls = []
    method = getattr(optuna.Study, name)

    def call(*args, **kwargs):
        calls.append(args)
        return method(*args, **kwargs)

    monkeypatch.setattr(optuna.Study, name, call)
    return calls


def run_to_end(search):
    while trials := search.ask():
        for trial in trials:
            search.tell(trial.number, RunState.FINISHED, float(trial.number))
    return [trial.params for trial in search.trials()]


def test_no_trials_are_copied_for_a_random_one_and_all_are_read_twice_a_round(storage, monkeypatch):
    search = tuning.ArmSearch(storage, "s/lstm", "lstm", make_tune(), 4)
    copied, read = counted(monkeypatch, "add_trials"), counted(monkeypatch, "get_trials")
    assert len(run_to_end(search)) == 24
    num_read = sum(args[0] is search._study for args in read)
    assert copied == [] and 0 < num_read <= 2 * 4 + 1


def test_random_values_are_those_that_a_copy_of_all_trials_gave(storage):
    tune = make_tune()
    search = tuning.ArmSearch(storage, "s/lstm", "lstm", tune, 4)
    found = run_to_end(search)
    space = searched_space(tune.space, found)
    distributions = {name: sampling.distribution(name, domain) for name, domain in space.items()}
    for number in (0, 11, 23):
        asked = sampling.sampler(search.tune, search.design, search.arm, number)
        aside = optuna.create_study(sampler=asked)
        aside.add_trials(search.trials()[:number])
        assert aside.ask(distributions).params == found[number]


ENDS = {0: RunState.PRUNED, 1: RunState.FAILED, 2: RunState.DIVERGED}


def contents(aside):
    """What a sampler may look at."""
    return [
        (t.number, t.state, t.params, t.distributions, t.values, t.intermediate_values)
        for t in aside._study.trials
    ]


def test_the_copy_of_earlier_trials_stays_and_is_what_a_new_one_would_be(storage, monkeypatch):
    """Trials end in every way, and what other arms have tried widens the space in between."""
    space = {"learning_rate": Range(low=0.001, high=0.1, log=True, widen=(1e-6, 10.0))}
    tune = make_tune(sampler="tpe", pruner="median", space=space)
    points = [{"learning_rate": value} for value in (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07)]
    search = tuning.ArmSearch(storage, "s", "lstm", tune, 4, SharedDesign(points, (0, "")))
    followed, added = [], counted(monkeypatch, "add_trial")
    while trials := search.ask():
        again = Aside()
        again.follow(search.trials(), search._aside._distributions)
        assert contents(search._aside) == contents(again)
        followed.append(search._aside._study)
        for trial in trials:
            state = ENDS.get(trial.number % 7, RunState.FINISHED)
            search.tell(trial.number, state, trial.number / 8, [3.0, 2.5, trial.number / 4])
        if search.num_told == 12:
            search.design = SharedDesign([*points, *[{"learning_rate": 1.0}] * 6], (0, ""))
    assert [followed.index(each) for each in followed] == [0, 0, 2, 2]  # a new one: the space grew
    num_added = sum(args[0] is followed[2] for args in added)
    assert num_added == 12 + 1  # those of the new one, and the point that is shared


def test_a_search_that_another_process_has_continued_is_read_when_it_is_opened(storage):
    tune = make_tune()
    first = tuning.ArmSearch(storage, "s/lstm", "lstm", tune, 4)
    first.ask()
    first.tell(0, RunState.FINISHED, 1.0)
    again = tuning.ArmSearch(storage, "s/lstm", "lstm", tune, 4)
    assert len(again.trials()) == 6 and again.num_told == 1
