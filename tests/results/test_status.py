"""What has ended is counted, and what has not is said too."""

import io
import re
from datetime import datetime

import pytest
from planted import search_of, study
from rich.console import Console
from small_study import write
from stored import reader_of, writer_of

from harness.results import reports
from harness.results.status import shown_total, status_table
from harness.store.locations import Locations
from harness.store.lock import locked
from harness.study.units import Phase, RunKey, Unit

RUNNING = r"Running since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d, by process \d+ on \S+\."


@pytest.fixture
def interrupted(store, tmp_path):
    """A study of one ended and one begun trial, with the identity of ``small``."""
    path = write(tmp_path, trials=2, seeds=5, runtime="{rounds: 6, seconds: 0.001}")
    text = path.read_text().replace("cell: lstm", "cell: lstm\n  engine: reference\n  pack_size: 1")
    path.write_text(text)
    writer = writer_of(tmp_path, "small")
    writer.set_identity(reader_of(store, "small").identity())
    for index in range(2):
        key = RunKey(Unit("wide"), Phase.TRIAL, index)
        run_id = writer.open_run(key, "", {"learning_rate": 0.1}, {"seed": "0"})
        writer.log(run_id, 120 + index, {"validation/loss": 2.0}, time=1.0)
        if index == 0:
            writer.end_run(run_id, "finished", {}, {"objective": 2.0})
    writer.flush()
    return path, Locations(tmp_path)


def counts(table):
    return [[str(cell) for cell in column.cells] for column in table.columns[3:]]


def test_a_run_that_was_interrupted_is_counted_with_where_it_stands(interrupted):
    path, locations = interrupted
    table = status_table(str(path), (), locations)
    finished, *_, unfinished = counts(table)
    assert sum(map(int, finished)) == sum(map(int, unfinished)) == 1
    known, last, again = re.split(r"(?<=at )(\d{4}-.{11}\. )", table.caption)
    assert datetime.fromisoformat(last[:16]) <= datetime.now()
    assert known == (
        "1 of 14 runs have ended. 1 is unfinished; the furthest stands at update 121. "
        "Incomplete: no process runs it; its last activity was at "
    )
    assert again == (
        f"`harness run {path} --folder {locations.folder}` goes on with it from its last "
        "checkpoint."
    )
    with locked("small", locations):
        assert re.search(RUNNING, status_table(str(path), (), locations).caption)


def test_a_report_says_whether_what_is_missing_is_being_trained(interrupted, tmp_path):
    path, locations = interrupted
    writer = writer_of(tmp_path, "small")
    for arm, loss in (("narrow", 2.0), ("wide", 2.1)):
        key = RunKey(Unit(arm), Phase.REPLICATE, 0)
        run_id = writer.open_run(key, "", {}, {"seed": "1000"})
        writer.end_run(run_id, "finished", {}, {"objective": loss, "test/loss": loss})
    writer.flush()

    def told():
        console = Console(file=io.StringIO(), width=1000)
        reports.print_report(str(path), (), locations, tmp_path / "out", console)
        return console.file.getvalue(), (tmp_path / "out" / "report.html").read_text()

    with locked("small", locations):
        for text in told():
            assert re.search(RUNNING, text) and "The study is running. So far," in text
            assert "ncomplete" not in text
    for text in told():
        assert "Incomplete: no process runs it; its last activity was at 20" in text
        assert "The study is incomplete. So far," in text and "unning since" not in text


def test_a_report_of_a_whole_study_says_nothing_of_its_lock(store, tmp_path):
    locations = Locations(store)
    with locked("small", locations):
        reports.print_report("small", (), locations, tmp_path, Console(file=io.StringIO()))
    page = (tmp_path / "report.html").read_text()
    assert "unning since" not in page and "ncomplete" not in page


def test_a_study_that_ended_says_so(store):
    assert status_table("small", (), Locations(store)).caption == "12 of 12 runs have ended."


def test_a_search_that_may_be_extended_asks_for_no_fewer_until_nothing_is_left_to_do():
    planned = study("lstm", "gru", tune=search_of(4))
    assert shown_total(planned, 52, 40, False) == shown_total(planned, 52, 52, True) == "52"
    planned = study("lstm", "gru", tune=search_of(4, at_most=8))
    assert shown_total(planned, 52, 52, False) == "at least 52"
    assert shown_total(planned, 52, 64, True) == "64"
    assert shown_total(planned, 52, 48, True) == "52"  # an arm that was stopped has fewer


def test_seeds_that_the_study_asks_for_no_more_are_not_counted(store):
    text = (store / "small.yaml").read_text()
    path = store / "fewer.yaml"
    path.write_text(text.replace("seeds: 5", "seeds: 3"))
    table = status_table(str(path), (), Locations(store))
    path.unlink()
    finished, *_ = counts(table)
    assert finished == ["1", "3", "1", "3"]
    assert table.caption == (
        "8 of 8 runs have ended. 4 runs are stored that the study asks for no more."
    )
