"""How far off forecasts are: the arms' beside those of simple forecasters, in one table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.report.tables import Section
from harness.report.tried import is_not_learned
from harness.store.columns import ERRORS, SCORES
from harness.study.units import Phase
from harness.training.messages import RunState

ROW = ("forecaster", "column", *ERRORS, *SCORES, "remark")
"""The columns of a frame of errors."""


def errors(
    arms: Sequence[str], runs: pd.DataFrame, simple: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """Returns the errors on the test split, the columns of :data:`ROW`.

    For each column of the series there are the simple forecasters and then the arms, each with the
    mean of its finished replicates. It is empty where nothing was forecast.

    Args:
        arms: Their names in the study's order.
        runs: Those of one condition, with the columns that begin as ``columns.ERROR_PREFIXES``.
        simple: Of that condition, as :class:`harness.store.notes.StudyNotes` has them.
    """
    tested = [row for row in simple if row["split"] == "test"]
    start = f"test/{ERRORS[0]}_"
    named = [str(name).removeprefix(start) for name in runs if str(name).startswith(start)]
    ended = runs[(runs["phase"] == Phase.REPLICATE) & (runs["state"] == RunState.FINISHED)]
    rows: list[Mapping[str, Any]] = []
    for column in dict.fromkeys([*(row["column"] for row in tested), *named]):
        rows += [row for row in tested if row["column"] == column]
        names = [f"test/{error}_{column}" for error in (*ERRORS, *SCORES)]
        for arm in arms:
            of_arm = ended[ended["arm"] == arm]
            known = of_arm.reindex(columns=names).dropna(how="all")
            if known.empty:
                continue
            means = dict(zip((*ERRORS, *SCORES), known.mean(), strict=True))
            remark = f"the mean of {len(known)} replicates" if len(known) > 1 else "one replicate"
            if num_guesses := int(is_not_learned(of_arm.loc[known.index]).sum()):
                remark += f", {num_guesses} at the guess"
            rows.append({"forecaster": arm, "column": column, **means, "remark": remark})
    return pd.DataFrame(rows, columns=list(ROW))


def section(found: pd.DataFrame) -> Section:
    """Returns the table of what :func:`errors` returned."""
    header = ("Forecaster", "Column", "MAE", "RMSE", "MASE", "CRPS", "Coverage of 90 %", "Remark")
    rows = [
        (
            str(row["forecaster"]),
            str(row["column"]) if found["column"].nunique() > 1 else "",
            *("" if pd.isna(row[error]) else f"{row[error]:.4g}" for error in (*ERRORS, *SCORES)),
            str(row["remark"]),
        )
        for row in found.to_dict("records")
    ]
    title = "Errors of the forecasts on test, in the series' own unit"
    return Section(title, header, rows).without_empty(
        "Column", "CRPS", "Coverage of 90 %", "Remark"
    )
