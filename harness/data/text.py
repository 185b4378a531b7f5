"""A text that is read piece by piece, as often as it is asked for, so that none is held whole."""

import contextlib
import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from harness.data.encodings import decode, may_be_wide
from harness.data.errors import DataError
from harness.data.published import Published, absent, verify_file
from harness.data.regular_files import check_regular

MAX_BYTES = 2**31
"""So large a file may be: four bytes of memory for each word of it are at hand everywhere."""
PIECE_LENGTH = 2**18  # characters; their numbers fit a processor's cache
_BYTES = "latin-1"


class Digest(Protocol):
    """What ``hashlib`` returns, as far as it is used here."""

    def update(self, content: bytes, /) -> None:
        """Takes more of the content."""


@dataclass(frozen=True)
class Text:
    """A normalised text.

    Attributes:
        pieces: It in the lines of its source, anew whenever they are gone through.
        source: Where it comes from, in one line.
        between: What its characters have in place of a line's end.
        encoding: In which its fingerprint is taken.
    """

    pieces: Iterable[str]
    source: str
    between: str = "\n"
    encoding: str = "utf-8"

    def lined(self, digest: Digest) -> Iterator[str]:
        """Yields the pieces, and tells ``digest`` what a fingerprint of the text is made of.

        Where there is nothing between lines the fingerprint is that of the lines, since words
        would be lost.
        """
        for piece in self.pieces:
            digest.update(piece.replace("\n", self.between or "\n").encode(self.encoding))
            yield piece


def expanded(path: str) -> Path:
    """Returns a path whose ``~`` is a home; nobody's home is a name like any other."""
    with contextlib.suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def stamps(files: Iterable[Path]) -> tuple[tuple[int, int, int], ...] | None:
    """Returns what tells files from those of another time; None where one cannot be read.

    A file counts as unchanged while its size and the time of its last change are the same.
    """
    try:
        stats = [file.stat() for file in files]
    except OSError:
        return None
    return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in stats)


def of_bytes(text: Text) -> Text:
    """Returns the bytes of a text, each as the character of its number, as Latin-1 has them.

    Those of a file are all that it holds: its line ends stay as they are.
    """
    pieces = (
        replace(text.pieces, is_raw=True)
        if isinstance(text.pieces, File)
        else tuple(as_bytes(piece) for piece in text.pieces)
    )
    return replace(text, pieces=pieces, encoding=_BYTES)


def as_bytes(text: str) -> str:
    """Returns the bytes of UTF-8, each as the character of its number."""
    return text.encode().decode(_BYTES)


def from_bytes(text: str) -> str:
    """Returns the text whose bytes these are; of what is no UTF-8, the sign for it."""
    return text.encode(_BYTES).decode(errors="replace")


def between(pieces: Iterable[str], begin: int, end: int) -> Iterator[str]:
    """Yields the characters of a text from ``begin`` to ``end``."""
    position = 0
    for piece in pieces:
        if part := piece[max(0, begin - position) : max(0, end - position)]:
            yield part
        position += len(piece)


def line_start(pieces: Iterable[str], least: int) -> int:
    """Returns where the first line starts that does not start before ``least``.

    Every line of the text has an end. After the last line it is the text's length.
    """
    if least == 0:
        return 0
    position = 0
    for piece in pieces:
        end = piece.find("\n", max(0, least - 1 - position))
        if end >= 0:
            return position + end + 1
        position += len(piece)
    return position


def ended(pieces: Iterable[str]) -> Iterator[str]:
    """Yields pieces whose last line is ended too, as the others are."""
    last = "\n"
    for piece in pieces:
        last = piece[-1:] or last
        yield piece
    if last != "\n":
        yield "\n"


def lines_of(pieces: Iterable[str]) -> Iterator[list[str]]:
    """Yields the lines of a text without their ends, many at a time."""
    begun: list[str] = []
    for piece in pieces:
        first, *others = piece.split("\n")
        begun.append(first)
        if others:
            yield ["".join(begun), *others[:-1]]
            begun = others[-1:]
    yield ["".join(begun)]


@dataclass(frozen=True)
class Stripped:
    """The pieces of a text, without the blanks around its lines.

    Attributes:
        pieces: The text's; they can be gone through again.
    """

    pieces: Iterable[str]

    def __iter__(self) -> Iterator[str]:
        """Yields the pieces."""
        before = ""
        for lines in lines_of(self.pieces):
            yield before + "\n".join(line.strip(" ") for line in lines)
            before = "\n"


@dataclass(frozen=True)
class File:
    """The pieces of a file in UTF-8, with newlines for whatever ends its lines.

    A mark of the encoding at its start is left out.

    Attributes:
        path: Where it lies.
        field: The field of the settings that names it.
        is_raw: Whether it is read as bytes, each as the character of its number.
        published: What it must be; None: whatever it is.
        address: Where that is to be had.
        member: The file in it that is read, where it is a zip; None: it is read itself.
    """

    path: str
    field: str
    is_raw: bool = False
    published: Published | None = None
    address: str = ""
    member: str | None = None

    def __iter__(self) -> Iterator[str]:
        """Yields the pieces.

        Raises:
            DataError: There is no such file, it is not in UTF-8, or not what was published.
        """
        encoding, newline = (_BYTES, "") if self.is_raw else ("utf-8-sig", None)
        try:
            with self._opened() as file:
                begin = file.read(PIECE_LENGTH)
            if not self.is_raw and may_be_wide(begin):
                self._complain()
            with self._opened() as file:
                text = io.TextIOWrapper(file, encoding, newline=newline)
                yield from iter(partial(text.read, PIECE_LENGTH), "")
        except UnicodeDecodeError:
            self._complain()
            raise
        except OSError as error:
            raise self._unreadable(error) from error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        path = self.place()
        if self.published is not None:
            verify_file(self.published, path)
        if self.member is None:
            with path.open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(path) as archive, archive.open(self.member) as file:
                yield file

    def _complain(self) -> None:
        """Raises the error of a content that is not in UTF-8; returns where it is."""
        with self._opened() as file:
            decode(file.read(), self.path, file=self.path)

    def read_bytes(self) -> bytes:
        """Returns the content; raises a DataError where there is none."""
        try:
            return self.place().read_bytes()
        except OSError as error:
            raise self._unreadable(error) from error

    def checksum(self) -> str:
        """Returns the SHA-256 of the content; raises a DataError where there is none."""
        try:
            with self.place().open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() + (self.member or "")
        except OSError as error:
            raise self._unreadable(error) from error

    @property
    def num_bytes(self) -> int:
        """The size of the content; a DataError is raised where there is none."""
        return self.place().stat().st_size

    def place(self) -> Path:
        """Returns where it lies; raises a DataError where there is none."""
        path = expanded(self.path)
        try:
            found = path.stat()
        except FileNotFoundError as error:
            if self.published is None:
                raise self._unreadable(error) from error
            more = f"It is published at {self.address}."
            raise absent(self.published, path, more) from error
        except OSError as error:
            raise self._unreadable(error) from error
        check_regular(found, self.field, self.path, MAX_BYTES, held="its tokens are")
        return path

    def _unreadable(self, error: OSError) -> DataError:
        return DataError(
            f"{self.field}: must be a readable file, but got path={self.path!r} "
            f"({error.strerror}). Correct it."
        )
