"""`lines: sequences`: what of a text each line holds, and what of it cannot be read so."""

import dataclasses
import itertools

import numpy as np
import pytest

from harness import data
from harness.data import DataError, dataset, token_cache
from harness.data.text import line_start
from harness.settings import Lines, Paths, Settings, from_dict, problems_of, to_dict

TEXTS = {
    "train": "the white sphinx\r\n\r\na time machine\n\n\nthe end – of it\nx" + "\na sphinx" * 9,
    "validation": "\nthe end\nof time\n",
    "test": "the time machine\r\nthe white end",
}
SMALL = {"lines": "sequences", "batch_size": 2, "bptt_length": 40}
TOKENS = ("char", "word", "byte", "subword")


@pytest.fixture
def paths(tmp_path):
    for name, text in TEXTS.items():
        (tmp_path / f"{name}.txt").write_bytes(text.encode())
    return Paths(**{name: str(tmp_path / f"{name}.txt") for name in TEXTS})


@pytest.fixture
def load(tmp_path):
    def load(text, **given):
        path = tmp_path / "text.txt"
        path.write_text(text, newline="")
        return data.load(Settings("lstm", "text", path=str(path), **{**SMALL, **given}))

    return load


def settings(paths, token, **given):
    size = 300 if token == "subword" else None
    fixed = {**SMALL, "token": token, "max_vocabulary": size, "paths": paths}
    return Settings("lstm", "text", **{**fixed, **given})


def lines_of(text, split):
    """The tokens of every line, and with them its end."""
    ends = text.line_ends[split]
    return np.split(text.splits[split], ends + 1)[:-1]


@pytest.mark.parametrize("token", TOKENS)
def test_every_line_ends_with_its_end(paths, token):
    read = data.load(settings(paths, token))
    for name, text in TEXTS.items():
        lines = (text if token == "byte" else text.replace("\r\n", "\n")).split("\n")
        lines = lines[:-1] if lines[-1] == "" else lines  # what an end leaves is no line
        end = " <eos>" if token == "word" else "\n"
        decoded = [read.vocabulary.decode(line) for line in lines_of(read, name)]
        assert decoded == [f"{line}{end}".strip(" ") for line in lines]
        assert read.num_targets(name) == sum(len(line) - 1 for line in lines_of(read, name))
        assert sum(map(len, lines_of(read, name))) == len(read.splits[name])


@pytest.mark.parametrize("token", TOKENS)
def test_a_line_is_of_the_split_in_which_it_begins(load, token):
    lines = [f"{'word ' * (i % 7)}{i:03d}" for i in range(90)]
    size = 300 if token == "subword" else None
    read = load("\n".join(lines), token=token, max_vocabulary=size)
    # Subwords are cut by characters: there are none yet.
    sizes = [len(line.split() if token == "word" else line) + 1 for line in lines]
    begins, cuts = np.cumsum([0, *sizes]), (sum(sizes) * 80 // 100, sum(sizes) * 90 // 100)
    assert not set(cuts) & set(begins.tolist())  # both are within a line
    counts = np.diff([0, *(np.count_nonzero(begins < cut) for cut in cuts), len(lines)])
    assert [len(lines_of(read, name)) for name in read.splits] == counts.tolist()
    found = data.corpus_facts(read).splits.values()
    long = [len(line) >= 30 for line in lines]
    parts = np.split(long, np.cumsum(counts)[:-1])
    assert [split.num_lines for split in found] == [part.sum() for part in parts]


def test_where_a_line_starts():
    text = "ab\n\nc\ndef\n"
    starts = [0, *(i + 1 for i, character in enumerate(text) if character == "\n")]
    for size, least in itertools.product((1, 2, 3, 20), range(len(text) + 1)):
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        assert line_start(pieces, least) == min(start for start in starts if start >= least)


def test_a_corpus_in_one_line_has_its_lines_again():
    read = data.load(Settings("lstm", "genesis", lines="sequences", bptt_length=99))
    plain = data.load(Settings("lstm", "genesis"))
    texts = [
        each.vocabulary.decode(np.concatenate([*each.splits.values()])) for each in (read, plain)
    ]
    assert texts[0].replace("\n", " ") == texts[1] and read.fingerprint == plain.fingerprint
    assert sum(map(len, read.line_ends.values())) == 3_598


@pytest.mark.parametrize("token", TOKENS)
def test_what_is_kept_of_a_long_text_has_the_same_lines(paths, tmp_path, monkeypatch, token):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    fresh = data.load(settings(paths, token))
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 10)
    for _ in range(2):
        dataset._loaded.clear()
        kept = data.load(settings(paths, token))
        assert kept is not fresh and kept.units == fresh.units
        for name, ends in fresh.line_ends.items():
            assert np.array_equal(kept.line_ends[name], ends)
    assert len(list((tmp_path / "cache" / "texts").iterdir())) == 2


def test_units_are_those_of_what_is_predicted(paths):
    """All of a line but its first token, by hand."""
    read = data.load(settings(paths, "subword"))
    for name, text in TEXTS.items():
        text = text.replace("\r\n", "\n").rstrip("\n") + "\n" * (1 + text.endswith("\n\n"))
        lines = lines_of(read, name)
        given = [read.vocabulary.decode(line[:1]) for line in lines]
        per_token, count = read.units[name].per_token, read.num_targets(name)
        assert per_token["bytes"] * count == pytest.approx(
            len(text.encode()) - sum(len(first.encode()) for first in given)
        )
        words = len(text.split()) + len(lines) - len(given)  # an end is a word
        assert per_token["words"] * count == pytest.approx(words)


def test_facts_tell_the_lines(paths):
    facts = data.corpus_facts(data.load(settings(paths, "word")))
    found = {n: (s.num_sequences, s.num_empty, s.longest) for n, s in facts.splits.items()}
    assert found == {"train": (13, 3, 5), "validation": (2, 1, 2), "test": (2, 0, 3)}
    assert data.CorpusFacts.from_json(facts.to_json()) == facts
    plain = data.load(settings(paths, "word", lines=Lines("<eos>"), bptt_length=2))
    assert data.corpus_facts(plain).splits["train"].num_sequences is None
    assert len(data.facts_of([plain, data.load(settings(paths, "word"))])) == 2


@pytest.mark.parametrize(
    ("text", "given", "rule"),
    [
        ("", {}, "text: must not be empty, but got num_tokens=0"),
        ("\n", {}, "train text: must have at least 2 tokens"),
        ("\n" * 40, {}, "vocabulary: the training text must have two different tokens at least"),
        (
            "ab\n" + "\n" * 40,
            {},
            "test lines: must have one that is not empty, but got num_lines=5",
        ),
        ("ab\n" * 20, {"bptt_length": 1}, "train lines: must have at most bptt_length=1 tokens"),
        ("a <eos> b\n" * 9, {"token": "word"}, "<eos>', which it has 9 times. Rename it in the"),
        ("a a a b b\n" * 30, {"token": "word", "max_vocabulary": 2}, "must have what ends a line"),
        ("ab\n" * 20, {"windows": "random"}, "windows and max_offset must be left out, but got"),
        ("ab\n" * 20, {"max_offset": 0}, "windows and max_offset must be left out, but got"),
        ("ab\n" * 20, {"lines": Lines("|"), "token": "byte"}, "must be left out for byte tokens"),
    ],
)
def test_what_cannot_be_read_so(load, text, given, rule):
    with pytest.raises(DataError, match=rule.replace("(", "\\(")):
        load(text, **given)


def test_the_edition_without_lines():
    with pytest.raises(DataError, match="an edition with nothing between lines"):
        data.load(Settings("lstm", "time-machine-2022", split="none", lines="sequences"))


def test_settings_keep_the_form():
    given = Settings("lstm", "text", path="a.txt", lines="sequences")
    assert to_dict(given)["lines"] == "sequences" and from_dict(to_dict(given)) == given
    ended = dataclasses.replace(given, lines=Lines("<eos>"))
    assert to_dict(ended)["lines"] == {"end": "<eos>"} and not ended.reads_lines
    wrong = dataclasses.replace(given, lines="sequence")
    assert [line.partition(":")[0] for line in problems_of(wrong)] == ["lines"]
