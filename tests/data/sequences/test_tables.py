"""Tables as series: what they hold, and all that is wrong with one at once."""

import re
import sys
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from harness.data import DataError
from harness.data.sequences import entries, tables

DAYS = [f"2020-01-{day:02}" for day in range(1, 7)]
NUMBERS = ["1", "2.5", "-3e0", "4", "5", "6"]


@pytest.fixture
def write(tmp_path):
    """Writes a CSV file of columns, or of a text, and returns its path."""

    def written(content=None, **columns):
        path = tmp_path / "table.csv"
        if content is None:
            rows = [columns, *zip(*columns.values(), strict=True)]
            content = "\n".join(",".join(row) for row in rows)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return written


def problems(path, **given):
    """The lines of the error, without the path."""
    with pytest.raises(DataError) as error:
        tables.read_table(path, **given)
    return str(error.value).replace(path, "FILE").splitlines()


def test_a_csv_file_is_read_as_it_stands(write):
    path = write(time=DAYS, a=NUMBERS, b=["0"] * 5 + ["7"], note=["x"] * 6)
    read = tables.read_table(path, time="time", columns=["b", "a"])
    assert read.columns == ("b", "a") and read.name == f"the table {path}"
    np.testing.assert_array_equal(read.values[:, 1], [1, 2.5, -3, 4, 5, 6])
    np.testing.assert_array_equal(read.times, np.array(DAYS, "datetime64[us]"))
    assert read.is_measured.all() and read.values[-1, 0] == 7


def test_marks_quotes_blanks_and_ends_of_lines_are_as_others_write_them(write):
    text = '\ufeff"time", a \r\n2020-01-01,"1"\r\n\r\n2020-01-02,  2\r\n\r\n'
    read = tables.read_table(write(text), time="time")
    assert read.columns == ("a",) and read.values[:, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["1700", "1701", "1702"], [1700.0, 1701.0, 1702.0]),
        (["20200101", "20200102", "20200103"], ["2020-01-01", "2020-01-02", "2020-01-03"]),
        (["2020-01", "2020-02", "2020-03"], ["2020-01-01", "2020-02-01", "2020-03-01"]),
        (
            ["2020-01-01T00:30+01:00", "2020-01-01 00:30", "2020-01-01T01:30:00Z"],
            ["2019-12-31T23:30", "2020-01-01T00:30", "2020-01-01T01:30"],
        ),
    ],
)
def test_times_are_numbers_or_moments(write, times, expected):
    read = tables.read_table(write(when=times, a=NUMBERS[:3]), time="when")
    kind = np.float64 if isinstance(expected[0], float) else "datetime64[us]"
    np.testing.assert_array_equal(read.times, np.array(expected, kind))
    assert read.times.dtype == kind


def test_without_a_time_rows_follow_each_other(write):
    read = tables.read_table(write(a=NUMBERS))
    np.testing.assert_array_equal(read.times, np.arange(1.0, 7))


def test_a_parquet_file_is_the_csv_file_of_its_content(write, tmp_path):
    expected = tables.read_table(write(time=DAYS, a=NUMBERS), time="time")
    days = [date.fromisoformat(day) for day in DAYS]
    for name, times, values in (
        ("dates", days, list(map(float, NUMBERS))),
        ("moments", [datetime(day.year, day.month, day.day) for day in days], NUMBERS),
        ("texts", DAYS, [Decimal(number) for number in ("1", "2.5", "-3", "4", "5", "6")]),
    ):
        path = str(tmp_path / name)
        parquet.write_table(pa.table({"time": times, "a": values}), path)
        assert tables.read_table(path, time="time").fingerprint == expected.fingerprint
    parquet.write_table(pa.table({"a": [True, False], "b": [[1], [2]]}), path)
    found = problems(path)
    assert len(found) == 2 and "column 'a' must hold finite numbers" in found[0]
    assert "but got [1] in rows 1 and 2" in found[1]
    with open(path, "r+b") as file:
        file.truncate(20)
    assert re.match("FILE: must be a readable Parquet file, but got error=", *problems(path))


def test_all_that_is_wrong_is_told_at_once(write):
    path = write(
        time=["2020-01-01", "2020-01-03", "2020-01-02", "2020-01-02", "soon", ""],
        a=["1", "2", "", "NaN", "5", "6"],
        b=["1;5", "2", "three", "inf", "5", "6"],
    )
    found = problems(path, time="time", columns=["a", "b", "c", "a", "time"])
    assert found == [
        "FILE: columns must be among its own, time, a, b, but got ['c']. Correct them; a file's "
        "columns are parted by commas.",
        "FILE: columns must differ from each other and from time, but got ['a', 'time'] more than "
        "once. Name each once.",
        "FILE: column 'b' must hold finite numbers, with a point and no comma, but got '1;5' in "
        "rows 1, 3 and 4. Correct them, or name other columns.",
        "FILE: time column 'time' must hold time stamps such as 2020-01-31 or 2020-01-31T08:00, or "
        "numbers, but got 'soon' in rows 5 and 6. Correct them.",
        "FILE: time column 'time' must ascend, but got a time before that of the row above in row "
        "3. Sort the rows by time.",
        "FILE: time column 'time' must hold every time once, but got one that was there before in "
        "row 4. Keep one row of each time.",
        "FILE: column 'a' must have a number in every row, but got none in rows 3 and 4. Write "
        "gaps: previous or gaps: linear, and they are filled; or mend the rows.",
    ]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("", "must have a header and rows below it, but got num_rows=0. Name another"),
        ("time,a\n", "must have a header and rows below it, but got num_rows=0. Name another"),
        ("a,b\n1,2\n1,2,3\n4\n", "as many entries as the header, 2, but .* in rows 2 and 3"),
        ("time;a\n1;2,5\n", "parted by commas, but its header has semicolons: 'time;a'. Write it"),
        ("a,a\n1,2\n", r"columns must have names that differ, but got \['a'\] more than once"),
        ('a\n"1\n', "must be a CSV file, but got error='unexpected end of data'"),
        ("a\n1\n".encode("utf-16"), "must be UTF-8, but got .* UTF-16 by its mark. Convert it"),
        ("wann,a\n1,2\n", "time must be one of its columns wann, a, but got time='time'. Correct"),
        ("time\n1\n", "must have a column beside time, but got time='time' alone"),
        ("time,a\n1,x\n2,y\n", "column 'a' must hold finite numbers, .* 'x' in rows 1 and 2"),
        ("time,a\n1,\n2,nan\n", "column 'a' must have numbers, but got none in any row"),
        ("time,a\n1,2\n2,3\n4,5\n5,6\n", r"no step without a row, but got 1 missing above row 3"),
        ("time,a\n1,1\n2,2\n2.5,3\n3.5,4\n4.5,5\n", "go on in equal steps, .* another in row 3"),
    ],
)
def test_each_fault_is_one_clear_error(write, content, rule):
    (found,) = problems(write(content), time="time" if content[:4] in ("time", "wann") else None)
    assert re.search(rule, found), found


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="path: must be a readable file, but got path="):
        tables.read_table(str(tmp_path / "none.csv"))


def test_many_rows_are_counted():
    assert entries.rows_named([3]) == "row 3"
    assert entries.rows_named(range(1, 2001)) == "rows 1, 2, 3, 4, 5 and 1,995 more"


def test_what_statsmodels_ships_is_read():
    sunspots = tables.shipped("sunspots")
    assert sunspots.values.shape == (309, 1) and sunspots.times[[0, -1]].tolist() == [1700, 2008]
    macro = tables.shipped("macro", columns=["unemp", "realgdp"])
    assert macro.values[0].tolist() == [5.8, 2710.349] and macro.times[1] == 1959.25
    assert len(tables.shipped("macro").columns) == 12 and len(macro) == 203
    with pytest.raises(DataError, match="co2: column 'co2' must have a number in every row, but"):
        tables.shipped("co2")
    co2 = tables.shipped("co2", gaps="linear")
    assert len(co2) == 2284 and (~co2.is_measured).sum() == 59
    with pytest.raises(DataError, match=r"macro: columns must be among its own, .*\['gdp'\]"):
        tables.shipped("macro", columns=["gdp"])


def test_packages_that_lack_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    with pytest.raises(DataError, match=r"statsmodels, .*'recurrent-bench\[series\]'"):
        tables.shipped("co2")
    path = tmp_path / "table.parquet"
    parquet.write_table(pa.table({"a": [1.0]}), path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pyarrow, .*'recurrent-bench\[studies\]'"):
        tables.read_table(str(path))
