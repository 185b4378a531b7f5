"""The corpora: where each text comes from, and how it is normalised.

The editions of 2019 and 2022 are those of Dive into Deep Learning, which a reproduction must equal
to the character.
"""

import io
import platform
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from harness.data import published
from harness.data.encodings import decode
from harness.data.errors import DataError
from harness.data.published import Published
from harness.data.standard import STANDARD
from harness.data.text import File, Text
from harness.settings import Paths, Settings, Token

TIME_MACHINE = Published(
    name="timemachine.txt",
    algorithm="SHA-256",
    checksum="8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516",
)
TIME_MACHINE_ADDRESS = "http://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt"
"""Where the shipped copy was published."""
GENESIS = Published(
    name="genesis.txt",
    algorithm="SHA-256",
    checksum="8f2e007ff6ef0dbbdb367d7221e6a5f1498f4b268e33c9ee9b362a83636fcd05",
)
LYRICS = Published(  # copyrighted: the user brings it
    name="jaychou_lyrics.txt.zip",
    algorithm="SHA-1",
    checksum="9529987e701a4f37048ab778270a5dde9a762a0b",
)
LINE_END = "<eos>"
"""The word that ends a line that is a sequence of its own, where neither study nor corpus says."""
_EDITION_LENGTH = 10_000  # characters (2019) or tokens (2022) that the editions keep


@dataclass(frozen=True)
class Corpus:
    """How a corpus is read, and what it asks of the settings.

    Attributes:
        description: What it is, in one line.
        read: Returns its text, or those of its splits by their names.
        takes_path: Whether a study may name its file.
        needs_path: Whether it must.
        takes_paths: Whether it may name a file of each split.
        tokens: What it can be read as, the usual first.
        num_tokens: Marks an edition whose vocabulary is its own: ``<unk>`` and all the tokens of
            its text by falling frequency, made before the first ``num_tokens`` are kept.
        line_end: The word that stands for a line's end where a study names none; None: none does.
        cuts: Where validation and test text begin, in percent.
        has_parts: Whether ``read`` returns the texts of its splits.
    """

    description: str
    read: Callable[[str | None], Text | Mapping[str, Text]]
    takes_path: bool = False
    needs_path: bool = False
    takes_paths: bool = False
    tokens: tuple[Token, ...] = get_args(Token)
    num_tokens: int | None = None
    line_end: str | None = None
    cuts: tuple[int, int] = (80, 90)
    has_parts: bool = False


def _in_one_line(text: str, source: str) -> Text:
    return Text((text.replace("\r", " "),), source, between=" ")


def _time_machine() -> str:
    return published.read_shipped(TIME_MACHINE).decode("ascii")


def _genesis(path: str | None) -> Text:
    text = published.read_shipped(GENESIS).decode("ascii").lower()
    return _in_one_line(text, "Genesis, King James Version, of Debian's bible-kjv-text 4.38")


def _whole_book(path: str | None) -> Text:
    return _in_one_line(_time_machine().lower(), f"The Time Machine, whole, {TIME_MACHINE_ADDRESS}")


def _book_2019(path: str | None) -> Text:
    return _in_one_line(
        _time_machine().lower()[:_EDITION_LENGTH],
        f"The Time Machine, first {_EDITION_LENGTH} characters, {TIME_MACHINE_ADDRESS}",
    )


def _book_2022(path: str | None) -> Text:
    lines = [
        re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in _time_machine().split("\n")
    ]
    source = (
        f"The Time Machine, letters only, first {_EDITION_LENGTH} tokens, {TIME_MACHINE_ADDRESS}"
    )
    return Text(("\n".join(lines),), source, between="")  # glued, as published


def _lyrics_2019(path: str | None) -> Text:
    if path is None:
        from harness.data.mirror import bring  # imported late: a study is read without it

        bring([LYRICS])
    content = published.read_own(LYRICS) if path is None else File(path, "path").read_bytes()
    where = path or LYRICS.name
    member, content = _only_member(content, where)
    text = decode(content, f"{where}/{member}", file=Path(member).name)
    return _in_one_line(
        text[:_EDITION_LENGTH],
        f"lyrics, first {_EDITION_LENGTH} characters of {where}/{member}",
    )


def _only_member(content: bytes, where: str) -> tuple[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [m.filename for m in archive.infolist() if not m.is_dir()]
            if len(members) == 1:
                return members[0], archive.read(members[0])
    # A RuntimeError is a password or a compression that Python lacks.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(
            f"{where}: must be a readable zip, but got error={str(error)!r}. "
            "Zip the text file anew, without a password."
        ) from error
    raise DataError(
        f"{where}: must hold exactly one file, but got {members=}. Zip the text file alone, "
        "or unpack it and use corpus: text."
    )


def _text(path: str | None) -> Text:
    assert path is not None  # needs_path
    return Text(File(path, "path"), f"the file {path}")


def line_end(settings: Settings) -> str | None:
    """Returns the token that stands for a line's end, by the settings or else by the corpus."""
    if settings.line_end is not None or settings.token not in ("word", "subword"):
        return settings.line_end
    return BY_NAME[settings.corpus].line_end or (LINE_END if settings.reads_lines else None)


def text_in_three(paths: Paths) -> dict[str, Text]:
    """Returns the text of each split, which has a file of its own."""
    return {
        name: Text(File(path, f"paths.{name}"), f"the file {path}")
        for name, path in vars(paths).items()
    }


def _python_docs(path: str | None) -> Text:
    try:
        from pydoc_data.topics import topics  # imported late: some Pythons come without
    except ImportError as error:
        raise DataError(
            "python-docs: this Python must hold the text of its own help, "
            f"but got error={str(error)!r}. Use another corpus, or a Python with pydoc_data."
        ) from error
    text = "".join(topics[name] for name in sorted(topics))
    version = f"{platform.python_implementation()} {platform.python_version()}"
    return Text((text,), f"pydoc_data.topics of {version}")


BY_NAME = {
    "time-machine": Corpus(
        "The Time Machine (H. G. Wells), whole: lower case, in one line", _whole_book
    ),
    "time-machine-2019": Corpus(
        "its first 10,000 characters: lower case, in one line; char tokens only",
        _book_2019,
        tokens=("char",),
    ),
    "time-machine-2022": Corpus(
        "its first 10,000 tokens: lower-case letters and blanks, nothing between lines, with <unk>",
        _book_2022,
        tokens=("char", "word"),
        num_tokens=_EDITION_LENGTH,
    ),
    "genesis": Corpus(
        "the book of Genesis (King James Version), whole: lower case, in one line", _genesis
    ),
    "lyrics-2019": Corpus(
        "the first 10,000 characters of your own zip of lyrics: "
        "case kept, in one line; char tokens only",
        _lyrics_2019,
        takes_path=True,
        tokens=("char",),
    ),
    "python-docs": Corpus(
        "the English help texts of the Python that runs: another text with each version",
        _python_docs,
    ),
    **{
        name: Corpus(
            f"{each.description}; you bring it",
            each.read,
            tokens=each.tokens,
            line_end=each.line_end,
            cuts=(90, 95),
            has_parts=each.has_parts,
        )
        for name, each in STANDARD.items()
    },
    "text": Corpus(
        "a file of your own in UTF-8, as it is (line ends become \\n)",
        _text,
        takes_path=True,
        needs_path=True,
        takes_paths=True,
    ),
}

CORPORA = {name: corpus.description for name, corpus in BY_NAME.items()}
"""Corpus -> its description in one line."""
