"""How every figure of a report looks, and the forms it leaves in: inline SVG, an SVG file, PNG."""

import contextlib
import html
import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from harness.report import colors, hover
from harness.report.hover import Place, Point, Scale
from harness.tasks.objective import Objective

COLORS = colors.COLORS
LINES = ("-", "--", "-.", ":")
MARKERS = "Dos^vP*X"
FAINT, GRID = "#666666", "#dddddd"
WIDTH_INCHES = 6.6
LEGEND_CHARACTERS = 80
"""Characters of names that fit beside each other in a legend."""
LONGEST_NAME = 32
"""Characters that a figure shows of a name; tables have all of them."""
LONGEST_LINE = 22
"""Characters of a name beside a row, which has two lines for more."""
SMALL = 8.5
"""The size of the font of long names beside rows."""
UPRIGHT = 36
"""Characters of a line that stands upright beside an axis, which is no higher."""
MAX_TOGETHER = 8
"""Arms that one pair of axes shows legibly; more get a panel each."""
MULTIPLES = (
    (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0),
    (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0),
    (1.0, 2.0, 5.0),
    (1.0, 3.0),
    (1.0,),
)
"""Of powers of ten, that a logarithmic axis may be marked at."""
PNG_DOTS_PER_INCH = 200
SVG_STYLE = (
    'stroke-linejoin="round" stroke-linecap="butt" font-family="DejaVu Sans, Verdana, sans-serif"'
)
"""What an element says once for all that is in it."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10.5,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.axisbelow": True,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}


@dataclass(frozen=True)
class Look:
    """How an arm is drawn: colour is never all that tells two apart."""

    color: str
    line: str
    marker: str


VERDICT_MARKERS = {
    "better": "v",
    "worse": "^",
    "equivalent": "s",
    "identical": "s",
    "undecided": "o",
    "not": "D",
}
"""The first word of a verdict -> its marker; a figure's colours are the arms'."""
THEMED = {
    "#000000": "var(--ink, #000000)",
    "#ffffff": "var(--paper, #ffffff)",
    "#444444": "var(--faint, #444444)",
    FAINT: f"var(--faint, {FAINT})",
    GRID: f"var(--grid, {GRID})",
}
"""Colour of a figure -> what a page writes, which has other values of these on a dark screen."""


@dataclass(frozen=True)
class LabelledFigure:
    """A figure with its name and its label.

    Attributes:
        name: The stem of its files, such as ``learning-curves-tokens``.
        label: What it shows, for a reader who cannot see it.
        figure: What was drawn.
        points: What the page tells under the pointer.
    """

    name: str
    label: str
    figure: Figure
    points: Sequence[Point] = ()

    def svg(self, prefix: str = "") -> str:
        """Returns the SVG element alone, for a page, which scales it.

        The element is labelled, and its ids begin with ``prefix`` and its name.
        """
        text = self._svg
        text = text[text.index("<svg") :].replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
        text = text.replace("xlink:href", "href")
        text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)  # names of groups
        text = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", text)
        text = re.sub(r"\n +", "\n", text)
        # Each text has a list of ten fonts, of which a page has none but the last.
        text = re.sub(r"; font-family: [^;\"]*", "", text)
        text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}{self.name}-", text)
        head, body = text[: text.index(">")], text[text.index(">") :]
        head = re.sub(r' (width|height)="[^"]*"', "", head)
        # A style within it would hold for the whole document that the figure stands in.
        body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
        head = head.replace("<svg", f"<svg {SVG_STYLE}", 1)
        body = re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda m: THEMED.get(m[0], m[0]), body)
        label = html.escape(self.label)
        return head.replace("<svg", f'<svg role="img" aria-label="{label}"', 1) + body

    def svg_file(self) -> str:
        """Returns the text of an SVG file."""
        return self._svg

    def png(self) -> bytes:
        """Returns the bytes of a PNG file, for a slide."""
        buffer = io.BytesIO()
        with style():
            self.figure.savefig(
                buffer, format="png", dpi=PNG_DOTS_PER_INCH, metadata={"Software": None}
            )
        return buffer.getvalue()

    def places(self) -> list[Place]:
        """Returns where the points are in the SVG, and what is told of them."""
        _ = self._svg  # the layout is that of the last drawing
        return hover.places(self.figure, self.points)

    def scales(self) -> list[Scale]:
        """Returns how the SVG's places are turned into numbers, by its axes."""
        _ = self._svg
        return hover.scales(self.figure)

    @cached_property
    def _svg(self) -> str:
        buffer = io.StringIO()
        with style(), mpl.rc_context({"svg.hashsalt": self.name}), warnings.catch_warnings():
            # A text of an SVG is drawn where it is read, by the fonts that are there.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            self.figure.savefig(
                buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
            )
        return buffer.getvalue()


class NamedArm(Protocol):
    """What :func:`palette` must know of an arm."""

    @property
    def name(self) -> str:
        """The arm's name."""
        ...

    @property
    def is_baseline(self) -> bool:
        """Whether the arm is the baseline."""
        ...


def palette(arms: Sequence[NamedArm]) -> dict[str, Look]:
    """Returns each arm's look; the baseline is black and solid wherever it stands.

    ``arms`` are all of the study's, also where some are not drawn, so that an arm has one look in
    all figures.
    """
    baseline = next(arm.name for arm in arms if arm.is_baseline)
    looks = {}
    for i, (name, shade) in enumerate(colors.by_arm([a.name for a in arms], baseline).items()):
        turn, color = divmod(max(0, i - 1), len(COLORS) - 1)  # black is the baseline's alone
        color += i > 0
        looks[name] = Look(
            shade,
            LINES[(color + turn) % len(LINES)],
            MARKERS[(color + 3 * turn) % len(MARKERS)],
        )
    return looks


@contextlib.contextmanager
def style() -> Iterator[None]:
    """What figures are made under; matplotlib's own settings are as before afterwards."""
    with mpl.rc_context(STYLE):
        yield


def new_figure(height_inches: float, width_inches: float = WIDTH_INCHES) -> tuple[Figure, Axes]:
    """Returns a figure with one pair of axes; call it under :func:`style`."""
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    return figure, figure.add_subplot()


def new_panels(
    num_panels: int, *, num_columns: int = 4, panel_height_inches: float = 1.5
) -> tuple[Figure, list[Axes]]:
    """Returns a figure with a panel for each of many arms; call it under :func:`style`.

    The panels share their axes. The margins are fixed, with room for a line above all panels and
    one below and beside them: to compute them would take longer than to draw the figure.
    """
    num_columns = min(num_columns, num_panels)
    num_rows = math.ceil(num_panels / num_columns)
    height = 0.9 + panel_height_inches * num_rows
    figure = Figure(figsize=(WIDTH_INCHES, height))
    figure.subplots_adjust(
        0.6 / WIDTH_INCHES, 0.5 / height, 1 - 0.1 / WIDTH_INCHES, 1 - 0.5 / height, 0.12, 0.3
    )
    grid = (
        figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
        .ravel()
        .tolist()
    )
    for unused in grid[num_panels:]:
        unused.set_axis_off()
    for lowest in grid[num_panels - num_columns : num_panels]:  # of its column
        lowest.tick_params(labelbottom=True)
    return figure, grid[:num_panels]


def upright(title: str) -> str:
    """Returns the title of an upright axis in lines that are no longer than the axis is high."""
    if len(title) <= UPRIGHT:
        return title
    return "\n".join(
        textwrap.fill(part, UPRIGHT) for part in title.replace(" (", "\n(").split("\n")
    )


def row_inches(num_rows: int) -> float:
    """Returns the height of an arm's row: less, where there are many."""
    return 0.5 if num_rows <= MAX_TOGETHER else 0.36


def legend_below(figure: Figure, axes: Axes, num_entries: int) -> None:
    """Sets the legend under the axes, so that it hides no curve."""
    handles, names = axes.get_legend_handles_labels()
    labels = [shortened(name) for name in names]
    fitting = max(1, LEGEND_CHARACTERS // max(map(len, labels), default=1))
    columns = min(3, max(1, num_entries), fitting)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Makes the vertical axis a list of names, the first on top."""
    labels = ["\n".join(map(shortened, name.split("\n"))) for name in names]
    if any(len(line) > LONGEST_LINE for label in labels for line in label.split("\n")):
        axes.tick_params(axis="y", labelsize=SMALL)
    if len(names) <= MAX_TOGETHER:
        labels = ["\n".join(map(in_two_lines, label.split("\n"))) for label in labels]
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x")


def shortened(name: str) -> str:
    """Returns a name, without its middle where it is too long for a figure.

    >>> shortened("lstm"), shortened("lstm-with-a-name-that-somebody-wrote-in-earnest")
    ('lstm', 'lstm-with-a-name…rote-in-earnest')
    """
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME // 2]}…{name[1 - LONGEST_NAME // 2 :]}"


def in_two_lines(name: str) -> str:
    """Returns a name in two lines where it is long, parted at the joint nearest to its middle.

    >>> in_two_lines("lstm-no-output-tanh-layer-norm").splitlines()
    ['lstm-no-output-', 'tanh-layer-norm']
    """
    if len(name) <= LONGEST_LINE:
        return name
    middle = len(name) / 2
    joints = [joint.end() for joint in re.finditer(r"[-_/:. …]", name)]
    parting = min(joints, key=lambda place: abs(place - middle), default=0)
    if not middle / 2 < parting < 1.5 * middle:
        parting = round(middle)
    return f"{name[:parting]}\n{name[parting:]}"


def counts_on(axis: Axis) -> None:
    """Writes an axis' numbers as 200 k, 1 M."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))


def levels_on(axis: Axis, objective: Objective, max_ticks: int = 8) -> None:
    """Makes an axis that of an objective, with up to ``max_ticks`` plain numbers.

    It is logarithmic where ratios count. Call it once everything is drawn.
    """
    if not objective.is_ratio:
        axis.set_major_locator(MaxNLocator(max_ticks))
        return
    log_on(axis, max_ticks)


def log_on(axis: Axis, max_ticks: int) -> None:
    """Makes an axis logarithmic, with up to ``max_ticks`` plain numbers."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]
    low, high = sorted(axis.get_view_interval())
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    axis.set_major_locator(MaxNLocator(max_ticks))
    if high > 1.3 * low:
        for multiples in MULTIPLES:
            ticks = [
                low <= multiple * 10.0**decade <= high
                for decade in decades
                for multiple in multiples
            ]
            if sum(ticks) <= max_ticks:
                break
        axis.set_major_locator(LogLocator(subs=multiples))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:.0f}" if value >= 1e4 else f"{value:.4g}")
    )
    axis.set_minor_locator(NullLocator())


def short_count(value: float) -> str:
    """Returns ``200 k`` for 200,000."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g} {name}"
    return f"{value:g}"
