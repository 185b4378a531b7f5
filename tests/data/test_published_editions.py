import hashlib
import re
import sys
from types import SimpleNamespace

import pytest

from harness.data import DataError, corpora, published
from harness.data.published import Published

CONTENT = b"It was a dark and stormy night.\n" * 40
STORY = Published("story.txt", "SHA-256", hashlib.sha256(CONTENT).hexdigest())


def test_reads_what_the_user_brought_and_only_reads(data_folder):
    (data_folder / "story.txt").write_bytes(CONTENT)
    (data_folder / "story.txt").chmod(0o400)
    data_folder.chmod(0o500)
    before = data_folder.stat().st_mtime_ns
    try:
        assert published.read_own(STORY) == CONTENT
        assert data_folder.stat().st_mtime_ns == before
    finally:
        data_folder.chmod(0o700)


def test_a_file_that_nobody_brought(data_folder):
    with pytest.raises(DataError, match="must be there, but got no such file.*with path") as caught:
        published.read_own(STORY)
    for needed in ("story.txt", STORY.checksum, str(data_folder), "HARNESS_DATA"):
        assert needed in str(caught.value)


def test_a_wrong_checksum_in_the_folder(data_folder):
    (data_folder / "story.txt").write_bytes(CONTENT + b"x")
    with pytest.raises(
        DataError,
        match=r"story\.txt: SHA-256 must be \w{64}, but got checksum='\w{64}'\. Remove it",
    ):
        published.read_own(STORY)


def test_a_name_that_cannot_be_read(data_folder):
    (data_folder / "story.txt").mkdir()
    with pytest.raises(
        DataError, match=re.escape("story.txt: must be a readable file, but got error=")
    ):
        published.read_own(STORY)


@pytest.fixture(autouse=True)
def without_a_named_cache(monkeypatch):
    monkeypatch.delenv("HARNESS_CACHE", raising=False)


def test_a_named_cache_is_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    assert published.data_folder() == tmp_path / "cache"


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HARNESS_DATA", "~/texts")
    assert published.data_folder() == tmp_path / "texts"
    monkeypatch.setenv("HARNESS_DATA", "")
    monkeypatch.setitem(sys.modules, "platformdirs", None)  # as on a machine that lacks it
    assert published.data_folder() == tmp_path / ".cache" / "harness"


def test_the_platforms_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    platformdirs = SimpleNamespace(
        user_cache_path=lambda name, appauthor: tmp_path / name
    )  # it may not be installed
    monkeypatch.setitem(sys.modules, "platformdirs", platformdirs)
    assert published.data_folder() == tmp_path / "harness"


def test_the_shipped_book_is_the_published_one(time_machine):
    assert len(time_machine) == 178_979
    assert hashlib.sha1(time_machine).hexdigest() == "090b5e7e70c295757f55df93cb0a180b9691891a"


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda book: book.replace(b"\n", b"\r\n"), "SHA-256 must be .*, but got checksum="),
        (None, "must be a readable file, but got error="),
    ],
    ids=["line ends", "missing"],
)
def test_a_damaged_installation(tmp_path, monkeypatch, time_machine, damage, match):
    monkeypatch.setattr(published, "SHIPPED", tmp_path)
    if damage is not None:
        (tmp_path / "timemachine.txt").write_bytes(damage(time_machine))
    with pytest.raises(DataError, match=f"timemachine.txt: {match}.*install the bench again"):
        published.read_shipped(corpora.TIME_MACHINE)
