"""The figures: what is drawn of diverged and absent runs, and how many arms stay legible."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from planted import (
    BASE,
    UNIT,
    build,
    curve_rows,
    full,
    measuring,
    run_rows,
    search_of,
    study,
    timing_rows,
)

from harness import report
from harness.report import curve_figures, drawing
from harness.tasks.objective import PERPLEXITY


def curves_of(*names, curves, rows=None):
    rows = rows or [row for name in names for row in run_rows(name, BASE)]
    return build(study(*names), rows, curves=curves).figures


def lines_of(drawn):
    """Returns the data of every labelled line of a figure."""
    axes = drawn.figure.axes[0]
    return {
        line.get_label(): line.get_xydata()
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_a_curve_is_the_median_of_its_replicates():
    found = curves_of("lstm", curves=curve_rows("lstm", 1.4))
    assert list(found) == ["learning-curves-tokens", "learning-curves-seconds"]
    drawn = lines_of(found["learning-curves-tokens"])["lstm"]
    np.testing.assert_allclose(drawn[:, 0], np.arange(1, 6) * 1e5)
    np.testing.assert_allclose(drawn[:, 1], np.exp(1.4 + 1 / np.arange(1, 6) + 0.045), rtol=1e-3)


def test_seconds_are_those_of_a_run_alone_where_it_was_timed():
    rows, curves = run_rows("lstm", BASE), curve_rows("lstm", 1.4)
    as_trained = curves_of("lstm", curves=curves)["learning-curves-seconds"]
    assert lines_of(as_trained)["lstm"][-1, 0] == 5.0
    assert "as the packs took" in as_trained.svg()
    timed = build(study("lstm"), rows, timing_rows("lstm", 0.1), curves).figures[
        "learning-curves-seconds"
    ]
    assert lines_of(timed)["lstm"][-1, 0] == pytest.approx(5e5 / (1120 / 0.1), rel=0.01)
    assert "a run alone" in timed.svg()


def test_a_replicate_that_diverged_is_above_all_others():
    """Its rows end, or are no numbers; the median and the lower edge stay where they are."""
    curves = [row for row in curve_rows("lstm", 1.4) if row["index"] < 8 or row["update"] < 3]
    curves[-1]["validation/loss"] = np.nan
    states = ["finished"] * 8 + ["diverged"] * 2
    found = curves_of("lstm", curves=curves, rows=run_rows("lstm", BASE, states=states))[
        "learning-curves-tokens"
    ]
    drawn = lines_of(found)["lstm"]
    assert len(drawn) == 5
    np.testing.assert_allclose(drawn[-1, 1], np.exp(1.4 + 0.2 + 0.045), rtol=1e-3)
    assert found.figure.axes[0].get_ylim()[1] < 20  # the band leaves the figure at its top


def test_a_curve_ends_where_a_replicate_is_still_training():
    curves = [row for row in curve_rows("lstm", 1.4) if row["index"] < 9 or row["update"] < 3]
    states = ["finished"] * 9 + ["running"]
    found = curves_of("lstm", curves=curves, rows=run_rows("lstm", BASE, states=states))
    assert len(lines_of(found["learning-curves-tokens"])["lstm"]) == 2


def test_an_arm_far_above_does_not_flatten_the_others():
    curves = curve_rows("lstm", 1.4) + curve_rows("gru", 8.0)
    axes = curves_of("lstm", "gru", curves=curves)["learning-curves-tokens"].figure.axes[0]
    assert axes.get_ylim()[1] < 3.5 * np.exp(1.4 + 1.05)


def test_nothing_finite_is_nothing_drawn():
    curves = curve_rows("lstm", 1.4)
    for row in curves:
        row["validation/loss"] = np.inf
    assert curves_of("lstm", curves=curves) == {}
    assert curves_of("lstm", curves=[{**row, "phase": "trial"} for row in curves]) == {}


def test_many_points_are_thinned_and_the_last_one_stays():
    curves = curve_rows("lstm", 1.4, num_updates=1000, replicates=1)
    found = curves_of("lstm", curves=curves, rows=run_rows("lstm", BASE[:1]))
    drawn = lines_of(found["learning-curves-tokens"])["lstm"]
    assert len(drawn) == curve_figures.MAX_POINTS and drawn[-1, 0] == 1000 * 1e5


def test_more_than_eight_arms_get_a_panel_each():
    names = ["lstm"] + [f"arm-{i}" for i in range(9)]
    curves = [row for name in names for row in curve_rows(name, 1.4)]
    found = curves_of(*names, curves=curves)["learning-curves-tokens"]
    panels = [axes for axes in found.figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == names[1:]
    assert all(len(axes.lines) == 2 for axes in panels)


def test_paired_differences_have_the_arms_colour_and_the_verdicts_mark_and_word():
    drawn = full().figures["paired-differences"]
    axes = drawn.figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["worse", "better", "undecided"]
    means = [line for line in axes.lines if line.get_markersize() == 6.5]
    looks = drawing.palette(full().results)
    assert [m.get_color() for m in means] == [looks[r.name].color for r in full().results[1:]]
    assert [line.get_marker() for line in means] == [
        drawing.VERDICT_MARKERS[t.get_text()] for t in axes.texts
    ]
    assert len({line.get_marker() for line in means}) == 3
    dots = [line for line in axes.lines if line.get_markersize() == 3.0]
    np.testing.assert_allclose(dots[0].get_xdata(), np.exp(0.03 + 0.02 * UNIT))


def test_a_pair_far_away_does_not_press_the_others_into_a_line():
    far = np.zeros(10)
    far[3] = 2.0  # its ratio is exp(2)
    rows = run_rows("lstm", BASE) + run_rows("gru", BASE + 0.02 * UNIT)
    rows += run_rows("rnn", BASE + 0.1 + far, states=["finished"] * 9 + ["diverged"])
    drawn = build(study("lstm", "gru", "rnn"), rows).figures["paired-differences"]
    axes = drawn.figure.axes[0]
    assert axes.get_xlim()[1] < 3.0
    arrows = [line for line in axes.lines if line.get_marker() == ">" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in arrows] == [[axes.get_xlim()[1]]]
    assert f"rnn, one seed: {np.exp(2.1):.4f}" in {place.text for place in drawn.places()}


def colors_of_arms(figure, names):
    """Returns the colours of each arm's labelled lines in a figure, by its name."""
    lines = [line for axes in figure.axes for line in axes.lines]
    return {name: {x.get_color() for x in lines if x.get_label() == name} for name in names}


def test_an_arm_has_one_colour_in_all_figures_also_where_another_is_not_drawn():
    names, states = ("lstm", "gru", "rnn"), {"gru": ["diverged"] * 10}
    rows, curves = [], []
    for k, name in enumerate(names):
        rows += run_rows(
            name, BASE + 0.1 * k, states=states.get(name), num_parameters=1000 + 500 * k
        )
        curves += [] if name == "gru" else curve_rows(name, 1.4 + 0.1 * k)
    built = build(study(*names), rows, curves=curves)
    looks = drawing.palette(built.results)
    assert len({look.color for look in looks.values()}) == 3
    for name in ("learning-curves-tokens", "learning-curves-seconds", "pareto"):
        found = colors_of_arms(built.figures[name].figure, ("lstm", "rnn"))
        assert found == {arm: {looks[arm].color} for arm in ("lstm", "rnn")}, name
    lines = built.figures["paired-differences"].figure.axes[0].lines
    assert looks["rnn"].color in {line.get_color() for line in lines}


def test_black_is_the_baselines_alone_however_many_arms_there_are():
    looks = drawing.palette(build(study(*"abcdefghijklmnopqrstuvwxyz")).results)
    assert [name for name, look in looks.items() if look.color == "#000000"] == ["a"]


def test_arms_are_told_apart_by_more_than_colour():
    looks = drawing.palette(build(study(*"abcdefghijklmnopqrstuvwxyz")).results)
    assert len({(look.color, look.line) for look in looks.values()}) == 26
    first = [looks[name] for name in "abcdefgh"]
    assert len({look.color for look in first}) == len({look.marker for look in first}) == 8
    assert looks["a"] == drawing.Look("#000000", "-", "D")
    for look in first:  # each can be seen on white
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(look.color)
        )
        assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) > 2.0


@pytest.mark.parametrize("high", [4.05, 4.9, 9.0, 40.0, 900.0, 1e5])
def test_logarithmic_axes_have_a_few_plain_numbers(high):
    with drawing.style():
        _, axes = drawing.new_figure(3.0)
        axes.set_yscale("log")
        axes.set_ylim(4.0, high)
        drawing.levels_on(axes.yaxis, PERPLEXITY)
        ticks = [tick for tick in axes.get_yticks() if 4.0 <= tick <= high]
        texts = [axes.yaxis.get_major_formatter()(tick) for tick in ticks]
    assert 2 <= len(ticks) <= 9 and len(set(texts)) == len(texts)
    assert all(re.fullmatch(r"\d+(\.\d+)?", text) for text in texts), texts


def test_a_label_may_hold_anything_and_ids_are_the_figures_own():
    with drawing.style():
        figure, axes = drawing.new_figure(2.0)
        axes.plot([1, 2], [1, 2], "o-")
    drawn = drawing.LabelledFigure("mine", 'a "b" & <c>', figure)
    svg = drawn.svg("docs-")
    assert 'aria-label="a &quot;b&quot; &amp; &lt;c&gt;"' in svg
    assert (
        set(re.findall(r' id="([^"]*)"', svg))
        == {m for m in re.findall(r'id="(docs-mine-\w+)"', svg)}
        != set()
    )
    assert not re.search(r"<svg[^>]* (width|height)=", svg)
    assert drawn.svg_file().startswith("<?xml") and 'width="' in drawn.svg_file()
    assert drawn.png().startswith(b"\x89PNG")


def test_matplotlibs_own_settings_stay():
    before = dict(rcParams)
    full().html()
    assert dict(rcParams) == before


@pytest.mark.slow
def test_twenty_arms_of_fifty_seeds_fit_into_20_megabytes():
    num_arms, num_seeds, num_points = 20, 50, 200
    rng = np.random.default_rng(0)
    names, shared = [f"arm-{i}" for i in range(num_arms)], 0.02 * rng.normal(size=num_seeds)
    rows, frames, timings = [], [], []
    index, update = (grid.ravel() for grid in np.mgrid[0:num_seeds, 1 : num_points + 1])
    for k, name in enumerate(names):
        nats = 1.4 + 0.01 * k + shared + 0.01 * rng.normal(size=num_seeds)
        rows += run_rows(name, nats)
        loss = nats[index] + 2.0 / np.sqrt(update) + 0.02 * rng.normal(size=len(index))
        frame = {
            "arm": name,
            "phase": "replicate",
            "index": index,
            "update": update,
            "tokens": update * 10_000,
        }
        frames.append(
            pd.DataFrame(
                {**frame, "time_seconds": 1.0 * update, "train/loss": loss, "validation/loss": loss}
            )
        )
        timings += timing_rows(name, 0.1 + 0.01 * k)
    curves = pd.concat(frames)
    assert len(curves) == 200_000
    planned = study(*names, replicate=full().study.replicate, tune=search_of())
    built = report.build(planned, pd.DataFrame(rows), curves, pd.DataFrame(timings))
    html = built.html()
    assert len(html.encode()) < 20_000_000
    assert "nan" not in "".join(re.findall(r' d="([^"]*)"', html))
    assert len(built.figures) >= 5


def test_the_title_of_an_upright_axis_is_within_the_figure():
    """A long one stands in two lines, and is cut nowhere."""
    measured = measuring(objective="validation/mse")
    planned = study("lstm", "gru", measure=measured)
    rows = [row for name in ("lstm", "gru") for row in run_rows(name, BASE)]
    curves = curve_rows("lstm", 1.4) + curve_rows("gru", 1.4)
    curves = [{**row, "validation/mse": np.exp(row["validation/loss"])} for row in curves]
    drawn = build(planned, rows, curves=curves).figures["learning-curves-tokens"].figure
    FigureCanvasAgg(drawn).draw()  # which lays it out
    title = drawn.axes[0].yaxis.label
    assert title.get_text() == "validation mean squared error\n(log scale)"
    extent, page = title.get_window_extent(), drawn.bbox
    assert extent.y0 >= page.y0 and extent.y1 <= page.y1 and extent.x0 >= page.x0
