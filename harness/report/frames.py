"""The frames that a report is made of: their columns, and what a cell of one holds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.store import columns

RUN_COLUMNS = tuple(name for name in columns.RUN_DTYPES if name not in columns.PROVENANCE)
CURVE_COLUMNS = (*columns.KEY_DTYPES, *columns.CURVE_DTYPES)
TIMING_COLUMNS = (*columns.ARM_DTYPES, *columns.TIMING_DTYPES)


def with_columns(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Returns ``frame`` with all of ``columns``.

    An empty frame may come without any of them, an older export without those of repeat and draw.
    """
    others = [name for name in map(str, frame) if name not in columns]
    completed = frame.reindex(columns=[*columns, *others])
    counted = {name: completed[name].fillna(0) for name in ("repeat", "draw") if name in columns}
    return completed.assign(**counted)


def plain(value: Any) -> Any:
    """Returns a cell of a frame as JSON would hold it: no NumPy scalar, None for a missing one."""
    if isinstance(value, dict | list | tuple):
        return value
    return None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value
