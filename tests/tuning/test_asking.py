"""What asking for a trial costs does not grow with the trials before it."""

import optuna
import pytest

from harness.study import Range, Tune
from harness.training.messages import RunState
from harness.tuning import sampling
from harness.tuning import search as tuning
from harness.tuning import storage as storages
from harness.tuning.extension import searched_space


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


def test_a_search_that_another_process_has_continued_is_read_when_it_is_opened(storage):
    tune = make_tune()
    first = tuning.ArmSearch(storage, "s/lstm", "lstm", tune, 4)
    first.ask()
    first.tell(0, RunState.FINISHED, 1.0)
    again = tuning.ArmSearch(storage, "s/lstm", "lstm", tune, 4)
    assert len(again.trials()) == 6 and again.num_told == 1
