import subprocess
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

from harness import data
from harness.data import DataError
from harness.data.standard import STANDARD
from harness.settings import Lines, Settings

SMALL = {"corpus": "text", "batch_size": 2, "bptt_length": 5, "max_offset": 0}


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "text.txt"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def load(**given):
    return data.load(Settings("lstm", **given))


@pytest.mark.parametrize("length", [100, 101, 109, 10_007])
def test_splits_by_position(write, length):
    text = "".join(chr(ord("a") + i * i % 26) for i in range(length))
    dataset = load(**SMALL, path=write(text))
    lengths = {name: len(part) for name, part in dataset.splits.items()}
    assert list(lengths) == ["train", "validation", "test"]
    assert (
        lengths["train"] == int(length * 0.8) and abs(lengths["test"] - lengths["validation"]) <= 1
    )
    joined = np.concatenate(list(dataset.splits.values()))
    assert joined.dtype == np.uint8
    assert dataset.vocabulary.decode(joined) == text


def test_no_split(write):
    dataset = load(**SMALL, path=write("abc " * 10), split="none")
    assert list(dataset.splits) == ["train"] and len(dataset.splits["train"]) == 40


def test_characters_are_counted_in_the_whole_text_and_words_in_train(write):
    path = write("one two " * 40 + "three " * 20)
    assert "three" not in load(**SMALL, path=path, token="word").vocabulary.symbols
    assert "h" in load(**SMALL, path=path).vocabulary.symbols
    test = load(**SMALL, path=path, token="word").splits["test"]
    assert test.tolist() == [0] * 10  # <unk>


def test_rare_words(write):
    path = write("one two one three " * 20 + "four " * 4)
    dataset = load(**SMALL, path=path, token="word", split="none", min_count=5)
    assert dataset.vocabulary.symbols == ("<unk>", "one", "two", "three")
    with pytest.raises(
        DataError, match="a word must occur at least 99 times to be a symbol, but got most=40"
    ):
        load(**SMALL, path=path, token="word", split="none", min_count=99)


def test_one_reading_of_a_text_is_shared_while_somebody_holds_it(write):
    path = write("one two three " * 40)
    first = load(**SMALL, path=path)
    assert load(**{**SMALL, "bptt_length": 3}, path=path) is first
    assert load(**SMALL, path=path, token="word") is not first
    assert load(**SMALL, path=path, split="none") is not first
    with pytest.raises(DataError, match="train text: must have at least"):
        load(**{**SMALL, "bptt_length": 3000}, path=path)
    write("four five six seven " * 40)
    changed = load(**SMALL, path=path)
    assert changed.fingerprint != first.fingerprint
    gone = weakref.ref(changed)
    del changed
    assert gone() is None


def test_a_text_too_short_names_every_split(write):
    with pytest.raises(DataError) as caught:
        load(**SMALL, path=write("abcdefghij"))
    assert str(caught.value).split("\n") == [
        "train text: must have at least 11 tokens for one update (batch_size=2, bptt_length=5, "
        "max_offset=0), but got num_tokens=8. "
        "Use a longer text, or a smaller batch_size or bptt_length.",
        "validation text: must have at least 2 tokens, but got num_tokens=1. Use a longer text.",
        "test text: must have at least 2 tokens, but got num_tokens=1. Use a longer text.",
    ]


@pytest.mark.parametrize(("token", "text"), [("char", ""), ("word", ""), ("word", " \n\t\r\n")])
def test_an_empty_text(write, token, text):
    rule = "^text: must not be empty, but got num_tokens=0 in the file .*text.txt. Name a text.$"
    with pytest.raises(DataError, match=rule):
        load(**SMALL, path=write(text), token=token)


@pytest.mark.parametrize(
    ("token", "text", "got"),
    [
        ("char", "a" * 80 + "b" * 20, "'a', 80 times"),
        ("word", "one " * 80 + "two " * 20, "'one', 80 times"),
    ],
)
def test_a_vocabulary_of_one(write, token, text, got):
    with pytest.raises(DataError, match=f"two different tokens at least, but got only {got}"):
        load(**SMALL, path=write(text), token=token)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (
            {"corpus": "time-machin"},
            "corpus: must be one of time-machine, .*'time-machin'. Did you mean 'time-machine'",
        ),
        ({"corpus": "xyz"}, "but got corpus='xyz'. Use one of these"),
        (
            {"corpus": "python-docs", "token": "words"},
            "token: must be one of char, word, byte, subword, but got token='words'. Did you",
        ),
        (
            {"corpus": "python-docs", "split": "no"},
            "split: must be one of holdout, none, but got split='no'",
        ),
        (
            {"corpus": "python-docs", "windows": "rand"},
            "windows: must be one of .*'rand'. Did you mean 'random'",
        ),
        ({"corpus": "text"}, "path: text needs a file, but got path=none. Add path: FILE"),
        (
            {"corpus": "python-docs", "path": "a.txt"},
            "path: python-docs takes no file, but got path='a.txt'. Leave it",
        ),
        (
            {"corpus": "time-machine-2019", "token": "word"},
            "token: time-machine-2019 has char tokens only, but got token=",
        ),
        (
            {"corpus": "python-docs", "min_count": 2},
            "min_count: must be 1 for char tokens, but got min_count=2",
        ),
        (
            {"corpus": "python-docs", "token": "subword"},
            "max_vocabulary: must be 257 at least .* but got max_vocabulary=none. Write",
        ),
        (
            {"corpus": "python-docs", "token": "byte", "lines": Lines("<eos>")},
            "lines: must be left out for byte tokens, .* but got lines={end: <eos>}. Leave it out.",
        ),
        (
            {"corpus": "python-docs", "lines": "sequences", "windows": "random"},
            "but got windows='random' and max_offset=none. Leave both out.",
        ),
    ],
)
def test_settings_that_contradict_each_other(given, match):
    with pytest.raises(DataError, match=match):
        load(**given)


def test_every_problem_at_once():
    with pytest.raises(DataError) as caught:
        load(corpus="lyrics-2018", token="chars", min_count=2, split="nne")
    assert [line.split(":")[0] for line in str(caught.value).split("\n")] == [
        "corpus",
        "token",
        "split",
    ]


def test_every_corpus_is_described():
    own = {"time-machine", "time-machine-2019", "time-machine-2022", "genesis", "lyrics-2019"}
    assert set(data.CORPORA) == {*own, "python-docs", "text", *STANDARD}
    doc = Settings.__dataclass_fields__["corpus"].metadata["doc"]
    texts, others = doc.split("; of `task` ")
    assert set(texts.replace(" or ", ", ").split(", ")) == set(data.CORPORA)
    assert others == "memory, forecasting and classification: the sources from adding on"
    assert all(data.CORPORA.values())


def modules_loaded_by(code, *names):
    """The modules among the names that a fresh interpreter holds after it has run the code."""
    code = f"import sys; {code}; print(*set({names}) & set(sys.modules))"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return finished.stdout.split()


def test_imports_nothing_but_numpy():
    code = "from harness.data import Vocabulary, load, training_windows"
    assert modules_loaded_by(code, "torch", "platformdirs", "pandas") == []


@pytest.mark.parametrize(
    "code",
    [
        "from harness.data import corpora; corpora.BY_NAME['text'].needs_path",
        "from harness import data; data.CORPORA, data.DataError",
    ],
)
def test_the_names_of_corpora_are_known_without_numpy(code):
    heavy = ("numpy", "torch", "urllib.request", "harness.data.dataset")
    assert modules_loaded_by(code, *heavy) == []


def test_every_public_name_of_the_package_is_there():
    assert [name for name in data.__all__ if not hasattr(data, name)] == []
    with pytest.raises(AttributeError, match="module 'harness.data' has no attribute 'nothing'"):
        data.nothing  # noqa: B018


def test_a_text_in_words_takes_a_few_bytes_a_token(tmp_path):
    """Of each token more it takes ten bytes at most: no list holds them, and no string."""
    words = [f"word{n}" for n in range(3000)]
    lines = [" ".join(words[(7 * n + m) % 3000] for m in range(10)) for n in range(4000)]
    peaks = []
    for repeats in (1, 2, 4):  # what is imported late is so by the first
        path = tmp_path / f"{repeats}.txt"
        path.write_text("\n".join(lines * repeats) + "\n")
        run = Settings("lstm", "text", path=str(path), token="word", lines=Lines("<eos>"))
        tracemalloc.start()
        try:
            dataset = data.load(run)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert sum(map(len, dataset.splits.values())) == repeats * 4000 * 11
    assert peaks[2] - peaks[1] < 10 * (2 * 4000 * 11)
