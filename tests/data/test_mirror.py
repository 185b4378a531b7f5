"""A file that is missing comes from a mirror of the user's own, whole and proven or not at all."""

import hashlib
import http.client
import io
import urllib.error
import urllib.request

import pytest

from harness.data import DataError
from harness.data.mirror import bring
from harness.data.published import Published

CONTENT = b"the cell state\n" * 100_000
FILE = Published("a text.txt", "MD5", hashlib.md5(CONTENT, usedforsecurity=False).hexdigest())
ADDRESS = "https://mirror.example/texts/"


@pytest.fixture
def serve(monkeypatch):
    """Has every address answer with what is given, and returns those that were asked."""
    asked = []

    def serve(answer):
        def opened(address, timeout):
            asked.append(address)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        monkeypatch.setenv("HARNESS_MIRROR", ADDRESS)
        monkeypatch.setattr(urllib.request, "urlopen", opened)
        return asked

    return serve


def test_what_is_missing_is_copied_once(data_folder, serve, capsys):
    asked = serve(io.BytesIO(CONTENT))
    bring([FILE])
    assert [each.name for each in data_folder.iterdir()] == [FILE.name]
    assert (data_folder / FILE.name).read_bytes() == CONTENT
    bring([FILE])
    assert asked == ["https://mirror.example/texts/a%20text.txt"]
    source = f"{asked[0]} is copied to {data_folder}"
    assert capsys.readouterr().err == f"{FILE.name}: {source}\n"


class Stopped(io.BytesIO):
    """An answer whose reader stops it after its first part."""

    def __init__(self, error):
        super().__init__(CONTENT)
        self.error = error

    def read(self, size=-1):
        if self.tell():
            raise self.error
        return super().read(size)


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (io.BytesIO(b"another text"), r"%20text.txt: MD5 must be \w{32}, but got checksum='\w+'"),
        (urllib.error.URLError("no such host"), "%20text.txt: must be a file that HARNESS_MIRROR"),
        (Stopped(TimeoutError("timed out")), "but got error='timed out'. Put it there, or into"),
        (Stopped(http.client.IncompleteRead(b"")), "%20text.txt: must be a file that HARNESS_M"),
    ],
)
def test_a_file_that_cannot_be_had_is_told_and_leaves_nothing(data_folder, serve, answer, rule):
    serve(answer)
    with pytest.raises(DataError, match=rule):
        bring([FILE])
    assert list(data_folder.iterdir()) == []


def test_who_interrupts_a_copy_finds_no_half_of_it(data_folder, serve):
    serve(Stopped(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        bring([FILE])
    assert list(data_folder.iterdir()) == []


def test_a_mirror_is_an_address(data_folder, monkeypatch):
    monkeypatch.setenv("HARNESS_MIRROR", "ftp://mirror.example")
    rule = "HARNESS_MIRROR: must be the http or https address of a folder, but got 'ftp://mirror"
    with pytest.raises(DataError, match=rule):
        bring([FILE])
    monkeypatch.setenv("HARNESS_MIRROR", "")
    bring([FILE])
    assert list(data_folder.iterdir()) == []
