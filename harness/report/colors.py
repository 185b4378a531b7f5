"""The colours of arms, which figures and MLflow's pages share."""

import functools
from collections.abc import Sequence

import numpy as np

# The hues of Okabe and Ito's palette (2008) in its order, black for the baseline. Theirs has a
# yellow, an orange and a light blue that are faint on white, so these are, near to it and within
# LUMINANCES, those farthest apart with any colour vision: docs/decisions/views.md.
COLORS = ("#000000", "#C08000", "#3878D8", "#20A050", "#B05020", "#985888", "#0898C8", "#887068")
LUMINANCES = 0.142, 0.276
"""What all but black have: at least 3 : 1 against a report's page and its boxes, light and dark."""
LEVELS = range(0, 256, 8)
"""Of red, green and blue in further colours."""
XYZ_OF_RGB = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
WHITE = XYZ_OF_RGB.sum(axis=1)
# What linear RGB becomes for most eyes, and where the pigment for red or for green is missing:
# Machado, Oliveira and Fernandes 2009, table 1, severity 1.
VISIONS = np.array(
    [
        np.eye(3),
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
    ]
)


def by_arm(arms: Sequence[str], baseline: str) -> dict[str, str]:
    """Returns each arm's colour; no two arms have the same.

    An arm keeps its colour where others are added behind it. Colour alone tells some twenty arms
    apart; where there are more, neighbours differ little, and names must tell the rest.

    Args:
        arms: All of a study's, in its order.
        baseline: Which of them is black.
    """
    names = dict.fromkeys([baseline, *arms])
    return dict(zip(names, distinct(len(names)), strict=True))


@functools.cache
def distinct(count: int) -> tuple[str, ...]:
    """Returns the first ``count`` colours: the palette, then ever the one farthest from all before.

    A distance is the least of three visions, so that a colour is far from all others to every eye.

    >>> distinct(4)
    ('#000000', '#C08000', '#3878D8', '#20A050')
    """
    chosen = list(COLORS[:count])
    if len(chosen) == count:
        return tuple(chosen)
    candidates = _candidates()
    places = seen(candidates)
    nearest = np.min([distances(places, place) for place in seen(chosen)], axis=0)
    while len(chosen) < count:
        farthest = int(nearest.argmax())
        chosen.append(candidates[farthest])
        nearest = np.minimum(nearest, distances(places, places[farthest]))
    return tuple(chosen)


def seen(colors: Sequence[str]) -> np.ndarray:
    """Returns where colours lie in CIELAB for each vision, (colours, visions, 3)."""
    linear = np.einsum("vij,cj->cvi", VISIONS, _linear(colors)).clip(0, 1)
    light = linear @ XYZ_OF_RGB.T / WHITE
    roots = np.where(light > (6 / 29) ** 3, np.cbrt(light), light * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def distances(places: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Returns how far each of several places is from one, in the vision where that is least."""
    apart: np.ndarray = np.linalg.norm(places - place, axis=-1).min(axis=-1)
    return apart


def _candidates() -> list[str]:
    grid = [
        f"#{red:02X}{green:02X}{blue:02X}" for red in LEVELS for green in LEVELS for blue in LEVELS
    ]
    luminances = _linear(grid) @ XYZ_OF_RGB[1]
    low, high = LUMINANCES
    return [color for color, y in zip(grid, luminances, strict=True) if low <= y <= high]


def _linear(colors: Sequence[str]) -> np.ndarray:
    """Returns light of red, green and blue from 0 to 1, (colours, 3), as sRGB defines them."""
    parts = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
