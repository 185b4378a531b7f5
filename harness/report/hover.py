"""What a page tells of a figure under the pointer: points with their values, and the axes' scales.

Matplotlib draws the SVG; the page's script knows of it only what stands here.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

POINTS_PER_INCH = 72.0
"""Of an SVG that matplotlib writes."""


class Point(NamedTuple):
    """A place in the data of some axes, and what is told there."""

    axes: Axes
    x: float
    y: float
    text: str


class Place(NamedTuple):
    """A place in the SVG, and what is told there."""

    x: float
    y: float
    text: str


class Scale(NamedTuple):
    """The box of some axes in the SVG, and the numbers at its ends.

    A ``kind`` is ``linear``, ``log``, or ``names``, of which there is nothing to compute.
    """

    left: float
    bottom: float
    right: float
    top: float
    x_kind: str
    x_low: float
    x_high: float
    y_kind: str
    y_low: float
    y_high: float


def places(figure: Figure, points: Iterable[Point]) -> list[Place]:
    """Returns the points that the figure shows, once it is drawn; those outside are left out."""
    found = []
    for axes, x, y, text in points:
        (x_low, x_high), (y_low, y_high) = map(sorted, (axes.get_xlim(), axes.get_ylim()))
        if not (x_low <= x <= x_high and y_low <= y <= y_high):
            continue
        across, up = axes.transData.transform((x, y))
        found.append(Place(*_in_svg(figure, across, up), text))
    return found


def scales(figure: Figure) -> list[Scale]:
    """Returns the scales of the axes whose numbers are numbers, once the figure is drawn."""
    found = []
    for axes in figure.axes:
        if not axes.axison:
            continue
        box = axes.get_window_extent()
        left, bottom = _in_svg(figure, box.x0, box.y0)
        right, top = _in_svg(figure, box.x1, box.y1)
        x, y = (_kind(axes.xaxis), *axes.get_xlim()), (_kind(axes.yaxis), *axes.get_ylim())
        found.append(Scale(left, bottom, right, top, *x, *y))
    return found


def _kind(axis: Axis) -> str:
    return "names" if isinstance(axis.get_major_locator(), FixedLocator) else axis.get_scale()


def _in_svg(figure: Figure, across: float, up: float) -> tuple[float, float]:
    """Returns the place of a pixel in the SVG, whose vertical axis goes down."""
    scale = POINTS_PER_INCH / figure.dpi
    height = figure.get_figheight() * POINTS_PER_INCH
    return round(across * scale, 1), round(height - up * scale, 1)


def along(axes: Axes, x: Iterable[float], y: Iterable[float], texts: Iterable[str]) -> list[Point]:
    """Returns a point for each pair of numbers that are finite."""
    return [
        Point(axes, float(a), float(b), text)
        for a, b, text in zip(np.asarray(x), np.asarray(y), texts, strict=True)
        if math.isfinite(a) and math.isfinite(b)
    ]
