"""Main effects and interaction of a cross, in a report of planted effects."""

from dataclasses import replace

import numpy as np
import pytest
from planted import BASE, UNIT, build, run_rows, study

from harness.statistics import factorial
from harness.study import Arm

DROPOUTS, LAYERS = (0.0, 0.5), (1, 2, 3)


def crossed(left_out=()):
    base = study("x").arms[0]
    arms = tuple(
        Arm(
            f"dropout={d},num_layers={n}",
            replace(base.settings, dropout=d, num_layers=n),
            is_baseline=(d, n) == (0.0, 1),
        )
        for d in DROPOUTS
        for n in LAYERS
        if (d, n) not in left_out
    )
    return replace(study("x"), arms=arms, crossed=("dropout", "num_layers"))


def losses(planned):
    """Dropout costs 0.1 nats at one layer, and 0.1 less with every further one."""
    found = {}
    for k, arm in enumerate(planned.arms):
        dropout, layers = arm.settings.dropout, arm.settings.num_layers
        mean = -0.2 * (layers - 1) + (0.1 - 0.1 * (layers - 1)) * (dropout > 0)
        found[arm.name] = BASE + mean + 0.01 * np.roll(UNIT, k)
    return found


def section_of(planned, rows):
    sections = build(planned, rows).conditions[0].beside
    return next((s for s in sections if s.title.startswith("Main effects")), None)


def test_a_row_per_effect_with_the_numbers_of_the_contrasts():
    planned = crossed()
    nats = losses(planned)
    section = section_of(planned, [row for name in nats for row in run_rows(name, nats[name])])
    assert section.title == (
        "Main effects and interaction of dropout and num_layers: ratios of the test perplexity, by"
        " seeds"
    )
    assert [row[:2] for row in section.rows] == [
        ("dropout = 0.5 against 0, over num_layers = 1, 2, 3", "main effect"),
        ("num_layers = 2 against 1, over dropout = 0, 0.5", "main effect"),
        ("num_layers = 3 against 1, over dropout = 0, 0.5", "main effect"),
        ("dropout = 0.5 with num_layers = 2", "interaction"),
        ("dropout = 0.5 with num_layers = 3", "interaction"),
    ]
    cells = {
        (f"{arm.settings.dropout:g}", str(arm.settings.num_layers)): {
            str(1000 + j): x for j, x in enumerate(nats[arm.name])
        }
        for arm in planned.arms
    }
    effects = factorial.two_way(cells, ["0", "0.5"], ["1", "2", "3"])
    effect = effects.interactions["0.5", "3"]
    low, high = np.exp([effect.interval.low, effect.interval.high])
    assert section.rows[-1][2] == f"{np.exp(effect.mean):.3f} ({low:.3f} to {high:.3f})"
    assert float(section.rows[-1][2].split()[0]) == pytest.approx(np.exp(-0.2), abs=0.01)
    assert section.rows[-1][3:] == ("< 0.001", "10")


def test_excluded_cells_leave_the_effects_that_need_none_of_them():
    planned = crossed(left_out=[(0.5, 1)])
    nats = losses(planned)
    section = section_of(planned, [row for name in nats for row in run_rows(name, nats[name])])
    assert [row[0] for row in section.rows] == [
        "dropout = 0.5 against 0, over num_layers = 2, 3",
        "num_layers = 2 against 1, over dropout = 0",
        "num_layers = 3 against 1, over dropout = 0",
    ]


def test_an_effect_with_a_diverged_run_has_no_interval():
    planned = crossed()
    nats, rows = losses(planned), []
    for i, name in enumerate(nats):
        states = ["diverged"] * (i == 5) + ["finished"] * (10 - (i == 5))
        rows += run_rows(name, nats[name], states=states)
    section = section_of(planned, rows)
    assert section.rows[-1][2].endswith(" (conditional)")
    assert section.rows[-1][3:] == ("", "9 of 10 finished")
    assert section.rows[-2][4] == "10"


def test_no_cross_of_two_fields_has_no_such_table():
    planned = crossed()
    nats = losses(planned)
    rows = [row for name in nats for row in run_rows(name, nats[name])]
    assert section_of(replace(planned, crossed=()), rows) is None
    assert section_of(replace(planned, crossed=("dropout",)), rows) is None
    assert section_of(planned, []) is None
