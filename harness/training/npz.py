"""Arrays and a header of JSON values as one file: NumPy's npz, without pickle.

It can be read with NumPy alone.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

HEADER = "__header__"


class ArraysError(ValueError):
    """A file is damaged, or was not written by :func:`to_bytes`."""


def to_bytes(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns the file; equal values give equal bytes."""
    content = io.BytesIO()
    named: dict[str, Any] = {
        HEADER: np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        **arrays,
    }
    np.savez(content, **named)
    return content.getvalue()


def from_bytes(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the header and the arrays.

    Raises:
        ArraysError: They cannot be read.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            header = json.loads(file[HEADER].tobytes())
            return header, {name: file[name] for name in file.files if name != HEADER}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ArraysError(
            f"arrays: must be a whole npz with a header, but got error={str(error)!r}."
        ) from error
