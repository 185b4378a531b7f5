"""A study's experiment is made whole and once, described, and keeps what the study is."""

import logging
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from written_runs import Recorder, start, tags_of

from harness.store import connection, experiment, notes, patience
from harness.store.address import StoreError, absolute_uri
from harness.store.kept import STUDY_FILE
from harness.store.source import experiment_ids
from harness.store.writer import StudyWriter


def test_a_sqlite_uri_is_made_absolute_and_others_are_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri("sqlite:////a/b.db") == "sqlite:////a/b.db"
    assert absolute_uri("http://host:5000") == "http://host:5000"


def test_nothing_is_written_where_one_stands(new, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns" / "0").mkdir(parents=True)  # which MLflow would prefer, were no URI given
    writer = new()
    writer.end_run(start(writer), "finished", artifacts={"curve.csv": "update\n"})
    assert [path.name for path in tmp_path.rglob("*")] == ["mlruns", "0"]


def test_creating_a_store_says_nothing(tmp_path, capfd):
    StudyWriter(f"sqlite:///{tmp_path}/deep/mlflow.db", "s", tmp_path / "artifacts")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("mlflow.tracking").isEnabledFor(logging.WARNING)


def test_options_of_a_uri_are_no_part_of_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///a.db?timeout=30") == f"sqlite:///{tmp_path}/a.db?timeout=30"
    StudyWriter("sqlite:///a.db?timeout=30", "s", tmp_path / "artifacts")
    assert (tmp_path / "a.db").exists() and "s" in experiment_ids("sqlite:///a.db?timeout=30")


MAKING = """
import os, sqlite3, sys
from harness.store.writer import StudyWriter

calls = 0

def killed(*_):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), 9)

connect = sqlite3.connect

def watched(*args, **kwargs):
    connection = connect(*args, **kwargs)
    connection.set_trace_callback(killed)
    return connection

sqlite3.connect = sqlite3.dbapi2.connect = watched
StudyWriter(f"sqlite:///{sys.argv[1]}/mlflow.db", "s", None)
"""


@pytest.mark.parametrize("statement", [40, 300])
def test_a_store_whose_making_was_killed_is_made_again(tmp_path, statement):
    """MLflow's migrations are no transaction: a file of which one was cut off can never be opened
    again.
    """
    # With nothing in the cache folder that could be copied.
    made = subprocess.run(
        [sys.executable, "-c", MAKING, str(tmp_path), str(statement)],
        capture_output=True,
        env=os.environ | {"HARNESS_CACHE": str(tmp_path / "cache")},
    )
    assert made.returncode == -signal.SIGKILL, made.stderr.decode()
    assert (
        StudyWriter(f"sqlite:///{tmp_path}/mlflow.db", "s", tmp_path / "artifacts")
        .reader.runs()
        .empty
    )
    assert not list(tmp_path.glob(".mlflow.new"))


def test_two_processes_make_one_store(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    code = "import pathlib, sys; from harness.store.writer import StudyWriter; "
    code += "StudyWriter(*sys.argv[1:3], pathlib.Path(sys.argv[3]))"
    makers = [
        subprocess.Popen([sys.executable, "-c", code, uri, name, str(tmp_path)])
        for name in ("s", "t")
    ]
    assert [maker.wait() for maker in makers] == [0, 0]
    assert {"s", "t"} < experiment_ids(uri).keys()


def test_a_study_is_one_experiment_with_its_artifacts_beside_the_database(new, folder, request):
    ids = {new().experiment_id, new().experiment_id}
    assert ids == {experiment_ids(f"sqlite:///{folder}/mlflow.db")[request.node.name]}
    experiment = new()._client.get_experiment(ids.pop())
    assert experiment.artifact_location == (folder / "artifacts").as_uri()


def test_a_deleted_experiment_is_an_error_that_says_how_to_restore_it(new, writer):
    writer._client.delete_experiment(writer.experiment_id)
    with pytest.raises(
        StoreError,
        match=rf"must not be deleted, but got study='test_a_del.* -x {writer.experiment_id}",
    ):
        new()


def test_a_store_that_cannot_be_reached_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "START_SECONDS", 0.1)
    with pytest.raises(StoreError, match=r"server at 127.0.0.1:9: must answer.* Start its server"):
        StudyWriter("http://127.0.0.1:9", "s", tmp_path)


def test_tables_of_another_version_are_told_with_what_mends_them(tmp_path):
    made, path = tmp_path / "made.db", tmp_path / "it's old.db"
    connection.close(connection.connect(f"sqlite:///{made}"))
    made.rename(path)  # MLflow looks at a file's tables once
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE alembic_version SET version_num = '89d4b8295536'")
    with pytest.raises(StoreError) as told:
        connection.connect(f"sqlite:///{path}")
    assert "are of another version" in str(told.value) and "\n" not in str(told.value)
    command = re.search(r"run: (mlflow db upgrade .*)\. Where", str(told.value))[1]
    assert shlex.split(command) == ["mlflow", "db", "upgrade", f"sqlite:///{path}"]


def test_every_arm_keeps_the_study_file(writer):
    start(writer, arm="lstm")
    writer.store_study_file("study: s\n")
    start(writer, arm="gru")
    stored = [
        writer.reader.artifact(run.run_id, STUDY_FILE)
        for run in writer.reader.search()
        if run.tags["phase"] == "arm"
    ]
    assert stored == [b"study: s\n"] * 2


def test_the_description_is_the_experiments_note(writer):
    writer.describe("**better**")
    assert tags_of(writer)["mlflow.note.content"] == "**better**"


def test_a_long_description_is_cut_at_a_line_and_says_so(writer):
    writer.describe("| a row of a table |\n" * 1000)
    note = tags_of(writer)["mlflow.note.content"]
    assert len(note) <= notes.EXPERIMENT_TAG_LENGTH
    assert note.startswith("| a row") and "a row of a table |\n\n*(cut to the length" in note


def test_the_identity_comes_back_whole_whatever_its_length(new, writer):
    assert writer.reader.identity() is None
    identity = {"compare": {"cells": ["lstm"]}, "source": "σ" * 12_000}
    writer.set_identity(identity)
    assert new().reader.identity() == identity


def test_a_new_identity_replaces_the_old_one_at_once(new, writer):
    old, extended = {"source": "a" * 12_000}, {"source": "b" * 12_000}
    writer.set_identity(old)
    monkey = Recorder(writer._client)
    monkey.set_experiment_tag = interrupted_after(2, writer._client.set_experiment_tag)
    writer._client = monkey
    with pytest.raises(KeyboardInterrupt):
        writer.set_identity(extended)
    assert new().reader.identity() == old
    again = new()
    again.set_identity(extended)
    assert new().reader.identity() == extended
    assert len([key for key in tags_of(again) if key.startswith("harness.identity.")]) == 3


def interrupted_after(count: int, function: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[Any] = []

    def call(*args: Any) -> Any:
        calls.append(args)
        if len(calls) > count:
            raise KeyboardInterrupt
        return function(*args)

    return call


def test_a_user_without_a_name_is_unknown(writer, monkeypatch):
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(experiment.getpass, "getuser", nobody)
    assert writer._client.get_run(start(writer)).data.tags["mlflow.user"] == "unknown"


def test_the_dataset_column_has_name_and_digest_once(new, writer):
    run_id = start(writer)
    for each in (writer, new()):
        each.log_dataset(
            run_id, "time-machine", "0123456789abcdef" * 4, "https://example.org/timemachine.txt"
        )
    (given,) = writer._client.get_run(run_id).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("time-machine", "0123456789ab")
    assert given.dataset.source == "https://example.org/timemachine.txt"
