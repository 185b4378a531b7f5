import hashlib
import io
import os
import sys
import zipfile
from collections import Counter
from dataclasses import replace

import pytest

from harness import data
from harness.data import DataError, corpora
from harness.settings import Settings


def load(corpus, path=None, **given):
    return data.load(
        Settings(
            "lstm", corpus, path=None if path is None else str(path), **{"split": "none", **given}
        )
    )


def decoded(dataset):
    return dataset.vocabulary.decode(dataset.splits["train"])


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        for name, content in members.items():
            archive.writestr(f"folder/{name}.txt", content)
    return buffer.getvalue()


def test_the_whole_book(time_machine):
    dataset = load("time-machine")
    text = decoded(dataset)
    assert len(text) == len(time_machine) == 178_979
    assert text == time_machine.decode("ascii").lower().replace("\n", " ")
    assert dataset.fingerprint == hashlib.sha256(text.encode()).hexdigest()
    assert dataset.name == "time-machine" and dataset.token == "char"
    assert dataset.source.endswith("http://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt")


def test_the_edition_of_2019(time_machine):
    dataset = load("time-machine-2019")
    assert len(dataset.vocabulary) == 43
    assert dataset.vocabulary.symbols == tuple(sorted(dataset.vocabulary.symbols))
    assert decoded(dataset) == decoded(load("time-machine"))[:10_000]
    assert dataset.fingerprint == hashlib.sha256(decoded(dataset).encode()).hexdigest()


def test_the_edition_of_2022(time_machine):
    dataset = load("time-machine-2022")
    lines = [
        " ".join("".join(c if c.isalpha() else " " for c in line).split())
        for line in time_machine.decode().split("\n")
    ]
    glued = "".join(lines).lower()
    assert len(glued) == 170_580
    counts = Counter(glued)
    assert len(dataset.vocabulary) == 28
    assert dataset.vocabulary.symbols == (
        "<unk>",
        *sorted(counts, key=counts.__getitem__, reverse=True),
    )
    assert decoded(dataset) == glued[:10_000]
    assert decoded(dataset).startswith("the time machine by h g wells")


def test_the_edition_of_2022_in_words(time_machine):
    dataset = load("time-machine-2022", token="word")
    words = "".join(c if c.isalpha() else " " for c in time_machine.decode()).lower().split()
    assert decoded(dataset) == " ".join(words[:10_000])
    assert len(dataset.vocabulary) == 1 + len(set(words)) == 4_580
    assert dataset.vocabulary.symbols[:3] == ("<unk>", "the", "i")
    assert dataset.fingerprint == load("time-machine-2022").fingerprint


@pytest.mark.parametrize(
    ("corpus", "form", "max_offset"),
    [("time-machine-2019", "sequential-2019", 34), ("time-machine-2022", "sequential", 35)],
)
def test_both_editions_make_eight_updates_an_epoch(time_machine, corpus, form, max_offset):
    settings = Settings("lstm", corpus, split="none", windows=form, max_offset=max_offset)
    dataset = data.load(settings)
    assert data.training_windows(settings, len(dataset.splits["train"])).updates_per_epoch == 8


def test_the_second_text_that_is_shipped():
    dataset = load("genesis")
    text = decoded(dataset)
    assert len(text) == 196_818 and not any(letter.isdigit() for letter in text)
    assert text.startswith("in the beginning god created the heaven and the earth. and the earth")
    assert text.endswith("and he was put in a coffin in egypt. ")


@pytest.mark.parametrize(
    ("corpus", "fingerprint"),
    [
        ("time-machine", "fe90ead62e784fe763d0a529c25503751932c530071ccbf2744cdd779b3e07c3"),
        ("time-machine-2019", "a825e700ad7753c931b4766105c6a33c472a81f78de7f6bc73dfe2cebf4821dc"),
        ("genesis", "93222bb6ae8eb225a22a7a6c7e0bd96a26f5734c0de58927f487ff42efc39d39"),
        ("time-machine-2022", "0b8b181c4afd7af95edf7ad5c142681c86ba1b497a24bd64b0b567e37ee61014"),
    ],
)
def test_the_fingerprints_that_stores_hold(data_folder, corpus, fingerprint):
    """The book was downloaded once; it is read now from an empty data folder and no network."""
    assert load(corpus).fingerprint == fingerprint


LYRICS = "一只猫坐在窗前\r\n一只狗睡在门后\nLate " * 500
LYRICS_KEPT = LYRICS.replace("\n", " ").replace("\r", " ")[:10_000]


def test_lyrics_of_ones_own(tmp_path):
    path = tmp_path / "lyrics.zip"
    path.write_bytes(zipped(lyrics=LYRICS.encode()))
    dataset = load("lyrics-2019", path)
    assert decoded(dataset) == LYRICS_KEPT
    assert dataset.vocabulary.symbols == tuple(sorted(set(LYRICS_KEPT)))
    assert "L" in dataset.vocabulary.symbols
    assert dataset.fingerprint == hashlib.sha256(LYRICS_KEPT.encode()).hexdigest()
    assert dataset.source == f"lyrics, first 10000 characters of {path}/folder/lyrics.txt"


def test_lyrics_in_the_data_folder_must_be_the_published_ones(data_folder, monkeypatch):
    content = zipped(lyrics=LYRICS.encode())
    (data_folder / "jaychou_lyrics.txt.zip").write_bytes(content)
    with pytest.raises(
        DataError, match="SHA-1 must be 9529987e701a4f37048ab778270a5dde9a762a0b, but got checksum="
    ):
        load("lyrics-2019")
    checksum = hashlib.sha1(content).hexdigest()
    monkeypatch.setattr(corpora, "LYRICS", replace(corpora.LYRICS, checksum=checksum))
    assert decoded(load("lyrics-2019")) == LYRICS_KEPT


def test_lyrics_that_nobody_brought(data_folder):
    with pytest.raises(
        DataError, match="jaychou_lyrics.txt.zip: must be there, but got no such file"
    ):
        load("lyrics-2019")


def _damaged():
    content = bytearray(zipped(lyrics=LYRICS.encode()))
    content[120] ^= 0xFF  # inside the member's compressed bytes
    return bytes(content)


def _locked():
    content = bytearray(zipped(lyrics=LYRICS.encode()))
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 8] |= 1  # the directory's flag of encryption
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"not a zip", "must be a readable zip, but got error='File is not a zip file'"),
        (_damaged(), "must be a readable zip, but got error="),
        (_locked(), "must be a readable zip, but got error=.*encrypted.*without a password"),
        (
            zipped(a=b"a", b=b"b"),
            r"must hold exactly one file, but got members=\['folder/a.txt', 'folder/b.txt'\]",
        ),
        (zipped(), r"must hold exactly one file, but got members=\[\]"),
        (
            zipped(a=b"ab\xffc"),
            r"lyrics.zip/folder/a.txt: must be UTF-8, but got byte=0xff at offset=2",
        ),
    ],
    ids=["no zip", "damaged", "password", "two", "none", "bytes"],
)
def test_a_zip_that_will_not_do(tmp_path, content, match):
    path = tmp_path / "lyrics.zip"
    path.write_bytes(content)
    with pytest.raises(DataError, match=match):
        load("lyrics-2019", path)


def test_a_text_of_ones_own(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "Üben macht\r\nden Meister\r".encode() * 200)
    dataset = load("text", path)
    assert decoded(dataset) == "Üben macht\nden Meister\n" * 200
    assert dataset.source == f"the file {path}"


def test_a_text_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "notes.txt").write_text("again " * 400)
    assert decoded(load("text", "~/notes.txt")) == "again " * 400


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(
        DataError,
        match=r"latin.txt: must be UTF-8, but got byte=0xef at offset=2 and looks like "
        r"Windows-1252 \(Western European\)\. .*: "
        r"iconv -f CP1252 -t UTF-8 .*latin.txt > .*latin.utf8.txt$",
    ):
        load("text", path)


@pytest.mark.parametrize("corpus", ["text", "lyrics-2019"])
@pytest.mark.parametrize("name", ["absent", "~nobody-has-this-name/absent"])
def test_a_path_to_nothing(tmp_path, monkeypatch, corpus, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=rf"path: must be a readable file, but got path='{name}' \(No such file"
    ):
        load(corpus, name)


def test_a_home_is_that_of_whoever_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.txt").write_text("the time traveller " * 200)
    assert len(load("text", "~/own.txt").splits["train"]) > 20


def test_the_python_docs():
    from pydoc_data.topics import topics

    dataset = load("python-docs")
    text = decoded(dataset)
    assert len(text) == sum(map(len, topics.values())) > 100_000
    assert text.startswith(topics[min(topics)]) and text.endswith(topics[max(topics)])
    assert dataset.fingerprint == hashlib.sha256(text.encode()).hexdigest()
    assert dataset.source.endswith(
        f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    )


def test_a_python_without_its_docs(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(
        DataError,
        match="python-docs: this Python must hold the text of its own help, but got error=",
    ):
        load("python-docs")


def test_what_may_never_end_is_refused_before_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(DataError, match="a device or a pipe, which may never end"):
            load("text", path)


def test_a_text_that_memory_would_not_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.data.text.MAX_BYTES", 3)
    (tmp_path / "text.txt").write_text("four")
    with pytest.raises(DataError, match="at most 3 bytes"):
        load("text", tmp_path / "text.txt")
