"""The report's figures as SVG text to be set into an HTML page: nothing external, text as text."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from harness.report.results import ArmResult, Phase

# Okabe and Ito's palette (2008), told apart with any colour vision; black first, for the baseline.
COLORS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#F0E442")
LINES = ("-", "--", "-.", ":")  # the palette again, with another line, from the ninth arm on
WIDTH_INCHES = 7.5
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "harness",
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
}


def _figure(height_inches: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure, label: str) -> str:
    """Inline form: no XML head, metadata or group names (several figures share one page), labelled for readers."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    text = text.replace("xlink:href", "href")
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
    text = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1), count=1
    )
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _palette(results: Sequence[ArmResult]) -> dict[str, tuple[str, str]]:
    """Arm -> colour and line; the baseline is black and solid wherever it stands."""
    ordered = sorted(results, key=lambda result: not result.is_baseline)
    return {r.name: (COLORS[i % len(COLORS)], LINES[i // len(COLORS) % len(LINES)]) for i, r in enumerate(ordered)}


HIGHEST_NATS = float(np.log(1e5))
"""Of a curve that is drawn: a diverging run's perplexity may be any number, and one of 100,000 has made the point."""


def learning_curves(results: Sequence[ArmResult], curves: pd.DataFrame, metric: str) -> str | None:
    """Returns perplexity over tokens: exp of the mean loss of an arm's replicates, the band from lowest to highest.

    Only updates that every replicate of the arm reached with a finite loss are drawn. None: there is nothing to draw.
    """
    rows = curves[(curves["phase"] == "replicate") & np.isfinite(curves[metric].astype(float))]
    lines = {result.name: _curve(rows[rows["arm"] == result.name], metric) for result in results}
    if not any(len(line) for line in lines.values()):
        return None
    colors = _palette(results)
    with mpl.rc_context(STYLE):
        figure, axes = _figure(4.0)
        for name, line in lines.items():
            color, style = colors[name]
            low, mean, high = (np.exp(np.minimum(line[part], HIGHEST_NATS)) for part in ("min", "mean", "max"))
            axes.plot(line["tokens"], mean, style, color=color, label=name, linewidth=1.6)
            axes.fill_between(line["tokens"], low, high, color=color, alpha=0.18, linewidth=0)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(_count))
        axes.set_xlabel("tokens seen (band: all replicates; a line ends where one of them diverges)")
        axes.set_ylabel(f"{metric.split('/')[0]} perplexity (log scale)")
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.legend(frameon=False, fontsize=9, ncols=2 if len(lines) > 4 else 1)
        return _svg(figure, "Learning curves: perplexity over tokens seen, by arm")


def _curve(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    grouped = rows.assign(loss=rows[metric].astype(float)).groupby("update")
    line = grouped["loss"].agg(["mean", "min", "max", "count"]).assign(tokens=grouped["tokens"].mean())
    return line[line["count"] == rows["index"].nunique()]


def _count(value: float, _: object) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g} {name}"
    return f"{value:g}"


def paired_differences(results: Sequence[ArmResult], baseline: str, margin: float) -> str | None:
    """Returns one row per arm: each seed's ratio of perplexities as a dot, mean and 95 % interval, the margin shaded.

    None: no arm has a finished pair.
    """
    drawn = [result for result in results if result.decision is not None and result.decision.mean is not None]
    if not drawn:
        return None
    colors = _palette(results)
    with mpl.rc_context(STYLE):
        figure, axes = _figure(1.3 + 0.55 * len(drawn))
        axes.axvspan(1.0 / (1.0 + margin), 1.0 + margin, color="#dddddd", alpha=0.6, linewidth=0)
        axes.axvline(1.0, color="#666666", linewidth=0.8)
        for y, result in enumerate(drawn):
            decision, color = result.decision, colors[result.name][0]
            ratios = np.exp(result.differences[np.isfinite(result.differences)])
            heights = y + 0.22 + 0.1 * (np.arange(len(ratios)) % 2)  # two levels, so that neighbours are seen
            axes.plot(ratios, heights, "o", color=color, alpha=0.55, markersize=4, markeredgewidth=0)
            if decision is not None and decision.mean is not None:
                axes.plot(np.exp(decision.mean), y, "D", color=color, markersize=6)
                if decision.interval is not None:
                    axes.plot(np.exp([decision.interval.low, decision.interval.high]), [y, y], color=color, linewidth=2)
        _name_rows(axes, [_row_name(result) for result in drawn])
        axes.set_xlabel(f"perplexity as a multiple of {baseline}'s, same seed (shaded: margin of {100 * margin:g} %)")
        return _svg(figure, "Paired differences: ratio of perplexities by seed, with 95 % intervals")


def _row_name(result: ArmResult) -> str:
    return f"{result.name}\n({result.num_diverged} diverged)" if result.num_diverged else result.name


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def speeds(results: Sequence[ArmResult], baseline: str) -> str | None:
    """Returns how many times as fast as the baseline each arm is, one row per arm, one mark per mode and pack.

    None: no arm has a runtime that compares.
    """
    drawn = [result for result in results if any(speed.ratio is not None for speed in result.speeds.values())]
    phases = sorted(
        {phase for result in drawn for phase in result.speeds}, key=lambda phase: (phase[0] != "train", phase[1])
    )
    if not drawn:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = _figure(1.5 + 0.55 * len(drawn) + 0.2 * ((len(phases) + 1) // 2))
        axes.axvline(1.0, color="#666666", linewidth=0.8)
        for k, phase in enumerate(phases):
            _draw_phase(axes, drawn, phase, offset=0.16 * (k - (len(phases) - 1) / 2), style=k)
        _name_rows(axes, [result.name for result in drawn])
        axes.set_xlabel(f"times as fast as {baseline} (median over rounds, 95 % interval; right is faster)")
        axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return _svg(figure, "Runtime: times as fast as the baseline, by arm, with 95 % intervals")


def _draw_phase(axes: Axes, results: Sequence[ArmResult], phase: Phase, *, offset: float, style: int) -> None:
    color, marker = COLORS[(style + 4) % len(COLORS)], "osD^v"[style % 5]
    label: str | None = f"{'training' if phase[0] == 'train' else phase[0]}, pack of {phase[1]}"
    for y, result in enumerate(results):
        speed = result.speeds.get(phase)
        if speed is None or speed.ratio is None:
            continue
        axes.plot(speed.ratio, y + offset, marker, color=color, markersize=5, label=label)
        label = None  # one entry of the legend per phase
        if speed.interval is not None:
            ends = [speed.interval.low, speed.interval.high]
            axes.plot(ends, [y + offset] * 2, color=color, linewidth=1.6)
