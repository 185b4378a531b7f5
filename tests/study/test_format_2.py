"""What version 2 of the format adds, and what it leaves as it was."""

import dataclasses

import pytest

from harness import study

CROSS = """
study: dropout-by-depth
version: 2
question: Does dropout help more in deeper networks?
compare:
  cross:
    dropout: [0.0, 0.5]
    num_layers: [1, 2, 3]
    exclude: [{dropout: 0.5, num_layers: 1}]
  baseline: {dropout: 0.0, num_layers: 1}
tune:
  learning_rate: {low: 0.003, high: 0.1, log: true, widen: [0.0003, 1], edge: accept}
  forget_bias: {choices: [0, 1, 2], edge: accept}
  trials: 4
  seeds: 3
  finalists: 2
  at_most: 8
fix: {cell: lstm, corpus: time-machine, hidden_size: 16}
"""
ARMS = """
study: salted
version: 2
question: Does the bench tell equal arms apart?
compare:
  arms: {a: {}, b: {cell: rnn-tanh}, c: {}}
  baseline: a
  identical_arms: salted
tune: {learning_rate: {low: 0.003, high: 0.1}, forget_bias: {low: 0, high: 2}, trials: 4}
fix: {cell: lstm, corpus: time-machine, hidden_size: 16}
"""

PLAIN = ARMS.replace("identical_arms: salted", "identical_arms: true")


def test_excluded_combinations_are_no_arms():
    loaded = study.loads(CROSS)
    assert [arm.name for arm in loaded.arms] == [
        "dropout=0.0,num_layers=1",
        "dropout=0.0,num_layers=2",
        "dropout=0.0,num_layers=3",
        "dropout=0.5,num_layers=2",
        "dropout=0.5,num_layers=3",
    ]
    assert loaded.crossed == ("dropout", "num_layers") and not loaded.is_salted


def test_the_search_is_read_whole_and_written_back():
    loaded = study.loads(CROSS)
    tune = loaded.tune
    rate = study.Range(0.003, 0.1, log=True, widen=(0.0003, 1), edge="accept")
    assert tune.space == {
        "forget_bias": study.Choices((0, 1, 2), "accept"),
        "learning_rate": rate,
    }
    assert (tune.seeds, tune.finalists, tune.finalist_seeds, tune.at_most) == (3, 2, 5, 8)
    again = study.loads(study.dump(loaded.resolved()))
    assert again.tune == tune and again.fingerprint == loaded.fingerprint
    assert [arm.name for arm in again.arms] == [arm.name for arm in loaded.arms]


def test_more_runs_are_no_other_study_but_other_seeds_of_a_trial_are():
    loaded = study.loads(CROSS)

    def with_tune(**changes):
        return dataclasses.replace(loaded, tune=dataclasses.replace(loaded.tune, **changes))

    grown = with_tune(trials=6, at_most=12, finalists=4, finalist_seeds=9)
    assert grown.fingerprint == loaded.fingerprint
    assert with_tune(seeds=4).changes_since(loaded.identity()) == ["tune.seeds: 3 -> 4"]


def test_a_field_that_is_absent_is_not_hashed():
    rate = study.loads(ARMS).identity()["shared"]["tune"]["learning_rate"]
    assert rate == {"low": 0.003, "high": 0.1, "log": False, "step": None}
    old = study.loads(
        ARMS.replace("version: 2", "version: 1").replace("salted\ntune", "true\ntune")
    )
    assert set(old.identity()["shared"]["tune"]) == {
        "learning_rate",
        "forget_bias",
        "batch",
        "sampler",
        "pruner",
        "search_seed",
    }
    assert "salted" not in old.identity()
    assert "seeds" not in old.resolved()["tune"]


def test_salted_arms_are_another_study():
    salted, plain = (
        study.loads(ARMS.replace("salted\ntune", f"{how}\ntune")) for how in ("salted", "true")
    )
    assert salted.is_salted and not plain.is_salted
    assert plain.changes_since(salted.identity()) == [
        "compare.identical_arms: 'salted' -> 'not salted'"
    ]


@pytest.mark.parametrize(
    ("arm", "searched"), [(0, ("forget_bias", "learning_rate")), (1, ("learning_rate",))]
)
def test_an_arm_knows_which_tuned_fields_act_in_it(arm, searched):
    assert study.loads(ARMS).arms[arm].searched == searched
