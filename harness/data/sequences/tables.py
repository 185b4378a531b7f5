"""Time series of tables: a user's CSV or Parquet file, and the data sets that statsmodels ships.

The libraries are loaded when they are needed; a CSV file needs none.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.data.encodings import decode
from harness.data.errors import DataError
from harness.data.sequences.entries import numbers_of, rows_named, times_of
from harness.data.sequences.gaps import Gaps, without_gaps
from harness.data.sequences.series import Series
from harness.data.text import File

_PARQUET = b"PAR1"  # what a file begins with


def read_table(
    path: str, *, time: str | None = None, columns: Sequence[str] = (), gaps: Gaps = "refuse"
) -> Series:
    """Returns the series of a CSV file (UTF-8, commas, a header) or of a Parquet file.

    Args:
        path: The file. What it is, its first bytes say.
        time: The column of time stamps (ISO 8601; UTC where one has no zone) or of numbers; None:
            rows follow each other in equal steps, and their times are 1, 2, ...
        columns: Those that are read; none: all but ``time``.
        gaps: What becomes of entries that are empty or NaN, and of steps that have no row.

    Raises:
        DataError: The file, its columns, time stamps or values are not what they must be. The
            message has a line for every problem, with the numbers of its rows: the first is 1.
    """
    table = columns_of(path)
    names = tuple(columns) or tuple(name for name in table if name != time)
    problems = _name_problems(path, table, time, names)
    values: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(names):
        if name in table and name != time:
            numbers, faults = numbers_of(f"{path}: column {name!r}", table[name])
            problems += faults
            if not faults:
                values[name] = numbers
    times: np.ndarray | None = np.arange(1.0, 1 + len(next(iter(table.values()))))
    if time is not None and time in table:
        times, faults = times_of(f"{path}: time column {time!r}", table[time])
        problems += faults
    return without_gaps(f"the table {path}", path, times, values, gaps, problems)


def columns_of(path: str) -> Mapping[str, Sequence[Any]]:
    """Returns what each column has in its rows."""
    content = File(path, "path").read_bytes()
    read = _parquet if content.startswith(_PARQUET) else _csv
    names, columns = read(content, path)
    num_rows = len(columns[0]) if columns else 0
    problems = []
    if num_rows == 0:
        problems.append(
            f"{path}: must have a header and rows below it, but got {num_rows=}. Name another file."
        )
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        problems.append(
            f"{path}: columns must have names that differ, but got {doubled} more than once. "
            "Rename them."
        )
    if problems:
        raise DataError(*problems)
    return dict(zip(names, columns, strict=True))


SIGNS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""What other programs part columns by -> what it is called."""


def _csv(content: bytes, path: str) -> tuple[list[str], list[Sequence[Any]]]:
    text = decode(content, path, file=path).removeprefix("\ufeff")
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise DataError(
            f"{path}: must be a CSV file, but got error={str(error)!r}. Correct its quotes."
        ) from error
    header, *body = rows or [[]]
    if len(header) == 1 and (others := [name for sign, name in SIGNS.items() if sign in header[0]]):
        raise DataError(
            f"{path}: columns must be parted by commas, but its header has {' and '.join(others)}: "
            f"{header[0]!r}. Write it anew with commas, and with a point in its numbers."
        )
    uneven = [number for number, row in enumerate(body, 1) if len(row) != len(header)]
    if uneven:
        raise DataError(
            f"{path}: rows must have as many entries as the header, {len(header)}, but got another "
            f"number in {rows_named(uneven)}. Correct them; numbers have a point and no comma."
        )
    return [name.strip() for name in header], list(zip(*body, strict=True))


def _parquet(content: bytes, path: str) -> tuple[list[str], list[Sequence[Any]]]:
    try:
        import pyarrow  # imported late: few studies need it
        from pyarrow import parquet
    except ImportError as error:
        raise _lacking("a Parquet file", "pyarrow", "studies", error) from error
    try:
        table = parquet.ParquetFile(io.BytesIO(content)).read()
        return list(table.column_names), [column.to_pylist() for column in table.columns]
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{path}: must be a readable Parquet file, but got error={str(error)!r}. Write it anew."
        ) from error


def _lacking(what: str, package: str, extra: str, error: ImportError) -> DataError:
    return DataError(
        f"{what} needs the package {package}, but got error={str(error)!r}. Install it: pip "
        f"install 'recurrent-bench[{extra}]'."
    )


def _name_problems(
    where: str, known: Collection[str], time: str | None, names: Sequence[str]
) -> list[str]:
    """Returns what is wrong with the columns that are asked for."""
    problems = []
    if time is not None and time not in known:
        problems.append(
            f"{where}: time must be one of its columns {', '.join(known)}, but got {time=}. "
            "Correct it, or leave it out: rows then follow each other in equal steps."
        )
    if unknown := [name for name in dict.fromkeys(names) if name not in known]:
        problems.append(
            f"{where}: columns must be among its own, {', '.join(known)}, but got {unknown}. "
            "Correct them; a file's columns are parted by commas."
        )
    if twice := [name for name, count in Counter(names).items() if count > 1 or name == time]:
        problems.append(
            f"{where}: columns must differ from each other and from time, but got {twice} more "
            "than once. Name each once."
        )
    if not names:
        problems.append(
            f"{where}: must have a column beside time, but got {time=} alone. Name another file."
        )
    return problems


@dataclass(frozen=True)
class Shipped:
    """A data set of statsmodels.

    Attributes:
        description: What it is, in one line.
        module: Its module in ``statsmodels.datasets``.
        parts: Returns its times, (L,), and its columns of its data frame.
    """

    description: str
    module: str
    parts: Callable[[Any], tuple[np.ndarray, Any]]


def _sunspots(frame: Any) -> tuple[np.ndarray, Any]:
    return frame["YEAR"].to_numpy(np.float64), frame[["SUNACTIVITY"]]


def _co2(frame: Any) -> tuple[np.ndarray, Any]:
    return frame.index.to_numpy().astype("datetime64[us]"), frame


def _macro(frame: Any) -> tuple[np.ndarray, Any]:
    quarters = frame["year"] + (frame["quarter"] - 1) / 4
    return quarters.to_numpy(np.float64), frame.drop(columns=["year", "quarter"])


SHIPPED = {
    "sunspots": Shipped("sunspots a year, 1700 to 2008; one column", "sunspots", _sunspots),
    "co2": Shipped(
        "carbon dioxide at Mauna Loa a week, 1958 to 2001, with gaps; one column", "co2", _co2
    ),
    "macro": Shipped(
        "the economy of the United States a quarter, 1959 to 2009; twelve columns",
        "macrodata",
        _macro,
    ),
}
"""The data sets that statsmodels ships, by the names of their corpora."""


def shipped(name: str, *, columns: Sequence[str] = (), gaps: Gaps = "refuse") -> Series:
    """Returns a data set that statsmodels ships.

    Args:
        name: Its key in ``SHIPPED``.
        columns: Those that are read; none: all.
        gaps: As :func:`read_table` takes it.

    Raises:
        DataError: The library is not installed, or there are other columns or gaps than asked for.
    """
    try:
        from statsmodels import datasets  # imported late: few studies need it
    except ImportError as error:
        raise _lacking(f"corpus: {name}", "statsmodels", "series", error) from error
    found = SHIPPED[name]
    times, frame = found.parts(getattr(datasets, found.module).load_pandas().data)
    names = tuple(columns) or tuple(frame.columns)
    problems = _name_problems(name, list(frame.columns), None, names)
    values = {each: frame[each].to_numpy(np.float64) for each in names if each in frame.columns}
    return without_gaps(f"{name} of statsmodels", name, times, values, gaps, problems)
