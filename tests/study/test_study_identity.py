"""What makes a study this one, and what is told where it is another."""

import copy
import json

import pytest
from two_studies import ARMS, CROSS

from harness import study


@pytest.mark.parametrize("text", [CROSS, ARMS])
def test_a_resolved_study_is_the_same_study(text):
    s = study.loads(text)
    again = study.loads(study.dump(s.resolved()))
    assert again.identity() == s.identity() and again.fingerprint == s.fingerprint
    assert again.resolved() == s.resolved()
    assert [arm.settings for arm in again.arms] == [arm.settings for arm in s.arms]
    assert (again.tune, again.replicate, again.measure) == (s.tune, s.replicate, s.measure)


def test_an_identity_survives_json():
    s = study.loads(CROSS)
    assert s.changes_since(json.loads(json.dumps(s.identity()))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("trials: 24", "trials: 48"),
        ("seeds: 10", "seeds: 20"),
        ("[lstm, lstm-no-output-tanh]", "[gru, lstm, lstm-no-output-tanh]"),
        ("question: Does", "question: Why does"),
        ("  bptt_length: 35", "  bptt_length: 35\n  threads: 2\n  pack_size: 3"),
        ("  batch_size: 32\n", ""),
        ("low: 0.01", "low: 1e-2"),
    ],
)
def test_extensions_and_other_words_are_no_change(old, new):
    assert old in CROSS
    assert study.loads(CROSS.replace(old, new)).changes_since(study.loads(CROSS).identity()) == []


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("first_seed: 1000", "first_seed: 1", ["replicate.first_seed: 1000 -> 1"]),
        ("high: 10.0", "high: 5", ["tune.learning_rate.high: 10.0 -> 5.0"]),
        (
            "[0.25, 1.0, 4.0]",
            "[1, none]",
            ["tune.clip_norm.choices: [0.25, 1.0, 4.0] -> [1.0, None]"],
        ),
        ("margin: 0.01", "margin: 0.02", ["measure.margin: 0.01 -> 0.02"]),
        (
            "baseline: {cell: lstm}",
            "baseline: {cell: lstm-no-output-tanh}",
            ["compare.baseline: 'lstm' -> 'lstm-no-output-tanh'"],
        ),
        ("[lstm, lstm-no-output-tanh]", "[lstm, gru]", ["arms.lstm-no-output-tanh: there -> gone"]),
        (
            "hidden_size: 256",
            "hidden_size: 128",
            [
                "arms.lstm.hidden_size: 256 -> 128",
                "arms.lstm-no-output-tanh.hidden_size: 256 -> 128",
            ],
        ),
    ],
)
def test_changes_are_named(old, new, changes):
    changed = study.loads(CROSS.replace(old, new))
    assert changed.changes_since(study.loads(CROSS).identity()) == changes
    assert changed.fingerprint != study.loads(CROSS).fingerprint


def test_fields_that_came_later_change_no_older_study():
    s = study.loads(CROSS)
    old = copy.deepcopy(s.identity())
    for arm in old["arms"].values():
        for name in ("zoneout_h", "tied", "residual", "state_clip"):
            del arm[name]
    assert s.changes_since(old) == []


def test_another_equation_is_another_study():
    s = study.loads(CROSS)
    old = copy.deepcopy(s.identity())
    old["arms"]["lstm"]["cell_source"] = "0" * 64
    (change,) = s.changes_since(old)
    assert change.startswith("arms.lstm.cell_source: '0000")


def test_dropping_the_search_is_a_change():
    names = {
        change.split(":")[0]
        for change in study.loads(CROSS).changes_since(study.loads(ARMS).identity())
    }
    assert {"tune.sampler", "measure.objective", "arms.scratch"} <= names


def test_a_study_without_temperatures_is_the_one_that_it_was_before_there_were_any():
    samples = study.loads(CROSS).identity()["shared"]["measure"]["samples"]
    assert samples == {
        "prefixes": ["traveller", "time traveller"],
        "length": 50,
        "temperature": None,
        "every": None,
    }
