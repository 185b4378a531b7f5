"""Subwords: learned of the training text alone, lossless, and with units counted by hand."""

import math
import sys

import numpy as np
import pytest
import torch
from wire import kind_of

from harness import data
from harness.data import DataError, subwords
from harness.settings import Budget, Lines, Paths, Settings
from harness.tasks.language_modelling import LanguageModelling
from harness.training.plan import Plan, Run
from harness.training.saved_model import SavedModel
from harness.training.steps import train

SMALL = {"token": "subword", "batch_size": 2, "bptt_length": 4, "max_vocabulary": 300}
TEXTS = {
    "train": "the white sphinx – and the time machine\r\n the end  \r\n" * 20,
    "validation": "the white machine\n" * 5,
    "test": "€uro \U0001f600 the white sphinx\n\tqqqqqqqq zz\nthe end" * 4,
}


@pytest.fixture
def paths(tmp_path):
    for name, text in TEXTS.items():
        (tmp_path / f"{name}.txt").write_bytes(text.encode())
    return Paths(**{name: str(tmp_path / f"{name}.txt") for name in TEXTS})


def settings(paths, **given):
    return Settings("lstm", "text", paths=paths, **{**SMALL, **given})


def test_a_text_is_decoded_as_it_was(paths):
    dataset = data.load(settings(paths))
    for name, text in TEXTS.items():
        assert dataset.vocabulary.decode(dataset.splits[name]) == text.replace("\r\n", "\n")
        assert len(dataset.splits[name]) < len(text.encode())
    whole = data.load(Settings("lstm", "time-machine", **SMALL))
    characters = data.load(Settings("lstm", "time-machine"))
    for name, part in whole.splits.items():  # cut at characters, within words
        assert whole.vocabulary.decode(part) == characters.vocabulary.decode(
            characters.splits[name]
        )
    facts = [data.corpus_facts(each).splits for each in (whole, characters)]
    assert [s.num_lines for s in facts[0].values()] == [s.num_lines for s in facts[1].values()]


def test_they_are_learned_of_the_training_text_alone(paths):
    dataset = data.load(settings(paths))
    symbols = dataset.vocabulary.symbols
    assert len(symbols) == len(set(symbols)) <= 300 and dataset.vocabulary.unknown is None
    assert "Ġsphinx" in symbols and "zz" not in symbols and "qq" not in symbols
    with open(paths.test, "a") as file:
        file.write("zz qq " * 500)
    assert data.load(settings(paths)).vocabulary == dataset.vocabulary


def test_where_a_text_is_cut_into_pieces_makes_no_difference(monkeypatch):
    monkeypatch.setattr(subwords, "_LONG", 20)
    text = "\n\n a line\r of words that is a long one \n" + "x" * 50 + " y" * 30 + "\nend"
    whole = list(subwords.passages_of([text]))
    assert "".join(whole) == text and max(map(len, whole)) == 50
    for length in (1, 3, 17):
        pieces = [text[i : i + length] for i in range(0, len(text), length)]
        assert list(subwords.passages_of(pieces)) == whole


@pytest.mark.parametrize("lines", [None, Lines("<eos>")])
def test_units_per_token_are_those_of_the_predicted_text(paths, lines):
    """The total loss of a split, divided by what its predicted text holds: closed forms by hand."""
    task = LanguageModelling(settings(paths, lines=lines), torch.device("cpu"))
    nats = math.log(task.num_outputs)  # a model that has learned nothing
    for name, text in TEXTS.items():
        text = text.replace("\r\n", "\n")
        text += "\n" * (lines is not None and not text.endswith("\n"))
        first = task.vocabulary.decode(task.dataset.splits[name][:1])
        text_bytes = text.encode()[1 if name == "test" else len(first) :]  # the euro's first byte
        total = nats * task.num_targets(name)
        words = len(text.split()) + text.count("\n") * (lines is not None) - 1
        characters = len(text) - (1 if name == "test" else len(first))
        metrics = task.metrics(name, nats)
        assert metrics[f"{name}/bits_per_byte"] == pytest.approx(
            total / math.log(2) / len(text_bytes)
        )
        assert metrics[f"{name}/bits_per_character"] == pytest.approx(
            total / math.log(2) / characters
        )
        assert metrics[f"{name}/word_perplexity"] == pytest.approx(math.exp(total / words))
        assert metrics[f"{name}/bytes_per_token"] == len(text_bytes) / task.num_targets(name)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"max_vocabulary": None}, "max_vocabulary: must be 257 at least for subword tokens"),
        ({"max_vocabulary": 256}, "but got max_vocabulary=256. Write max_vocabulary: 4000"),
        ({"min_count": 2}, "min_count: must be 1 for subword tokens"),
        ({"bptt_length": 999}, "train text: must have at least"),
    ],
)
def test_what_subwords_need(paths, given, rule):
    with pytest.raises(DataError, match=rule):
        data.load(settings(paths, **given))


def test_editions_that_have_none():
    for corpus, kinds in (("time-machine-2019", "char"), ("time-machine-2022", "char and word")):
        with pytest.raises(DataError, match=f"token: {corpus} has {kinds} tokens only"):
            data.load(Settings("lstm", corpus, split="none", **SMALL))


def test_the_library_is_asked_for_by_name(paths, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"pip install 'recurrent-bench\[subwords\]'"):
        data.load(settings(paths, max_vocabulary=301))


def test_a_run_keeps_what_was_learned(paths):
    own = settings(
        paths,
        hidden_size=4,
        engine="reference",
        device="cpu",
        threads=1,
        max_offset=0,
        budget=Budget(updates=2),
        evaluations=1,
    )
    plan = Plan((Run("gru/replicate/0", (1,), own),), keep_models=True)
    plan = Plan.from_json(plan.to_json())
    (end,) = [m for messages in train(plan) for m in messages if kind_of(m) == "end"]
    model = SavedModel.from_bytes(end.model)
    dataset = data.load(own)
    assert model.vocabulary == dataset.vocabulary
    assert np.array_equal(
        model.vocabulary.encode(TEXTS["validation"]), dataset.splits["validation"]
    )
    nats, targets = end.metrics["test/loss"], len(dataset.splits["test"]) - 1
    num_bytes = len(TEXTS["test"].encode()) - 1
    assert end.metrics["test/bits_per_byte"] == pytest.approx(
        nats * targets / math.log(2) / num_bytes
    )
