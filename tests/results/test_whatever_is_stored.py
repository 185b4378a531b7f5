"""Whatever somebody has written into a store: status, report, export and clean work."""

import contextlib
import io
import shutil
import sqlite3

import pytest
from rich.console import Console
from stored import reader_of

from harness.results import clean, export, reports, status
from harness.results.doctor import examine
from harness.store.locations import Locations

TAGS = {
    "num_parameters": "1" + "0" * 400,
    "num_states": "many",
    "threads": "-",
    "pack_size": "1e999",
    "flops_per_token": str(2**70),
    "hidden_size": "\x00",
    "state": "none",
    "git_dirty": "?",
}


@pytest.fixture
def folder(store, tmp_path):
    return shutil.copytree(store, tmp_path / "study")


def change(folder, statement, *values):
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute(statement, values)


def run_of(folder, index):
    runs = reader_of(folder, "small").runs()
    return runs.query(f"phase == 'replicate' and arm == 'wide' and index == {index}")[
        "run_id"
    ].iloc[0]


def assert_all_work(folder, tmp_path, num_runs):
    locations, console = Locations(folder), Console(file=io.StringIO())
    console.print(status.status_table("small", (), locations))
    reports.print_report("small", (), locations, None, console)
    assert export.export("small", (), locations, tmp_path / "out", ("csv",))
    lines = clean.clean("small", locations)
    assert sum(line.startswith("run ") for line in lines) == num_runs
    return lines


def test_tags_of_any_content_stop_nothing(folder, tmp_path):
    run_id = run_of(folder, 1)
    for key, value in TAGS.items():
        change(
            folder, "UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?", value, key, run_id
        )
    change(folder, "UPDATE params SET value = ? WHERE run_uuid = ?", "9" * 5000, run_id)
    change(folder, "UPDATE latest_metrics SET value = 9e999 WHERE run_uuid = ?", run_id)
    assert_all_work(folder, tmp_path, 14)


@pytest.mark.parametrize("value", ["x", "-1", "1" + "0" * 400])
def test_a_run_without_a_place_is_left_out_and_told(folder, tmp_path, value):
    run_id = run_of(folder, 1)
    change(folder, "UPDATE tags SET value = ? WHERE key = 'index' AND run_uuid = ?", value, run_id)
    assert_all_work(folder, tmp_path, 14)  # clean lists it too: it would go with the study
    texts = [each.text for each in examine("small", Locations(folder)).findings]
    assert any(run_id in text and "where it belongs" in text for text in texts)


def test_a_damaged_file_costs_its_own_rows_alone(folder, tmp_path):
    files = folder / "artifacts" / run_of(folder, 1) / "artifacts"
    (files / "curve.csv").write_bytes(b'update,tokens\n1,"\xff\n"2,x')
    (files / "samples.json").write_bytes(b"[{]")
    assert_all_work(folder, tmp_path, 14)
    curves = reader_of(folder, "small").curves()
    assert set(curves.query("phase == 'replicate' and arm == 'wide'")["index"]) == {0, 2, 3, 4}
