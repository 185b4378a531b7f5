"""Arrays of bytes in the IDX format, in which MNIST is published."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from harness.data.errors import DataError
from harness.data.text import expanded

_GZIP = b"\x1f\x8b"
_UNSIGNED_BYTES = 0x08
_KINDS = {3: "images", 1: "labels"}
"""Number of dimensions -> what is kept with so many."""


def read_pair(folder: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels, uint8 (N, rows, columns) and (N,).

    Args:
        folder: Where the two files lie, as published or unpacked.
        part: What their names begin with: ``train`` or ``t10k``.

    Raises:
        DataError: A file is not there, not of this format, or the two do not belong together. The
            message has a line for each problem.
    """
    problems, arrays = [], []
    for num_dimensions in (3, 1):
        try:
            arrays.append(_read(_find(folder, part, num_dimensions), num_dimensions))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(*problems)
    images, labels = arrays
    if len(images) != len(labels) or not images.size:
        raise DataError(
            f"path: {part} must have as many labels as images, at least one, and pixels in them, "
            f"but got {len(labels):,} labels and images={images.shape} in {folder!r}. "
            "Put files there that belong together."
        )
    return images, labels


def _find(folder: str, part: str, num_dimensions: int) -> Path:
    kind = _KINDS[num_dimensions]
    stem = expanded(folder)
    names = [f"{part}-{kind}{sign}idx{num_dimensions}-ubyte" for sign in "-."]
    for name in [*names, *(f"{name}.gz" for name in names)]:
        if (stem / name).is_file():
            return stem / name
    raise DataError(
        f"path: must be a folder with the file {names[0]} or {names[0]}.gz, but got no such file "
        f"in path={folder!r}. Put the published files there."
    )


def _read(path: Path, num_dimensions: int) -> np.ndarray:
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: must be a readable file, but got error={str(error)!r}. "
            "Put the published file there again."
        ) from error
    kind, begin = _KINDS[num_dimensions], 4 * (1 + num_dimensions)
    mark = bytes([0, 0, _UNSIGNED_BYTES, num_dimensions])
    if content[:4] != mark or len(content) < begin:
        raise DataError(
            f"{path}: must begin with the bytes {mark.hex()} and {num_dimensions} sizes, as {kind} "
            f"in the IDX format do, but got {content[:4].hex()!r} and {len(content):,} bytes. "
            "Put the published file there."
        )
    shape = tuple(np.frombuffer(content, ">u4", num_dimensions, offset=4).tolist())
    if len(content) - begin != math.prod(shape):
        raise DataError(
            f"{path}: must hold {math.prod(shape):,} bytes after its sizes {shape}, but got "
            f"{len(content) - begin:,}. It was cut, or something was appended: "
            "put the published file there again."
        )
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)
