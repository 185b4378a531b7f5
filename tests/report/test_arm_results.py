"""What pairs with what: repeats, and seeds beyond those asked for."""

from dataclasses import replace

import numpy as np
import pandas as pd
from planted import BASE, UNIT, build, run_rows, search_of, study

from harness.report import cost_tables
from harness.study import Replicate


def repeated(num_repeats=5, num_seeds=3, states=None):
    """Rows of repeats whose seeds vary less than the repeats do."""
    rows = []
    for repeat in range(num_repeats):
        base = BASE[:num_seeds] + 0.05 * np.sin(repeat)
        for arm, nats in (
            ("lstm", base),
            ("gru", base + 0.03 * np.cos(3 * repeat) + 0.001 * UNIT[:num_seeds]),
        ):
            ends = (states or {}).get((arm, repeat))
            rows += [{**row, "repeat": repeat} for row in run_rows(arm, nats, states=ends)]
    return rows


def gathered(planned, rows):
    return build(planned, rows).conditions[0]


def test_where_patience_ends_runs_the_updates_that_they_used_are_told():
    planned = study("lstm", "gru")
    stopping = [
        replace(arm, settings=replace(arm.settings, early_stopping_patience=3))
        for arm in planned.arms
    ]
    rows = [
        {**row, "tokens": 32 * 35 * updates}
        for arm in ("lstm", "gru")
        for row, updates in zip(run_rows(arm, BASE[:3]), (90, 100, 200), strict=True)
    ]
    built = gathered(replace(planned, arms=tuple(stopping)), rows)
    assert built.results[0].replicate_updates == (90, 100, 200)
    costs = cost_tables.costs(built.results)
    assert costs.header[-1] == "Updates of a replicate" and costs.rows[0][-1] == "100 (90 to 200)"
    assert "Updates of a replicate" not in cost_tables.costs(gathered(planned, rows).results).header


def test_repeats_and_seeds_that_the_study_does_not_ask_for_are_left_out():
    asked = study("lstm", "gru", tune=search_of(repeats=5), replicate=Replicate(2))
    part = gathered(asked, repeated(num_repeats=6, num_seeds=3))
    result = part.results[1]
    assert result.decision.num_pairs == 5 and not part.missing
    rows = pd.DataFrame(repeated(num_repeats=5, num_seeds=2))
    means = rows.groupby(["arm", "repeat"])["test/loss"].mean()
    assert np.allclose(result.differences, (means["gru"] - means["lstm"]).to_numpy())
    assert any(
        "16 runs are left out" in line for line in part.warnings
    )  # 2 arms: 6 of repeat 5, 10 of seed 2


def test_seeds_of_repeats_are_no_pairs_of_a_study_without():
    part = gathered(
        study("lstm", "gru", replicate=Replicate(3)), repeated(num_repeats=6, num_seeds=3)
    )
    assert part.results[1].decision.num_pairs == 3


def test_a_repeat_with_a_failure_is_left_out_and_one_with_a_divergence_is_lost():
    planned = study("lstm", "gru", tune=search_of(repeats=5), replicate=Replicate(3))
    states = {
        ("gru", 1): ["finished", "failed", "finished"],
        ("gru", 3): ["failed", "diverged", "finished"],
    }
    part = gathered(planned, repeated(states=states))
    result = part.results[1]
    assert result.decision.num_pairs == 4 and result.num_diverged == 1
    assert np.isinf(result.differences).sum() == 1
    assert (
        "gru: 2 of 15 replicates failed and enter no figure with the rest of their repeats."
        in part.warnings
    )
    assert "gru: 1 of 15 replicates diverged." in part.warnings
