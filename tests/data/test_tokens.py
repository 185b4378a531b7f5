from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data import DataError, UnknownCharacter, Vocabulary
from harness.data.tokens import frequency_vocabulary, sorted_vocabulary, tokenize


@given(st.text(min_size=1))
def test_characters_round_trip(text):
    vocabulary = sorted_vocabulary(tokenize(text, "char"), "char")
    numbers = vocabulary.encode(text)
    assert numbers.dtype == np.int64 and numbers.shape == (len(text),)
    assert vocabulary.decode(numbers) == text
    assert list(vocabulary.symbols) == sorted(set(text))


@given(st.lists(st.text(alphabet="abcé", min_size=1), min_size=1))
def test_words_round_trip(words):
    vocabulary = frequency_vocabulary(Counter(words), "word")
    text = " ".join(words)
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert len(vocabulary) == 1 + len(set(words))


def test_words_by_falling_frequency_then_first_appearance():
    words = Counter("b a c a d c".split())
    assert frequency_vocabulary(words, "word").symbols == ("<unk>", "a", "c", "b", "d")
    assert frequency_vocabulary(words, "word", min_count=2).symbols == ("<unk>", "a", "c")


def test_rare_words_become_unknown():
    vocabulary = frequency_vocabulary(Counter("b a c a".split()), "word", min_count=2)
    assert vocabulary.encode("a\n b  never a").tolist() == [1, 0, 0, 1]
    assert vocabulary.decode([1, 0]) == "a <unk>"


def test_a_text_with_its_own_unknown_words():
    vocabulary = frequency_vocabulary(Counter("<unk> <unk> a".split()), "word")
    assert vocabulary.symbols == ("<unk>", "a")
    assert vocabulary.encode("a <unk>").tolist() == [1, 0]


@pytest.mark.parametrize(("min_count", "most"), [(3, 2), (9, 2)])
def test_an_empty_vocabulary(min_count, most):
    rule = f"a word must occur at least {min_count} times to be a symbol, but got most={most}"
    with pytest.raises(DataError, match=rule):
        frequency_vocabulary(Counter("a b a".split()), "word", min_count)


@pytest.mark.parametrize(
    ("text", "got", "remedy"),
    [
        ("the Time", "'T' at position=4", "Write 't' instead of 'T'"),
        ("caf\u00e9", "'\u00e9' at position=3", "Write 'e' instead of '\u00e9'"),
        ("\u00c9", "'\u00c9' at position=0", "Write 'e' instead of '\u00c9'"),
        ("a\tb", "'\\t' at position=1", "Write ' ' instead of '\\t'"),
        (
            "1",
            "'1' at position=0",
            "Leave '1' out; the vocabulary is ' abcdefghijklmnopqrstuvwxyz'",
        ),
        ("a1b2a1", "'1' at position=1, '2' at position=3.", "Leave '1' out"),
        ("1234567", "'5' at position=4 and 2 others.", "Leave '1' out"),
    ],
)
def test_an_unknown_character(text, got, remedy):
    vocabulary = sorted_vocabulary("the quick brown fox jumps over a lazy dog", "char")
    with pytest.raises(UnknownCharacter, match="among the 27 of the vocabulary, but got") as caught:
        vocabulary.encode(text)
    assert got in str(caught.value) and remedy in str(caught.value)


def test_capitals_are_proposed_where_only_they_exist():
    with pytest.raises(UnknownCharacter, match="Write 'A' instead of 'a'"):
        Vocabulary(("A", "B"), "char").encode("Ba")


def test_unknown_characters_where_the_vocabulary_has_them():
    vocabulary = frequency_vocabulary(Counter("abba"), "char")
    assert vocabulary.encode("aXb").tolist() == [1, 0, 2]
    assert vocabulary.decode([1, 0, 2]) == "a<unk>b"
