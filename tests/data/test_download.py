import hashlib
import os
import re
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.data import DataError, corpora, download
from harness.data.download import Published

CONTENT = b"It was a dark and stormy night.\n" * 40


def published(address, content=CONTENT):
    return Published(
        "story.txt", len(content), "SHA-256", hashlib.sha256(content).hexdigest(), address
    )


def test_downloads_once_and_then_reads_the_copy(server, data_folder):
    server.pages["/story.txt"] = (CONTENT, len(CONTENT))
    file = published(f"{server.address}/story.txt")
    assert download.read(file) == CONTENT
    assert [p.name for p in data_folder.iterdir()] == ["story.txt"]
    assert download.read(file) == CONTENT
    assert server.requests == ["/story.txt"]


def test_makes_the_folder(server, data_folder, monkeypatch):
    server.pages["/story.txt"] = (CONTENT, len(CONTENT))
    monkeypatch.setenv("HARNESS_DATA", str(data_folder / "new" / "folder"))
    download.read(published(f"{server.address}/story.txt"))
    assert (data_folder / "new" / "folder" / "story.txt").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "length"),
    [
        (b"<html>Please log in</html>", 26),
        (CONTENT + b"more", len(CONTENT) + 4),
        (CONTENT[:50], len(CONTENT)),
    ],
    ids=["another page", "longer", "cut off"],
)
def test_wrong_content_leaves_nothing_behind(server, data_folder, content, length):
    server.pages["/story.txt"] = (content, length)
    file = published(f"{server.address}/story.txt")
    with pytest.raises(DataError) as caught:
        download.read(file)
    assert list(data_folder.iterdir()) == []
    if length == len(content):  # cut off, either the connection or the checksum is what complains
        got = hashlib.sha256(content[: len(CONTENT) + 1]).hexdigest()
        assert f"SHA-256 must be {file.checksum}, but got checksum='{got}'" in str(caught.value)


@pytest.mark.parametrize("cause", ["refused", "404"])
def test_no_network_says_what_to_do(server, data_folder, cause):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        refused = f"http://127.0.0.1:{silent.getsockname()[1]}"
        file = published(f"{refused if cause == 'refused' else server.address}/story.txt")
        with pytest.raises(DataError, match="must be there, or come from http") as caught:
            download.read(file)
    message = str(caught.value)
    assert ("refused" in message) if cause == "refused" else ("404" in message)
    for needed in ("story.txt", file.checksum, file.address, str(data_folder), "HARNESS_DATA"):
        assert needed in message
    assert list(data_folder.iterdir()) == []


def test_a_file_without_address_must_be_there(data_folder):
    with pytest.raises(
        DataError, match="must be there, but got no such file, and none may be fetched.*with path"
    ):
        download.read(published(None))


def test_a_read_only_folder_is_only_read(data_folder):
    (data_folder / "story.txt").write_bytes(CONTENT)
    (data_folder / "story.txt").chmod(0o400)
    data_folder.chmod(0o500)
    before = data_folder.stat().st_mtime_ns
    try:
        assert download.read(published(None)) == CONTENT
        assert data_folder.stat().st_mtime_ns == before
    finally:
        data_folder.chmod(0o700)


def test_a_wrong_checksum_in_the_folder(server, data_folder):
    (data_folder / "story.txt").write_bytes(CONTENT + b"x")
    with pytest.raises(
        DataError,
        match=r"story\.txt: SHA-256 must be \w{64}, but got checksum='\w{64}'\. Remove it",
    ):
        download.read(published(f"{server.address}/story.txt"))
    assert server.requests == []


def test_a_name_that_cannot_be_read(data_folder):
    (data_folder / "story.txt").mkdir()
    with pytest.raises(
        DataError, match=re.escape("story.txt: must be a readable file, but got error=")
    ):
        download.read(published(None))


def test_a_folder_that_cannot_be_written(server, data_folder, monkeypatch):
    server.pages["/story.txt"] = (CONTENT, len(CONTENT))

    def refuse(source, target):
        assert Path(source).read_bytes() == CONTENT
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(
        DataError, match="must be writable to keep the download, but got error=.*Permission denied"
    ):
        download.read(published(f"{server.address}/story.txt"))
    assert list(data_folder.iterdir()) == []


@pytest.fixture(autouse=True)
def without_a_named_cache(monkeypatch):
    monkeypatch.delenv("HARNESS_CACHE", raising=False)


def test_a_named_cache_is_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    assert download.data_folder() == tmp_path / "cache"


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HARNESS_DATA", "~/texts")
    assert download.data_folder() == tmp_path / "texts"
    monkeypatch.setenv("HARNESS_DATA", "")
    monkeypatch.setitem(sys.modules, "platformdirs", None)  # as on a machine that lacks it
    assert download.data_folder() == tmp_path / ".cache" / "harness"


def test_the_platforms_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    platformdirs = SimpleNamespace(
        user_cache_path=lambda name, appauthor: tmp_path / name
    )  # it may not be installed
    monkeypatch.setitem(sys.modules, "platformdirs", platformdirs)
    assert download.data_folder() == tmp_path / "harness"


def test_the_published_files(time_machine):
    assert len(time_machine) == corpora.TIME_MACHINE.num_bytes
    assert hashlib.sha1(time_machine).hexdigest() == "090b5e7e70c295757f55df93cb0a180b9691891a"
    assert download.read(corpora.TIME_MACHINE) == time_machine
