"""What the states of trained runs are like: their size, their saturation, how far gradients reach.

A verdict says that an arm is better or worse; this may say why. It is measured where a study asks
for it (``measure: {states: true}``), on every replicate at its best parameters.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from harness.report.arm_results import ArmResult
from harness.report.number_texts import number
from harness.report.tables import Section
from harness.store.columns import ALL_STATES
from harness.training.state_statistics import SATURATION

REACH = 0.01
"""A gradient that is this fraction of the one at the last time step reaches no further back."""


def section(results: Sequence[ArmResult], states: pd.DataFrame) -> Section | None:
    """Returns a row per layer, state and arm: medians over the replicates, with their range.

    None: nothing was measured.

    Args:
        results: The arms.
        states: Of one condition, the columns of ``columns.STATE_DTYPES``.
    """
    if states.empty:
        return None
    rows: list[tuple[str, ...]] = []
    for layer, state in places(states):
        for result in results:
            found = of_place(states, result.name, layer, state)
            if len(found):
                sizes = (_ranged(found, name) for name in ("rms", "percentile_99", "largest"))
                saturated = _ranged(found, "saturated", share=True)
                rows.append((label(states, layer, state), result.name, *sizes, saturated))
                rows[-1] += (_reach_text(found),)
    header = (
        "State",
        "Arm",
        "Root mean square",
        "99 % lie below",
        "Largest",
        f"Share with |tanh| > {SATURATION:g}",
        f"Time steps back until the gradient is {100 * REACH:g} %",
    )
    title = "States of the replicates at their best: medians, and their range over the replicates"
    return Section(title, header, rows) if rows else None


def places(states: pd.DataFrame) -> list[tuple[int, str]]:
    """Returns the layers and states that were measured, the lowest layer first."""
    single = states.loc[states["state"] != ALL_STATES, ["layer", "state"]].drop_duplicates()
    return [(int(layer), str(state)) for layer, state in sorted(single.itertuples(index=False))]


def label(states: pd.DataFrame, layer: int, state: str) -> str:
    """Returns what a state is called: with its layer, where there are several."""
    return state if states["layer"].max() < 1 else f"{state} of layer {layer + 1}"


def of_place(states: pd.DataFrame, arm: str, layer: int, state: str) -> pd.DataFrame:
    """Returns the rows of one state of one arm."""
    is_it = (states["arm"] == arm) & (states["layer"] == layer) & (states["state"] == state)
    return states[is_it]


def gradient(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns gradient norms: a row per time step back, from 1, and a column per replicate."""
    norms = rows[rows["quantity"] == "gradient_norm"]
    return norms.pivot(index="step", columns=["repeat", "index"], values="value")


def _ranged(rows: pd.DataFrame, quantity: str, *, share: bool = False) -> str:
    values = rows.loc[rows["quantity"] == quantity, "value"].to_numpy(dtype=np.float64)
    middle, low, high = np.median(values), values.min(), values.max()
    if share:
        return f"{100 * middle:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    return f"{number(float(middle))} ({number(float(low))} to {number(float(high))})"


def _reach_text(rows: pd.DataFrame) -> str:
    """Returns after how many steps the median gradient has all but vanished."""
    norms = gradient(rows).median(axis=1)
    if norms.empty or not norms.iloc[0] > 0.0:
        return ""
    vanished = norms.index[norms < REACH * norms.iloc[0]]
    return str(int(vanished[0])) if len(vanished) else f"more than {len(norms)}"
