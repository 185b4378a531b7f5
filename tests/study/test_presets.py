"""A preset's name stands for a cell and its settings."""

import pytest

from harness import study

PRESET = """
study: presets
version: 1
question: Does it matter how a plain network begins?
compare: {cross: {cell: [rnn-relu, irnn, lstm-1997]}, baseline: {cell: irnn}}
fix: {corpus: time-machine, hidden_size: 64, initialization: normal}
"""


def test_a_presets_name_stands_for_a_cell_and_its_settings():
    s = study.loads(PRESET)
    found = {arm.name: (arm.settings.cell, arm.settings.initialization) for arm in s.arms}
    assert found == {
        "rnn-relu": ("rnn-relu", "normal"),
        "irnn": ("rnn-relu", "identity"),
        "lstm-1997": ("lstm-no-forget-gate", "normal"),
    }
    assert s.baseline.name == "irnn"
    assert study.loads(study.dump(s.resolved())).identity() == s.identity()


def test_a_preset_may_stand_in_fix():
    crossed = "{cross: {cell: [rnn-relu, irnn, lstm-1997]}, baseline: {cell: irnn}}"
    text = PRESET.replace(crossed, "{cross: {biases: [1, 2]}, baseline: {biases: 1}}")
    s = study.loads(text.replace("initialization: normal", "cell: irnn"))
    assert {(arm.settings.cell, arm.settings.initialization) for arm in s.arms} == {
        ("rnn-relu", "identity")
    }
    assert study.loads(study.dump(s.resolved())).identity() == s.identity()
    with pytest.raises(
        study.StudyError, match="must leave initialization out, since irnn is rnn-relu with"
    ):
        study.loads(text.replace("initialization: normal", "initialization: normal, cell: irnn"))


def test_a_preset_in_fix_is_not_that_of_an_arm_with_a_cell_of_its_own():
    arms = "{arms: {a: {learning_rate: 0.1}, b: {cell: lstm}}, baseline: a}"
    crossed = "{cross: {cell: [rnn-relu, irnn, lstm-1997]}, baseline: {cell: irnn}}"
    s = study.loads(PRESET.replace(crossed, arms).replace("initialization: normal", "cell: irnn"))
    assert {arm.name: arm.settings.initialization for arm in s.arms} == {
        "a": "identity",
        "b": "uniform",
    }
    assert study.loads(study.dump(s.resolved())).identity() == s.identity()
