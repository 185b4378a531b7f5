"""What a page tells of a figure under the pointer: points with their values, and the axes' scales.

Matplotlib draws the SVG; the page's script knows of it only what stands here.
"""

import math
from collections.abc import Iterable, Sequence
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


def places(figure: Figure, points: Sequence[Point]) -> list[Place]:
    """Returns the points that the figure shows, once it is drawn; those outside are left out."""
    by_axes: dict[Axes, list[int]] = {}
    for i, point in enumerate(points):
        by_axes.setdefault(point.axes, []).append(i)
    found: dict[int, Place] = {}
    for axes, chosen in by_axes.items():  # all points of some axes at once: thousands a figure
        data = np.array([(points[i].x, points[i].y) for i in chosen])
        low, high = np.sort([axes.get_xlim(), axes.get_ylim()]).T
        is_shown = ((low <= data) & (data <= high)).all(axis=1)
        pixels = axes.transData.transform(data)
        for i, (across, up), shown in zip(chosen, pixels.tolist(), is_shown, strict=True):
            if shown:
                found[i] = Place(*_in_svg(figure, across, up), points[i].text)
    return [found[i] for i in sorted(found)]


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
