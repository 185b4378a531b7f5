"""What states are like, from planted statistics: the table cell by cell, and the figure."""

from dataclasses import replace

import numpy as np
import pandas as pd
from planted import BASE, across, run_rows, study

from harness import report
from harness.store import frames
from harness.study.units import Unit
from harness.training.state_statistics import StateStatistics, StateSummary


def statistics(scale, *, states=((0, "c"), (0, "h")), decay=0.5, num_steps=10):
    """Sizes as multiples of ``scale``; the gradient shrinks by ``decay`` with every step back."""
    norms = tuple(scale * decay**k for k in range(num_steps))
    summaries = tuple(
        StateSummary(
            layer=layer,
            state=state,
            rms=scale,
            median=0.5 * scale,
            percentile_90=1.5 * scale,
            percentile_99=2.0 * scale,
            largest=3.0 * scale,
            saturated=min(1.0, scale / 10),
            gradient_norms=tuple(2.0 * norm for norm in norms),
        )
        for layer, state in states
    )
    return StateStatistics("validation", 4, 3, num_steps, summaries, norms)


def stored(**scales):
    """The frame of arms with a replicate for every scale."""
    return frames.states(
        (Unit(arm), "replicate", index, 0, statistics(scale).to_json().encode())
        for arm, of_arm in scales.items()
        for index, scale in enumerate(of_arm)
    )


def built(states, planned=None):
    rows = [row for arm in ("lstm", "gru") for row in run_rows(arm, BASE)]
    return report.build(
        planned or study("lstm", "gru"),
        pd.DataFrame(rows),
        pd.DataFrame(),
        pd.DataFrame(),
        states=states,
    )


def section_of(found):
    (section,) = [s for s in found.conditions[0].beside if s.title.startswith("States of")]
    return section


def test_a_row_per_state_and_arm_with_medians_and_ranges():
    section = section_of(built(stored(lstm=(1.0, 2.0, 4.0), gru=(0.1, 0.2, 0.3))))
    assert [row[:2] for row in section.rows] == [
        ("c", "lstm"),
        ("c", "gru"),
        ("h", "lstm"),
        ("h", "gru"),
    ]
    assert section.rows[0][2:] == (
        "2.000 (1.000 to 4.000)",
        "4.000 (2.000 to 8.000)",
        "6.000 (3.000 to 12.00)",
        "20.0 % (10.0 to 40.0)",
        "8",  # 0.5^7 is the first below 1 %
    )


def test_layers_are_named_where_there_are_several_and_short_gradients_do_not_vanish():
    two = statistics(1.0, states=((0, "h"), (1, "h")), num_steps=4)
    states = frames.states([(Unit("lstm"), "replicate", 0, 0, two.to_json().encode())])
    section = section_of(built(states))
    assert [row[0] for row in section.rows] == ["h of layer 1", "h of layer 2"]
    assert {row[-1] for row in section.rows} == {"more than 4"}


def test_the_figure_shows_every_arm_beside_the_others():
    found = built(stored(lstm=(1.0, 2.0), gru=(0.1, 0.2)))
    figure = found.figures["states"]
    size, saturation, gradient = figure.figure.axes
    assert [text.get_text() for text in size.get_yticklabels()] == ["c", "h"]
    assert [line.get_label() for line in gradient.lines] == ["lstm", "gru"]
    for line, scale in zip(gradient.lines, (1.5, 0.15), strict=True):
        np.testing.assert_allclose(line.get_ydata(), scale * 0.5 ** np.arange(10))
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 11))
    medians = [line.get_xdata()[0] for line in saturation.lines if len(line.get_xdata()) == 1]
    np.testing.assert_allclose(medians, [0.15, 0.015, 0.15, 0.015])
    assert "states" in found.html() and figure.svg_file().startswith("<?xml")


def test_conditions_have_their_own_and_seeds_that_nobody_asks_for_are_left_out():
    planned = across(study("lstm", "gru"), a="time-machine", b="python-docs")
    frame = stored(lstm=(1.0,) * 10 + (1000.0,), gru=(0.1,)).assign(condition="b")
    rows = [{**row, "condition": c} for c in "ab" for row in run_rows("lstm", BASE)]
    found = report.build(planned, pd.DataFrame(rows), pd.DataFrame(), pd.DataFrame(), states=frame)
    first, second = found.conditions
    assert not any(s.title.startswith("States of") for s in first.beside)
    (section,) = [s for s in second.beside if s.title.startswith("States of")]
    assert section.rows[0][2] == "1.000 (1.000 to 1.000)"
    assert list(found.figures) == ["b-states"] or "b-states" in found.figures


def test_a_study_that_does_not_ask_has_none_of_it():
    found = built(None)
    assert "states" not in found.figures
    assert not any(s.title.startswith("States of") for s in found.conditions[0].beside)


def test_a_loss_of_size_is_drawn_as_far_as_it_is_finite():
    broken = replace(
        statistics(1.0), states=(replace(statistics(1.0).states[0], rms=float("inf")),)
    )
    states = frames.states([(Unit("lstm"), "replicate", 0, 0, broken.to_json().encode())])
    found = built(states)
    assert section_of(found).rows[0][2] == "inf (inf to inf)"
    assert found.figures["states"].svg_file()
