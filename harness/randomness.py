"""Draws without history: every draw is a pure function of names.

A name is hashed with SHA-256 to the key of a counter-based generator (Philox 4x64-10, Salmon et al.
2011), of which only the raw 64-bit words are used: NumPy promises those for ever, and its
distributions not (NEP 19).
"""

import hashlib
import json

import numpy as np

Name = str | int


def key(*names: Name) -> int:
    """Returns a 128-bit key, the same in every process and on every machine."""
    digest = hashlib.sha256(json.dumps(names, ensure_ascii=True).encode("ascii")).digest()
    return int.from_bytes(digest[:16], "little")


def _words(names: tuple[Name, ...], count: int) -> np.ndarray:
    return np.random.Philox(key=key(*names)).random_raw(count)


def uniform(*names: Name, shape: tuple[int, ...]) -> np.ndarray:
    """Returns float64 draws from [0, 1), 53 bits each, of ``shape``."""
    words = _words(names, int(np.prod(shape)))
    return ((words >> np.uint64(11)) * 2.0**-53).reshape(shape)


def normal(*names: Name, shape: tuple[int, ...]) -> np.ndarray:
    """Returns float64 draws from N(0, 1) of ``shape`` (Box and Muller 1958)."""
    count = int(np.prod(shape))
    half = (count + 1) // 2
    u = uniform(*names, shape=(2, half))
    radius = np.sqrt(-2.0 * np.log1p(-u[0]))  # 1 - u is in (0, 1]: the logarithm is finite
    angle = 2.0 * np.pi * u[1]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].reshape(shape)


def integer(*names: Name, high: int) -> int:
    """Returns one draw from 0 to ``high``, both included."""
    return int(uniform(*names, shape=(1,))[0] * (high + 1))


def permutation(*names: Name, count: int) -> np.ndarray:
    """Returns 0 to ``count`` - 1 in a random order."""
    return np.argsort(_words(names, count), kind="stable")
