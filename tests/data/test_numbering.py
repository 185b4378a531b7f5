"""A text in pieces is the text: its tokens, its lines and its fingerprint, wherever it is cut."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.numbering import Characters, Words, counts, narrowest, renumbered
from harness.data.text import File, Text, ended, lines_of
from harness.data.tokens import Vocabulary

PIECES = st.lists(st.text(alphabet="ab|\n\r \u2028é\U0001f600", min_size=1))


@given(PIECES)
def test_characters_and_words_are_those_of_the_whole_text(pieces):
    text = "".join(pieces)
    for numbering, tokens in (
        (Characters(None), list(text)),
        (Words(None), text.split()),
        (Words("<eos>"), text.replace("\n", " <eos> ").split()),
    ):
        numbers = numbering.read(pieces)
        assert [numbering.symbols[n] for n in numbers] == tokens
        assert numbering.symbols == list(dict.fromkeys(tokens))
        assert counts(numbers, numbering.symbols) == Counter(tokens)
    assert [line for lines in lines_of(pieces) for line in lines] == text.split("\n")
    assert "".join(ended(pieces)) == text + "\n" * (text[-1:] not in ("", "\n"))


@given(PIECES)
def test_a_line_end_that_the_text_has_itself_is_counted(pieces):
    text = "".join(pieces)
    words, characters = Words("|"), Characters("|")
    words.read(pieces)
    characters.read(pieces)
    assert words.num_own_ends == text.split().count("|")
    assert characters.num_own_ends == text.count("|")


@pytest.mark.parametrize("size", [255, 256, 257, 2**15, 2**15 + 1])
def test_numbers_are_narrow_and_all_there(size):
    pieces = ["".join(map(chr, range(0x5000, 0x5000 + size))), chr(0x5000 + size - 1)]
    numbering = Characters(None)
    numbers = numbering.read(pieces)
    assert numbers.tolist() == [*range(size), size - 1]
    assert np.iinfo(narrowest(size)).max >= size - 1
    backwards = Vocabulary(tuple(reversed(numbering.symbols)), "char")
    again = renumbered(numbers, numbering.symbols, backwards)
    assert again.dtype == narrowest(size)
    assert again.tolist() == [*range(size - 1, -1, -1), 0]


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_a_file_in_pieces(tmp_path, monkeypatch, length):
    monkeypatch.setattr("harness.data.text.PIECE_LENGTH", length)
    content = "\ufeffé one\r\ntwo\r\r\nthree\u2028four\r\n"
    (tmp_path / "text.txt").write_bytes(content.encode())
    text = Text(File(str(tmp_path / "text.txt"), "path"), "")
    digest = hashlib.sha256()
    read = "".join(text.lined(digest))
    assert read == "é one\ntwo\n\nthree\u2028four\n" == "".join(text.pieces)
    assert digest.hexdigest() == hashlib.sha256(read.encode()).hexdigest()
