"""Long texts in numbers, kept on disk from one reading to the next.

A text of a hundred megabytes is read in a while, and by each process of a study; its numbers are
mapped into memory in no time, and all processes share them.
"""

import contextlib
import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.cache import cache_folder
from harness.data.errors import DataError
from harness.data.numbering import Tokens, Units
from harness.data.text import File, Text
from harness.data.tokens import Vocabulary

LEAST_BYTES = 2**22
"""A smaller text is read anew, which takes a fraction of a second."""
KEPT_SECONDS = 30 * 24 * 3600
"""What nobody has read for so long goes when something else comes."""


def provided(
    texts: Mapping[str, Text], reading: Iterable[str], read: Callable[[], Tokens]
) -> Tokens:
    """Returns the tokens of texts, from the cache or else by ``read``, which fills it.

    Where the folder cannot be written nothing is kept: the next reading takes as long.

    Args:
        texts: Only files are kept.
        reading: What else the tokens depend on.
        read: Returns them.
    """
    files = [text.pieces for text in texts.values() if isinstance(text.pieces, File)]
    if len(files) < len(texts) or not _is_long(files):
        return read()
    path = _path(files, reading)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _load(path)
    tokens = read()
    if _path(files, reading) == path:  # else a file was written to in the meantime
        with contextlib.suppress(OSError):
            _save(path, tokens)
            return _load(path)
    return tokens


def _is_long(files: Iterable[File]) -> bool:
    """Returns whether files are worth it; reading them says what is wrong with them."""
    try:
        return sum(file.num_bytes for file in files) >= LEAST_BYTES
    except DataError:
        return False


def _path(files: Iterable[File], reading: Iterable[str]) -> Path:
    names = [_code(), *reading, *(file.checksum() for file in files)]
    key = hashlib.sha256("\0".join(names).encode()).hexdigest()
    return cache_folder() / "texts" / key[:32]


def _load(path: Path) -> Tokens:
    # The header is written last.
    header: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    words, units = header.pop("vocabulary"), header.pop("units")
    # Copied where it is written to, which nobody does: torch warns of what cannot be.
    numbers = np.load(path.with_suffix(".npy"), mmap_mode="c")
    if len(numbers) != sum(header["sizes"].values()):
        raise ValueError("cache: must have all tokens of its splits.")
    path.with_suffix(".json").touch()
    return Tokens(
        numbers=numbers,
        vocabulary=Vocabulary(**{**words, "symbols": tuple(words["symbols"])}),
        units={name: Units(**each) for name, each in units.items()},
        **header,
    )


def _save(path: Path, tokens: Tokens) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.iterdir():
        whole = old.with_suffix(".json")
        newest = whole if whole.exists() else old
        if time.time() - newest.stat().st_mtime > KEPT_SECONDS:
            old.unlink(missing_ok=True)
    header = {
        "sizes": tokens.sizes,
        "vocabulary": asdict(tokens.vocabulary),
        "fingerprint": tokens.fingerprint,
        "units": {name: asdict(each) for name, each in tokens.units.items()},
    }
    _write(path.with_suffix(".npy"), lambda file: np.save(file, tokens.numbers))
    _write(path.with_suffix(".json"), lambda file: file.write(json.dumps(header).encode()))


def _write(path: Path, write: Callable[[Any], object]) -> None:
    """Writes a file that others see whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            write(file)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


@cache
def _code() -> str:
    """Returns a digest of what makes tokens of a text: the code here, and Python's blanks."""
    digest = hashlib.sha256(f"{platform.python_version()}\0".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
