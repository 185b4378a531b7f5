"""Images that are read pixel by pixel, and shapes that are generated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness import randomness
from harness.data.sequences import Level, Sequences
from harness.data.sequences.draws import integers
from harness.data.sequences.levels import PERFECT, uniform_guess
from harness.data.sequences.options import check_length, check_options, switch, whole
from harness.randomness import Name

Shape = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

SHAPES: dict[str, Shape] = {
    "horizontal line": lambda down, right, radius: (down == 0) & (abs(right) <= radius),
    "vertical line": lambda down, right, radius: (right == 0) & (abs(down) <= radius),
    "plus": lambda down, right, radius: (
        (down * right == 0) & (np.maximum(abs(down), abs(right)) <= radius)
    ),
    "square": lambda down, right, radius: np.maximum(abs(down), abs(right)) == radius,
    "diamond": lambda down, right, radius: abs(down) + abs(right) == radius,
    "falling diagonal": lambda down, right, radius: (down == right) & (abs(down) <= radius),
    "rising diagonal": lambda down, right, radius: (down == -right) & (abs(down) <= radius),
    "cross": lambda down, right, radius: (abs(down) == abs(right)) & (abs(down) <= radius),
}
"""Shape -> which pixels it has, given how far down and right of its centre they are."""
LEAST_RADIUS = 2
"""A smaller square and a smaller cross would be told from others by a single pixel."""
NOISE = 0.4
"""Largest size of the noise: less than half a pixel, so that no image can be mistaken."""


@dataclass(frozen=True)
class Pixels:
    """Which shape an image of ``side`` times ``side`` pixels shows, at the last step.

    A step reads a pixel, row by row, or in an order that was drawn once. A shape has a random place
    and size. Noise of up to 0.4 lies over its pixels, 1, and the background, 0; so no image can be
    mistaken, and the difficulty is the memory's. In a longer sequence zeros follow the image.

    Source: Q. Le, N. Jaitly and G. Hinton 2015, "A simple way to initialize recurrent networks of
    rectified linear units", with images of our own; the steps after an image as B. Chang and
    others 2019, "AntisymmetricRNN".
    """

    name: ClassVar[str] = "pixels"
    description: ClassVar[str] = "which of several shapes an image shows, read pixel by pixel"
    num_inputs: ClassVar[int] = 1
    reads_tokens: ClassVar[bool] = False
    predicts_classes: ClassVar[bool] = True

    classes: int = whole(4, least=2, most=len(SHAPES), doc=f"the first of: {', '.join(SHAPES)}")
    side: int = whole(8, least=2 * LEAST_RADIUS + 1, most=1_024, doc="pixels of a row and a column")
    permuted: bool = switch(doc="whether pixels are read in a random order, always the same")

    def __post_init__(self) -> None:
        check_options(self.name, self)

    @property
    def num_outputs(self) -> int:
        """The shapes."""
        return self.classes

    def draw(self, seed: Sequence[Name], count: int, length: int) -> Sequences:
        """Returns ``count`` sequences; raises a DataError for fewer steps than pixels."""
        self._check(length)
        shapes = integers(*seed, "shapes", below=self.classes, shape=(count,))
        images = _drawn(seed, shapes, self.side)
        noise = randomness.uniform(*seed, "noise", shape=images.shape)
        pixels = (images + NOISE * (2.0 * noise - 1.0)).reshape(count, self.side**2)
        return read_pixels(pixels, shapes, length, permuted=self.permuted)

    def chance(self, length: int) -> Level:
        """Returns the score of a guess among the shapes."""
        self._check(length)
        return uniform_guess(self.classes)

    def floor(self, length: int) -> Level:
        """Returns the score of who sees the image whole."""
        self._check(length)
        return PERFECT

    def _check(self, length: int) -> None:
        why = f"an image has {self.side}^2 pixels"
        check_length(self.name, length, least=self.side**2, why=why)


def _drawn(seed: Sequence[Name], shapes: np.ndarray, side: int) -> np.ndarray:
    """Returns bool (S, side, side): an image of each shape, which lies in it whole."""
    count = len(shapes)
    most = (side - 1) // 2
    radii = LEAST_RADIUS + integers(*seed, "radii", below=most - LEAST_RADIUS + 1, shape=(count,))
    places = randomness.uniform(*seed, "centres", shape=(2, count))
    centres = radii + (places * (side - 2 * radii)).astype(np.int64)
    down, right = np.arange(side) - centres[..., None]
    images = np.empty((count, side, side), dtype=np.bool_)
    for number, shape in enumerate(SHAPES.values()):
        chosen = shapes == number
        images[chosen] = shape(
            down[chosen, :, None], right[chosen, None, :], radii[chosen, None, None]
        )
    return images


def read_pixels(
    pixels: np.ndarray, labels: np.ndarray, length: int, *, permuted: bool
) -> Sequences:
    """Returns the sequences of images: a pixel a step, then zeros; the label at the last step.

    Args:
        pixels: (S, pixels of an image), row by row.
        labels: (S,), int64.
        length: T, at least as many as the pixels.
        permuted: Whether pixels are read in a random order, the same for all images of a size.
    """
    count, num_pixels = pixels.shape
    if permuted:
        pixels = pixels[:, randomness.permutation("permuted pixels", count=num_pixels)]
    inputs, weights = np.zeros((count, length, 1)), np.zeros((count, length))
    targets = np.zeros((count, length), dtype=np.int64)
    inputs[:, :num_pixels, 0] = pixels
    targets[:, -1], weights[:, -1] = labels, 1.0
    return Sequences(inputs, targets, weights)
