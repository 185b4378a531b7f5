"""MNIST, from the user's files, read pixel by pixel."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from harness import randomness
from harness.data.errors import DataError
from harness.data.sequences import Level, Sequences, idx
from harness.data.sequences.images import read_pixels
from harness.data.sequences.levels import entropy
from harness.data.sequences.options import check_length, check_options, switch, text
from harness.randomness import Name

Split = Literal["train", "validation", "test"]

VALIDATION_DIVISOR = 6
"""Of the training files one image in so many is for validation, and these are the last ones."""


@dataclass(frozen=True)
class Mnist:
    """Which digit an image of MNIST shows, at the last step.

    A step reads a pixel, from 0 to 1, row by row, or in an order that was drawn once. Images are
    drawn without replacement until all have been drawn, and then anew. In a longer sequence zeros
    follow the image. Any files of this format do, such as those of Fashion-MNIST.

    Attributes:
        path: The folder of the four files: images and labels of ``train`` and of ``t10k``, as
            published or unpacked.
        permuted: Whether pixels are read in a random order, always the same.
        split: Which images are drawn: ``test`` are those of ``t10k``, ``validation`` the last sixth
            of ``train``.

    Source: Y. LeCun and others 1998, "Gradient-based learning applied to document recognition";
    pixel by pixel and permuted: Q. Le, N. Jaitly and G. Hinton 2015, "A simple way to initialize
    recurrent networks of rectified linear units".
    """

    name: ClassVar[str] = "mnist"
    description: ClassVar[str] = "which digit an image of MNIST shows, read pixel by pixel"
    num_inputs: ClassVar[int] = 1
    num_outputs: ClassVar[int] = 10
    reads_tokens: ClassVar[bool] = False
    predicts_classes: ClassVar[bool] = True

    path: str = text(doc="the folder of the four files of MNIST")
    permuted: bool = switch(doc="whether pixels are read in a random order, always the same")
    split: Split = "train"

    def __post_init__(self) -> None:
        check_options(self.name, self)
        assert len(self._data) == 2  # they are read now, so that a wrong file is told now

    @functools.cached_property
    def _data(self) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of the split, uint8 (N, pixels) and int64 (N,)."""
        images, labels = idx.read_pair(self.path, "t10k" if self.split == "test" else "train")
        if labels.max() >= self.num_outputs:
            raise DataError(
                f"path: labels from 0 to 9 must hold, but got label={labels.max()} in "
                f"{self.path!r}. Put files there that have ten classes."
            )
        first_held = len(labels) - len(labels) // VALIDATION_DIVISOR
        kept = {
            "train": slice(0, first_held),
            "validation": slice(first_held, None),
            "test": slice(0, None),
        }[self.split]
        images, labels = images.reshape(len(images), -1)[kept], labels[kept].astype(np.int64)
        if len(labels) == 0:
            raise DataError(
                f"mnist: {self.split} must have an image, but has none; of the training files' "
                "images the last sixth is for validation. Name files with six images or more."
            )
        return images, labels

    def draw(self, seed: Sequence[Name], count: int, length: int) -> Sequences:
        """Returns ``count`` sequences; raises a DataError for fewer steps than pixels."""
        self._check(length)
        images, labels = self._data
        size = len(labels)
        orders = [
            randomness.permutation(*seed, "images", number, count=size)
            for number in range(-(-count // size))
        ]
        chosen = np.concatenate([np.zeros(0, dtype=np.int64), *orders])[:count]
        return read_pixels(images[chosen] / 255.0, labels[chosen], length, permuted=self.permuted)

    def chance(self, length: int) -> Level:
        """Returns the score of who knows how frequent the digits of the split are."""
        self._check(length)
        _, labels = self._data
        shares = np.bincount(labels, minlength=self.num_outputs) / len(labels)
        return Level(float(entropy(shares)), float(shares.max()))

    def floor(self, length: int) -> None:
        """Returns None: nobody knows how well digits can be told apart."""
        self._check(length)

    def _check(self, length: int) -> None:
        num_pixels = self._data[0].shape[1]
        why = f"an image has {num_pixels:,} pixels"
        check_length(self.name, length, least=num_pixels, why=why)
