"""A long text is read once; what is kept of it is what would be read."""

import os
import time

import numpy as np
import pytest

from harness import data
from harness.data import dataset, token_cache
from harness.settings import Lines, Settings


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Returns the dataset of a text, as a new process reads it."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 1000)
    path = tmp_path / "text.txt"
    path.write_text("one two three\nfour é five\n" * 60, encoding="utf-8")

    def load(**given):
        dataset._loaded.clear()
        return data.load(Settings("lstm", "text", path=str(path), **{"batch_size": 2, **given}))

    return load


def kept(tmp_path):
    return sorted((tmp_path / "cache" / "texts").iterdir())


def reads(monkeypatch):
    """Returns the list of texts that are read from now on."""
    found, read = [], dataset.tokens_of
    monkeypatch.setattr(dataset, "tokens_of", lambda *given: found.append(given) or read(*given))
    return found


def agree(one, other):
    assert (one.vocabulary, one.fingerprint) == (other.vocabulary, other.fingerprint)
    assert list(one.splits) == list(other.splits)
    assert one.units == other.units
    assert all(np.array_equal(one.splits[name], other.splits[name]) for name in one.splits)
    assert data.corpus_facts(one) == data.corpus_facts(other)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"token": "word", "lines": Lines("<eos>"), "min_count": 2},
        {"token": "subword", "max_vocabulary": 270, "bptt_length": 9},
    ],
)
def test_what_is_kept_is_what_is_read(load, tmp_path, monkeypatch, given):
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 10**6)
    fresh = load(**given)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 1000)
    agree(load(**given), fresh)
    found = reads(monkeypatch)
    agree(load(**given), fresh)
    assert not found and len(kept(tmp_path)) == 2
    load(**{**given, "split": "none"})
    assert len(found) == 1


def test_another_text_is_read_and_a_short_one_is_no_less_short(load, tmp_path, monkeypatch):
    first = load()
    found = reads(monkeypatch)
    with open(tmp_path / "text.txt", "a", encoding="utf-8") as file:
        file.write("six\n")
    assert load().fingerprint != first.fingerprint and len(found) == 1
    with pytest.raises(data.DataError, match="train text: must have at least"):
        load(bptt_length=3000)
    assert len(found) == 1


@pytest.mark.parametrize("suffix", [".json", ".npy"])
def test_a_damaged_entry_is_made_anew(load, tmp_path, monkeypatch, suffix):
    fresh = load()
    for file in kept(tmp_path):
        if file.suffix == suffix:
            content = file.read_bytes()
            file.unlink()  # what was read is mapped
            file.write_bytes(content[:-40])
    found = reads(monkeypatch)
    agree(load(), fresh)
    agree(load(), fresh)
    assert len(found) == 1


def test_a_cache_that_cannot_be_is_done_without(load, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    found = reads(monkeypatch)
    agree(load(), load())
    assert len(found) == 2


def test_what_nobody_has_read_for_a_month_goes(load, tmp_path, monkeypatch):
    load()
    load(token="word")
    first, _, third, _ = kept(tmp_path)
    long_ago = time.time() - token_cache.KEPT_SECONDS - 60
    for file in (first, first.with_suffix(".npy"), third.with_suffix(".npy")):
        os.utime(file, (long_ago, long_ago))
    load(split="none")
    assert len(kept(tmp_path)) == 4 and third in kept(tmp_path) and first not in kept(tmp_path)
