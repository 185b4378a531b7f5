"""The corpora of published results: our own miniatures are counted by hand, theirs as published."""

import hashlib
import zipfile
from dataclasses import replace

import pytest

from harness import data
from harness.data import DataError, corpora, published
from harness.data.published import Published
from harness.data.standard import STANDARD
from harness.settings import Settings

SMALL = {"batch_size": 2, "bptt_length": 4, "max_offset": 0}
PUBLISHED = {
    # Zaremba, Sutskever and Vinyals 2014, with <eos> for every line's end
    ("ptb", "word"): (10_000, 929_589, 73_760, 82_430),
    # Merity, Xiong, Bradbury and Socher 2016
    ("wikitext-2", "word"): (33_278, 2_088_628, 217_646, 245_569),
    ("wikitext-103", "word"): (267_735, 103_227_021, 217_646, 245_569),
    # Mahoney's files, with the split that papers use
    ("text8", "char"): (27, 90_000_000, 5_000_000, 5_000_000),
    ("enwik8", "byte"): (205, 90_000_000, 5_000_000, 5_000_000),
    # Karpathy's char-rnn
    ("tiny-shakespeare", "char"): (65, 1_003_854, 55_770, 55_770),
}
TREEBANK = (
    " no it was n't black monday \n but while the <unk> fell N points \n" * 3,
    " the <unk> was black \n it fell N points \n" * 2,
    " while monday was n't black \n it fell \n" * 2,
)
WIKI = (
    " \n = Title = \n \n The <unk> was 3 @-@ foot , in 1 @,@ 000 \n" * 3,
    " \n = The = \n \n was 1 , 000 \n",
    " \n Title <unk> \n The foot \n",
)
PLAYS = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n" * 3


@pytest.fixture
def bring(data_folder, monkeypatch):
    """Puts files into the data folder, as what was published under a corpus's name."""

    def bring(corpus, *contents):
        standard = STANDARD[corpus]
        for file, content in zip(standard.files, contents, strict=True):
            (data_folder / file.name).write_bytes(content)
        files = tuple(
            Published(file.name, "SHA-256", hashlib.sha256(content).hexdigest())
            for file, content in zip(standard.files, contents, strict=True)
        )
        read = replace(standard, files=files).read
        monkeypatch.setitem(corpora.BY_NAME, corpus, replace(corpora.BY_NAME[corpus], read=read))

    return bring


def load(corpus, token=None, **given):
    token = token or STANDARD[corpus].tokens[0]
    return data.load(Settings("lstm", corpus, token=token, **{**SMALL, **given}))


def texts(dataset):
    return [dataset.vocabulary.decode(part) for part in dataset.splits.values()]


def test_the_penn_treebank(bring):
    bring("ptb", *(text.encode() for text in TREEBANK))
    words = load("ptb")
    assert texts(words) == [" ".join(t.replace("\n", "<eos>").split()) for t in TREEBANK]
    train = TREEBANK[0].replace("\n", "<eos>").split()
    assert set(words.vocabulary.symbols) == set(train) and "<eos>" in words.vocabulary.symbols
    characters = load("ptb", "char")  # as the files ptb.char.*, whose lines have no outer blanks
    lines = [text.replace(" \n ", "\n").replace(" \n", "\n").strip(" ") for text in TREEBANK]
    assert texts(characters) == lines
    assert characters.source == words.source and "Mikolov" in words.source


def test_wikitext(bring, tmp_path):
    with zipfile.ZipFile(tmp_path / "made.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in zip(STANDARD["wikitext-2"].members, WIKI, strict=True):
            archive.writestr(name, text)
    bring("wikitext-2", (tmp_path / "made.zip").read_bytes())
    dataset = load("wikitext-2", bptt_length=3)
    assert texts(dataset) == [" ".join(t.replace("\n", "<eos>").split()) for t in WIKI]
    assert {"@-@", "@,@", "<unk>", "="} <= set(dataset.vocabulary.symbols)
    assert len(dataset.splits["train"]) == len(WIKI[0].split()) + WIKI[0].count("\n")
    with pytest.raises(DataError, match="wikitext-2 has word and subword tokens only, but got"):
        load("wikitext-2", "char")
    with pytest.raises(DataError, match="split: must be left out with corpus wikitext-2, whose"):
        load("wikitext-2", split="none")


@pytest.mark.parametrize("corpus", ["text8", "enwik8", "tiny-shakespeare"])
def test_one_file_that_is_cut(bring, corpus):
    content = PLAYS.encode()
    bring(corpus, content)
    dataset = load(corpus)
    ends = len(content) * 90 // 100, len(content) * 95 // 100
    cut = [PLAYS[: ends[0]], PLAYS[ends[0] : ends[1]], PLAYS[ends[1] :]]
    assert texts(dataset) == cut
    assert dataset.vocabulary.symbols == tuple(sorted(set(PLAYS)))
    assert dataset.fingerprint == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("corpus", STANDARD)
def test_files_that_nobody_brought(data_folder, corpus):
    standard = STANDARD[corpus]
    with pytest.raises(DataError) as caught:
        load(corpus)
    for file in standard.files:
        assert (
            f"{data_folder / file.name}: must be there, but got no such file, and it may not be "
            f"shipped. Put a file named {file.name} ({file.size}) with {file.algorithm} "
            f"{file.checksum} into {data_folder} (the environment variable HARNESS_DATA names "
            "another folder, and HARNESS_MIRROR the http address of one that has it). "
            f"It is published at {standard.address}."
        ) in str(caught.value)


def test_a_file_that_is_not_the_published_one(data_folder):
    (data_folder / "text8").write_text("abc " * 100)
    rule = r"text8: MD5 must be 3bea\w+, but got checksum='\w{32}'\. Remove it, and put"
    with pytest.raises(DataError, match=rule):
        load("text8")


@pytest.mark.parametrize(("corpus", "token"), PUBLISHED)
def test_the_published_counts(corpus, token):
    files = STANDARD[corpus].files
    if not all((published.data_folder() / file.name).exists() for file in files):
        pytest.skip("the corpus is not on this machine (HARNESS_DATA)")
    dataset = load(corpus, token)
    counts = (len(dataset.vocabulary), *map(len, dataset.splits.values()))
    assert counts == PUBLISHED[corpus, token]
