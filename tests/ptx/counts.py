"""What a kernel costs, as far as it can be counted: instructions, and what memory makes of them."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

WARP, BANKS, WORD, SECTOR = 32, 32, 4, 32
AT_ONCE = BANKS * WORD
"""Bytes that shared memory gives in a cycle."""


@dataclass
class Counts:
    """Sums over all warps.

    Attributes:
        issued: Operation -> how often a warp issued it.
        cycles: Operation as ``ld`` -> the cycles of shared memory that it took.
        least: Likewise, what it had taken if no two words had lain in one bank.
        sectors: Operation -> the pieces of 32 bytes of tensors that it touched.
    """

    issued: Counter = field(default_factory=Counter)
    cycles: Counter = field(default_factory=Counter)
    least: Counter = field(default_factory=Counter)
    sectors: Counter = field(default_factory=Counter)

    def __sub__(self, other: "Counts") -> "Counts":
        names = self.__dataclass_fields__
        return Counts(*(getattr(self, n) - getattr(other, n) for n in names))

    def issue(self, operation: str, warps: np.ndarray) -> None:
        """Counts an instruction of threads, whose warps are given."""
        self.issued[operation] += len(np.unique(warps))

    def access(
        self, operation: str, warps: np.ndarray, lanes: np.ndarray, offsets: np.ndarray, size: int
    ) -> None:
        """Counts an access of a block's own shared memory.

        A warp takes a turn for each 128 bytes of what its lanes ask for; a word that several lanes
        ask for, or for a half of it, is had once, and two words in one bank one after the other.
        """
        num_words = max(1, size // WORD)
        turns = warps * num_words + lanes // (AT_ONCE // size)
        words = offsets[:, None] // WORD + np.arange(num_words)
        pairs = np.unique(np.stack([np.repeat(turns, num_words), words.ravel()]), axis=1)
        of_bank, counts = np.unique(pairs[0] * BANKS + pairs[1] % BANKS, return_counts=True)
        turns_there, where = np.unique(of_bank // BANKS, return_inverse=True)
        longest = np.zeros(len(turns_there), int)
        np.maximum.at(longest, where, counts)
        self.cycles[operation] += int(longest.sum())
        self.least[operation] += len(turns_there)

    def reach(self, operation: str, warps: np.ndarray, addresses: np.ndarray, size: int) -> None:
        """Counts an access of tensors, or of another block's shared memory."""
        spans = addresses[:, None] + np.arange(0, size, min(size, SECTOR))
        pairs = np.stack([np.repeat(warps, spans.shape[1]), spans.ravel() // SECTOR])
        self.sectors[operation] += np.unique(pairs, axis=1).shape[1]
