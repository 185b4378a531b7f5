import json
import random

import numpy as np
import pytest

from harness import data
from harness.data import Dataset, Vocabulary
from harness.data.facts import (
    LEAK_SHARE,
    LINE_LENGTH,
    UNKNOWN_SHARE,
    CorpusFacts,
    corpus_facts,
    facts_of,
)
from harness.data.text import Text
from harness.settings import Settings

WORDS = [f"{a}{b}" for a in "bcdfghklmnprst" for b in ("ana", "ebo", "ili", "oru", "use")]


def lines(count, seed=0, length=12):
    """Returns so many different lines, each of ``length`` words."""
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) for _ in range(length)) for _ in range(count)]


@pytest.fixture
def facts(tmp_path):
    """Returns the facts of a text."""

    def facts(text, **given):
        path = tmp_path / "notes.txt"
        path.write_text(text, encoding="utf-8")
        small = {"batch_size": 2, "bptt_length": 4}
        return corpus_facts(data.load(Settings("lstm", "text", path=str(path), **small, **given)))

    return facts


def test_a_texts_facts(facts):
    text = "\n".join(lines(100))
    found = facts(text)
    assert found.title == "notes.txt" and found.source.startswith("the file /")
    assert found.vocabulary_size == len(set(text)) and found.token == "char"
    assert list(found.splits) == ["train", "validation", "test"]
    assert sum(split.num_tokens for split in found.splits.values()) == len(text)
    assert sum(split.num_lines for split in found.splits.values()) == 100
    assert found.splits["train"].num_lines == 80 and found.splits["train"].num_seen is None
    assert [split.unknown_share for split in found.splits.values()] == [0, 0, 0]
    assert found.warnings() == []


@pytest.mark.parametrize("token", ["char", "word"])
def test_lines_that_stand_in_the_training_text(facts, token):
    """Of a hundred lines of equal length the last twenty are held out, ten in each split."""
    fresh = ["kese fulo" * 8 for _ in range(100)]
    text = [f"{line} {i:03d}" for i, line in enumerate(fresh)]
    text[83:86], text[95:100] = text[3:6], text[11:16]
    splits = facts("\n".join(text), token=token).splits
    assert [splits[name].num_seen for name in ("validation", "test")] == [3, 5]
    assert [splits[name].num_lines for name in ("train", "validation", "test")] == [80, 10, 10]


def test_blanks_around_a_line_and_short_lines_do_not_count(facts):
    held_out = lines(20, seed=1)
    text = [*lines(80), *held_out[:5], *("}" for _ in range(800)), *("}" for _ in range(60))]
    text += [f"\t{line}  " for line in held_out]
    found = facts("\n".join(text))
    long = [line for line in text if len(line.strip()) >= LINE_LENGTH]
    assert sum(split.num_lines for split in found.splits.values()) == len(long) == 105
    assert sum(split.num_seen or 0 for split in found.splits.values()) == 5


@pytest.mark.parametrize(("length", "counts"), [(LINE_LENGTH - 1, False), (LINE_LENGTH, True)])
def test_the_least_line(facts, length, counts):
    found = facts("\n".join(f"{i:04d}".ljust(length, "x") for i in range(50)))
    assert sum(split.num_lines for split in found.splits.values()) == (50 if counts else 0)


def test_a_leak_is_a_warning(facts):
    once = lines(200)
    (warning,) = facts("\n".join(once * 2)).warnings()
    assert warning.startswith(
        "notes.txt: of the test lines 100 % stand in the training text too, of the validation "
        f"lines 100 % (word for word, of those of {LINE_LENGTH} characters or more). "
    )


def test_a_leak_of_one_split_is_told_of_it_alone(facts):
    text = lines(200)
    text[180:190] = text[:10]
    (warning,) = facts("\n".join(text)).warnings()
    assert "of the test lines 50 % stand in" in warning and "validation" not in warning
    text = lines(200)
    text[160:165] = text[:5]
    (warning,) = facts("\n".join(text)).warnings()
    assert "of the validation lines 25 % stand in" in warning and "test lines" not in warning


@pytest.mark.parametrize(("seen", "warns"), [(10, False), (11, True)])
def test_the_threshold(facts, seen, warns):
    """Of a thousand lines the last hundred are the test text."""
    text = [f"{'x' * 40} {i:04d}" for i in range(1000)]
    text[900 : 900 + seen] = text[:seen]
    found = facts("\n".join(text))
    assert found.splits["test"].seen_share == seen / 100
    assert bool(found.warnings()) == (seen / 100 > LEAK_SHARE) == warns


def test_a_text_without_lines_has_no_share(facts):
    found = facts(" ".join(lines(50)))
    assert found.splits["train"].num_lines == 1
    assert found.splits["test"].num_lines == 0 and found.splits["test"].seen_share is None
    assert found.warnings() == []


def test_without_a_split_nothing_is_held_out(facts):
    found = facts("\n".join(lines(20) * 2), split="none")
    assert list(found.splits) == ["train"] and found.warnings() == []


def test_the_share_of_unknown_words(facts):
    text = " ".join(["one two three four"] * 200 + ["one five"] * 50 + ["one six two two"] * 25)
    found = facts(text, token="word")
    dataset_words = text.split()
    train, held_out = dataset_words[:800], dataset_words[800:900]
    assert set(train) == {"one", "two", "three", "four"}
    assert found.splits["validation"].unknown_share == held_out.count("five") / len(held_out) > 0.4
    assert found.splits["train"].unknown_share == 0
    assert found.vocabulary_size == 5


@pytest.mark.parametrize(("most", "warns"), [(13, False), (12, True)])
def test_many_unknown_words_are_a_warning(facts, most, warns):
    """Of sixteen words in turn a quarter are rare where the vocabulary has <unk> and twelve."""
    found = facts(" ".join(WORDS[i % 16] for i in range(1600)), token="word", max_vocabulary=most)
    share = (17 - most) / 16
    assert [split.unknown_share for split in found.splits.values()] == [share] * 3
    assert bool(found.warnings()) == (share > UNKNOWN_SHARE) == warns
    if not warns:
        return
    (warning,) = found.warnings()
    assert warning.startswith(
        "notes.txt: of the test tokens 31 % are <unk>, of the validation tokens 31 %, of the "
        "train tokens 31 %. "
    )


def test_lines_that_a_corpus_puts_in_one_are_lines_still():
    whole = corpus_facts(data.load(Settings("lstm", "time-machine")))
    assert (whole.vocabulary_size, whole.splits["train"].num_tokens) == (44, 143_183)
    assert [split.num_lines for split in whole.splits.values()] == [2173, 269, 268]
    assert [split.num_seen for split in whole.splits.values()] == [None, 0, 0]
    glued = corpus_facts(data.load(Settings("lstm", "time-machine-2022", batch_size=4)))
    assert [split.num_lines for split in glued.splits.values()] == [130, 15, 15]


def test_facts_are_stored_as_json(facts):
    found = facts("\n".join(lines(100) * 2), token="word")
    assert CorpusFacts.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_text_that_several_arms_read_is_told_once(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines(100, seed=ord(name))))
    settings = [
        Settings("lstm", "text", path=str(tmp_path / "a.txt"), batch_size=2),
        Settings("gru", "text", path=str(tmp_path / "a.txt"), batch_size=2, bptt_length=4),
        Settings("lstm", "text", path=str(tmp_path / "a.txt"), batch_size=2, token="word"),
        Settings("lstm", "text", path=str(tmp_path / "b.txt"), batch_size=2),
    ]
    found = facts_of(data.load(each) for each in settings)
    assert [(each.title, each.token) for each in found] == [
        ("a.txt", "char"),
        ("a.txt", "word"),
        ("b.txt", "char"),
    ]


def test_every_line_is_of_one_split():
    """Lines of any sizes, also empty ones, in any splits: none is lost and none counted twice."""
    draw = np.random.default_rng(0)
    for _ in range(200):
        text = "\n".join("y" * int(draw.integers(0, 70)) for _ in range(int(draw.integers(1, 40))))
        if len(text) < 3:
            continue
        cuts = np.sort(draw.choice(np.arange(1, len(text)), 2, replace=False))
        parts = np.split(np.zeros(len(text), np.int64), cuts)
        dataset = Dataset(
            name="text",
            title="text",
            token="char",
            vocabulary=Vocabulary(("\n", "y"), "char"),
            splits=dict(zip(("train", "validation", "test"), parts, strict=True)),
            fingerprint="",
            source="",
            texts=(Text((text,), ""),),
            units={},
            line_end=1,
        )
        found = corpus_facts(dataset)
        begin = 0
        for name, part in zip(found.splits, parts, strict=True):
            first = [0, *(i + 1 for i, c in enumerate(text) if c == "\n")]
            own = [i for i in first if begin <= i < begin + len(part)]
            long = [i for i in own if len(text[i:].split("\n")[0]) >= LINE_LENGTH]
            assert found.splits[name].num_lines == len(long)
            begin += len(part)
