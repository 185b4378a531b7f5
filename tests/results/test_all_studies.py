"""All studies of a folder are told in one table, whatever they are and whoever made them."""

import sqlite3

import pytest
from stored import cli, reader_of, writer_of

from harness.results.studies import status_lines
from harness.store.locations import Locations
from harness.store.lock import locked
from harness.study.units import Phase, RunKey, Unit


@pytest.fixture
def folder(store, tmp_path):
    """A folder with a study that stopped after one of two runs, and one without any run."""
    writer = writer_of(tmp_path, "stopped")
    writer.set_identity(reader_of(store, "small").identity())
    for index in range(2):
        key = RunKey(Unit("wide"), Phase.TRIAL, index)
        run_id = writer.open_run(key, "", {"learning_rate": 0.1}, {"seed": "0"})
        writer.log(run_id, 120, {"validation/loss": 2.0}, time=4e9)
        if index == 0:
            writer.end_run(run_id, "finished", {}, {"objective": 2.0})
    writer.flush()
    writer.describe("Running: 2 trials of 1 arm, today · [answer](#/there)\n\n| a table |")
    writer_of(tmp_path, "empty").set_identity({"arms": {}})
    return tmp_path


def test_every_study_has_a_row_and_the_latest_is_first(folder):
    head, stopped, empty = status_lines(Locations(folder), 80)
    assert head.split() == ["study", "state", "ended", "last", "activity"]
    # What was evaluated last counts: 4e9 s after 1970 is in October 2096.
    assert stopped.split()[:5] == ["stopped", "unfinished", "1", "of", "?"]
    assert stopped.split()[5].startswith("2096-10-0")
    assert empty.split() == ["empty", "not", "begun", "0", "of", "?"]


def test_what_a_page_says_stands_below_its_study_while_it_is_true(folder):
    with locked("stopped", Locations(folder)):
        _, row, says, _ = status_lines(Locations(folder), 80)
    assert "running" in row and says.strip() == "Running: 2 trials of 1 arm, today"
    writer_of(folder, "stopped").describe(f"{'a verdict, ' * 10}and no more · [answer](#/there)")
    _, row, *says, _ = status_lines(Locations(folder), 80)
    assert "unfinished" in row and len(says) == 2 and max(map(len, says)) <= 80
    assert " ".join(line.strip() for line in says) == f"{'a verdict, ' * 10}and no more"


def test_a_study_whose_file_was_kept_is_counted(store):
    _, row, *_ = status_lines(Locations(store), 80)
    assert row.split()[:5] == ["small", "unfinished", "12", "of", "12"]  # it was not concluded


def test_what_others_keep_there_is_counted_and_not_listed(folder):
    with sqlite3.connect(folder / "mlflow.db") as file:
        file.execute("DELETE FROM experiment_tags WHERE key LIKE 'harness.identity%'")
    lines = list(status_lines(Locations(folder), 80))
    assert lines[1].split()[0] == "stopped"  # its runs are this bench's
    assert lines[2:] == ["1 experiment of another program is stored beside them."]


def test_the_command_needs_no_study_but_a_store(folder, tmp_path, monkeypatch, capsys):
    code, out, _ = cli(monkeypatch, capsys, "status", "--folder", folder)
    assert code == 0 and out.count("\n") == 4 and "stopped" in out and "empty" in out
    nowhere = tmp_path / "nowhere"
    code, _, error = cli(monkeypatch, capsys, "status", "--folder", nowhere)
    assert code == 2 and "tracking: the database must exist" in error
    code, _, error = cli(monkeypatch, capsys, "status", "--set", "fix.hidden_size=3")
    assert code == 2 and "--set: it must stand beside a study" in error


def test_a_damaged_study_does_not_hide_the_others(folder):
    with sqlite3.connect(folder / "mlflow.db") as file:
        file.execute(
            "UPDATE experiment_tags SET value = '{broken' WHERE key LIKE 'harness.identity%' AND "
            "experiment_id = (SELECT experiment_id FROM experiments WHERE name = 'empty')"
        )
    text = "\n".join(status_lines(Locations(folder), 80))
    assert "empty    cannot be read  ? of ?" in text and "stopped  unfinished" in text
