"""Bytes as tokens: those of a file as it is, those of UTF-8 of every other text."""

import hashlib
import math

import pytest
import torch

from harness import data
from harness.data import DataError
from harness.settings import Lines, Settings
from harness.tasks.language_modelling import LanguageModelling

SMALL = {"batch_size": 2, "bptt_length": 4, "token": "byte"}
CONTENT = b"\xef\xbb\xbf" + "Übung\r\n1 € \U0001f600\r".encode() * 30 + b"\xff\x00\x80" * 30


@pytest.fixture
def path(tmp_path):
    (tmp_path / "own.bin").write_bytes(CONTENT)
    return str(tmp_path / "own.bin")


def test_the_tokens_are_the_files_bytes_as_they_are(path):
    dataset = data.load(Settings("lstm", "text", path=path, split="none", **SMALL))
    symbols = dataset.vocabulary.symbols
    assert bytes(ord(symbols[n]) for n in dataset.splits["train"]) == CONTENT
    assert [ord(symbol) for symbol in symbols] == sorted(set(CONTENT))
    assert dataset.fingerprint == hashlib.sha256(CONTENT).hexdigest()


def test_the_bytes_of_a_corpus_are_those_of_its_text():
    dataset = data.load(Settings("lstm", "time-machine", **SMALL))
    characters = data.load(Settings("lstm", "time-machine", batch_size=2, bptt_length=4))
    assert dataset.fingerprint == characters.fingerprint
    assert dataset.vocabulary.decode(dataset.splits["test"]) == characters.vocabulary.decode(
        characters.splits["test"]
    )
    facts = [data.corpus_facts(each).splits for each in (dataset, characters)]
    assert facts[0] == facts[1]


def test_a_prefix_is_read_and_written_as_bytes(path):
    vocabulary = data.load(Settings("lstm", "text", path=path, **SMALL)).vocabulary
    assert len(vocabulary.encode("€ Ü")) == 6
    assert vocabulary.decode(vocabulary.encode("€ Ü")) == "€ Ü"
    assert vocabulary.decode(vocabulary.encode("€")[:2]) == "\N{REPLACEMENT CHARACTER}"
    with pytest.raises(DataError, match="every byte must be among the .* but got 0x7a at position"):
        vocabulary.encode("Üz")


def test_the_loss_in_bits_per_byte(path):
    task = LanguageModelling(Settings("lstm", "text", path=path, **SMALL), torch.device("cpu"))
    assert task.metrics("test", math.log(8)) == {
        "test/loss": math.log(8),
        "test/perplexity": pytest.approx(8),
        "test/bits_per_byte": pytest.approx(3),
    }


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"lines": Lines("<eos>")}, "lines: must be left out for byte tokens"),
        ({"min_count": 2}, "min_count: must be 1 for byte tokens"),
        ({"max_vocabulary": 9}, "max_vocabulary: must be left out for byte tokens"),
    ],
)
def test_what_bytes_do_not_stand_with(path, given, rule):
    with pytest.raises(DataError, match=rule):
        data.load(Settings("lstm", "text", path=path, **SMALL, **given))
