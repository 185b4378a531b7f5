"""What check shows of sequences: each once, however models answer them."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from harness import data, study
from harness.preflight import sequences
from harness.settings import Options, Settings

STUDY = """
study: heads
version: 2
question: Which head?
compare:
  cross: {options: [null, {head: gaussian}, {head: quantiles, horizon: 2}]}
  baseline: {options: null}
fix:
  {task: forecasting, corpus: sine, cell: lstm, bptt_length: 6, hidden_size: 4, learning_rate: 0.1}
"""


def shown(*settings):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(sequences.table({str(n): data.load(each) for n, each in enumerate(settings)}))
    return console.export_text()


def test_arms_of_crossed_options_have_their_names():
    loaded = study.loads(STUDY)
    assert [arm.name for arm in loaded.arms] == [
        "options=none",
        "head=gaussian",
        "head=quantiles,horizon=2",
    ]


def test_sequences_that_several_heads_say_stand_once():
    value = Settings("lstm", corpus="sine", task="forecasting", bptt_length=6, batch_size=4)
    own = [replace(value, options=Options.of(each)) for each in ({}, {"head": "gaussian"})]
    text = shown(*own)
    assert text.count("a sine with noise: 1 value a step -> 1 value;") == 1
    assert "(head gaussian)" in text and text.count("train") == 1
    apart = replace(value, options=Options.of({"horizon": 2}))
    assert shown(*own, apart).count("train") == 2
    assert sequences.table({}) is None


@pytest.mark.parametrize(("num_held_out", "is_told"), [(20, True), (200, False)])
def test_a_set_in_which_one_target_is_more_than_the_margin_is_told(num_held_out, is_told):
    settings = Settings(
        "lstm", corpus="recall", task="memory", bptt_length=12, num_held_out=num_held_out
    )
    told = sequences.warnings(
        {"a": data.load(settings), "b": data.load(settings)},
        study.Measure("validation/accuracy", margin=0.01),
    )
    assert len(told) == is_told
    if is_told:
        assert "one target of the 80 of test is 0.013 of the accuracy" in told[0]


def test_an_error_is_no_count_of_targets():
    settings = Settings("lstm", corpus="adding", task="memory", bptt_length=9, num_held_out=20)
    assert sequences.warnings({"a": data.load(settings)}, study.Measure("validation/mse")) == []
