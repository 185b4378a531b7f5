"""The figures of perplexity: learning curves and paired differences."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report import sentences
from harness.report.arm_results import ALONE, ArmResult
from harness.report.drawing import (
    COLORS,
    FAINT,
    GRID,
    MAX_TOGETHER,
    VERDICTS,
    LabelledFigure,
    Look,
    counts_on,
    legend_below,
    name_rows,
    new_figure,
    new_panels,
    palette,
    perplexities_on,
    row_inches,
    style,
)
from harness.training.messages import RunState

HIGHEST_NATS = float(np.log(1e5))
"""The highest loss that is drawn: a diverging run's perplexity may be any number."""
MAX_POINTS = 200
"""The most points of a curve: the width of a figure shows no more."""
FAR_ABOVE = 3.0
"""The top of a figure, as a multiple of the perplexity that half of the arms stay below."""


def learning_curves(
    results: Sequence[ArmResult], curves: pd.DataFrame, metric: str
) -> list[LabelledFigure]:
    """Returns perplexity over tokens and over seconds, by arm.

    A line is the median of an arm's replicates, with a band over all of them. A replicate that
    diverged is above every other from there on; a line is drawn as far as all others have come.
    Seconds are those of a run alone, by the measured tokens per second; where an arm was not timed,
    those of the training itself, which a pack of runs shares. Empty: there is nothing to draw.

    Args:
        results: The arms.
        curves: ``arm_results.CURVE_COLUMNS``, and the ``state`` of each row's run.
        metric: The column that is drawn, in nats.
    """
    rows = curves[curves["phase"] == "replicate"]
    by_arm = {str(name): group for name, group in rows.groupby("arm", sort=False)}
    lines = {r.name: _curve(by_arm[r.name], metric) for r in results if r.name in by_arm}
    lines = {name: line for name, line in lines.items() if len(line)}
    if not lines:
        return []
    shown = [result for result in results if result.name in lines]
    what = f"{metric.split('/')[0]} perplexity"
    rates = {r.name: r.tokens_per_second[ALONE] for r in shown if ALONE in r.tokens_per_second}
    seconds = "seconds of training, as the packs took"
    if len(rates) == len(shown):
        seconds = "seconds of training a run alone, by its measured speed"
        lines = {
            name: line.assign(seconds=line["tokens"] / rates[name]) for name, line in lines.items()
        }
    return [
        LabelledFigure(
            f"learning-curves-{column}",
            f"Learning curves: {what} over {column} by arm, the median of the replicates with a"
            " band from the lowest to the highest",
            _curves_figure(
                shown, {name: (line[column], line) for name, line in lines.items()}, label, what
            ),
        )
        for column, label in (("tokens", "tokens seen"), ("seconds", seconds))
    ]


def _curve(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Returns low, median and high perplexity by update, at MAX_POINTS at most, the last kept."""
    nats = rows.pivot(index="update", columns=["repeat", "index"], values=metric).astype(float)
    ends = rows.drop_duplicates(["repeat", "index"]).set_index(["repeat", "index"])["state"]
    diverged = nats.columns[(ends.reindex(nats.columns) == RunState.DIVERGED).to_numpy()]
    nats[diverged] = nats[diverged].fillna(np.inf)
    values = np.exp(np.minimum(nats.dropna().to_numpy(), HIGHEST_NATS))
    means = rows.groupby("update")[["tokens", "time_seconds"]].mean().loc[nats.dropna().index]
    line = pd.DataFrame({"tokens": means["tokens"], "seconds": means["time_seconds"]}).assign(
        low=values.min(axis=1, initial=np.inf),
        middle=np.median(values, axis=1),
        high=values.max(axis=1, initial=0.0),
    )
    if line.empty or line["low"].min() >= np.exp(HIGHEST_NATS):
        return line[:0]
    line["middle"] = line["middle"].where(line["middle"] < np.exp(HIGHEST_NATS))
    kept = np.unique(np.linspace(0, len(line) - 1, min(len(line), MAX_POINTS)).round().astype(int))
    return line.iloc[kept]


Lines = Mapping[str, tuple[pd.Series, pd.DataFrame]]
"""Arm -> the horizontal values of its curve, and the frame of :func:`_curve`."""


def _curves_figure(results: Sequence[ArmResult], lines: Lines, label: str, what: str) -> Figure:
    with style():
        looks = palette(results)
        if len(results) <= MAX_TOGETHER:
            figure, axes = new_figure(3.9)
            for result in results:
                _draw_curve(axes, *lines[result.name], looks[result.name], name=result.name)
            axes.set(xlabel=label, ylabel=f"{what} (log scale)")
            legend_below(figure, axes, len(results))
            panels = [axes]
        else:
            figure, panels = _panels(results, lines)
            figure.supxlabel(label, fontsize="medium")
            figure.supylabel(f"{what} (log scale)", fontsize="medium")
        top = _top([line for _, line in lines.values()])
        for axes in panels:
            axes.set_yscale("log")
            axes.set_ylim(0.95 * min(line["low"].min() for _, line in lines.values()), top)
            perplexities_on(axes.yaxis, max_ticks=8 if len(panels) == 1 else 5)
            counts_on(axes.xaxis)
            axes.grid(axis="y")
        return figure


def _top(lines: Sequence[pd.DataFrame]) -> float:
    """Returns the highest perplexity that the figure shows.

    It is that of all medians, unless some arms are far above the others.
    """
    tops = sorted(float(line["middle"].fillna(line["low"]).max()) for line in lines)
    return min(1.15 * tops[-1], FAR_ABOVE * tops[(len(tops) - 1) // 2])


def _panels(results: Sequence[ArmResult], lines: Lines) -> tuple[Figure, list[Axes]]:
    """Returns a figure with a panel for each of many arms, the baseline's curve in every panel."""
    base = next((result.name for result in results if result.is_baseline), None)
    others = [result.name for result in results if result.name != base]
    figure, panels = new_panels(len(others))
    for axes, name in zip(panels, others, strict=True):
        if base is not None:
            _draw_curve(axes, *lines[base], Look(COLORS[0], "-", ""))
        _draw_curve(axes, *lines[name], Look(COLORS[4], "-", ""))
        axes.set_title(name, fontsize=8, loc="left", color=COLORS[4])
        axes.tick_params(labelsize=8)
    if base is not None:
        figure.suptitle(f"black: {base}, the baseline", fontsize="medium")
    return figure, panels


def _draw_curve(
    axes: Axes, x: pd.Series, line: pd.DataFrame, look: Look, name: str | None = None
) -> None:
    axes.fill_between(x, line["low"], line["high"], color=look.color, alpha=0.18, linewidth=0)
    (curve,) = axes.plot(x, line["middle"], look.line, color=look.color, label=name, linewidth=1.6)
    curve.set(marker=look.marker, markersize=4, markevery=max(1, len(line) // 8))


def paired_differences(
    results: Sequence[ArmResult], baseline: str, margin: float, unit: str, measured: str
) -> LabelledFigure | None:
    """Returns one row per arm: each pair's ratio of perplexities as a dot, and their mean.

    The mean has its 95 % interval, with a thin line where the spread of the search makes it wider,
    and the margin is shaded. ``unit`` is what one pair is, a seed
    or a repeat, and ``measured`` what the perplexities are called. None: no arm has a finished
    pair.
    """
    compared = [
        result
        for result in results
        if result.decision is not None and result.decision.mean is not None
    ]
    if not compared:
        return None
    with style():
        figure, axes = new_figure(0.9 + row_inches(len(compared)) * len(compared))
        axes.axvspan(1.0 / (1.0 + margin), 1.0 + margin, color=GRID, alpha=0.6, linewidth=0)
        axes.axvline(1.0, color=FAINT, linewidth=0.8)
        for y, result in enumerate(compared):
            verdict = sentences.word(result)
            word = verdict.split(" ")[0]
            _draw_differences(axes, y, result, VERDICTS[word])
            word = verdict if word == "not" else word
            axes.text(1.01, y, word, color=FAINT, va="center", transform=axes.get_yaxis_transform())
        name_rows(axes, [_row_name(result) for result in compared])
        axes.set_xlabel(
            f"{measured} as a multiple of {baseline}'s, same {unit}\n"
            f"(left is better; shaded: {margin:.0%})"
        )
        is_wide = any(r.decision is not None and r.decision.wide is not None for r in compared)
        label = (
            f"Paired differences: ratio of perplexities to {baseline} by {unit}, with means and"
            f" 95 % intervals{', thin with the spread of the search too' if is_wide else ''}"
        )
        return LabelledFigure("paired-differences", label, figure)


def _draw_differences(axes: Axes, y: int, result: ArmResult, look: Look) -> None:
    decision = result.decision
    assert decision is not None and decision.mean is not None
    ratios = np.exp(result.differences[np.isfinite(result.differences)])
    spread = np.arange(len(ratios)) * 0.618 % 1.0  # even, so that neighbours are seen
    heights = y + 0.16 + 0.2 * spread
    axes.plot(ratios, heights, "o", color=look.color, alpha=0.5, markersize=3.5, markeredgewidth=0)
    axes.plot(np.exp(decision.mean), y, look.marker, color=look.color, markersize=6.5)
    for interval, width in ((decision.wide, 0.8), (decision.interval, 2.0)):
        if interval is not None:
            ends = np.exp([interval.low, interval.high])
            axes.plot(ends, [y, y], color=look.color, linewidth=width)


def _row_name(result: ArmResult) -> str:
    return (
        f"{result.name}\n({result.num_diverged} diverged)" if result.num_diverged else result.name
    )
