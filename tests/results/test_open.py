import io
import re

import pytest
import small_study
from rich.console import Console
from stored import cli, writer_of

from harness import study
from harness.results import export
from harness.results.open import NothingError, open_study
from harness.results.reports import print_report
from harness.results.status import status_table
from harness.store.identity import IdentityError
from harness.store.kept import load_study
from harness.store.locations import Locations
from harness.store.notes import Origin, StudyNotes
from harness.study.units import Phase, RunKey, Unit

CELL = '''\
from torch import tanh

from cells import Cell


class Mine(Cell):
    r"""Elman's cell under another name.

        h' = tanh(W x + R h + b)

    Source: Elman, "Finding structure in time", 1990.
    Reference: none.
    Differs from rnn-tanh: in nothing.
    """

    name = "mine-alone"
    gates = ("h",)

    def step(self, p, x, h):
        return (p.drop(tanh(x.h + p.R(h).h)),)
'''


def test_a_study_is_opened_by_its_file_or_by_its_name(store):
    by_file, file_reader = open_study(str(store / "small.yaml"), (), Locations(store))
    by_name, name_reader = open_study("small", (), Locations(store))
    assert by_file.identity() == by_name.identity() and by_file.text == by_name.text
    assert by_file.path == by_name.path and by_name.name == "small"
    assert file_reader.experiment_id == name_reader.experiment_id


def test_a_file_that_is_another_study_than_the_stored_one_is_refused(store):
    with pytest.raises(IdentityError, match=r"measure.margin: 0.01 -> 0.05"):
        open_study(str(store / "small.yaml"), ("measure.margin=0.05",), Locations(store))


def test_a_file_that_lacks_a_stored_arm_is_told_to_name_it(store):
    without = ("compare.arms={narrow: {hidden_size: 3}, other: {hidden_size: 4}}",)
    with pytest.raises(IdentityError, match=r"arms.wide: there -> gone\nName these arms in the"):
        open_study(str(store / "small.yaml"), without, Locations(store))


def test_a_study_that_was_never_run_is_not_opened_and_no_store_is_made(tmp_path):
    path = small_study.write(tmp_path)
    with pytest.raises(NothingError, match="must have been run, but 'small' is not in .* Run it"):
        open_study(str(path), (), Locations(tmp_path))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["small.yaml", "text.txt"]


@pytest.fixture
def without_its_cell(tmp_path):
    """A study of a cell of its own, of which a run is stored, and whose file is gone since."""
    path = small_study.write(tmp_path)
    text = path.read_text().replace(
        "wide: {hidden_size: 16}", "wide: {hidden_size: 16, cell: mine-alone}"
    )
    path.write_text(f"cells: [mine.py]\n{text}")
    (tmp_path / "mine.py").write_text(CELL)
    planned = study.load(path)
    writer = writer_of(tmp_path, "small")
    writer.set_identity(planned.identity())
    writer.save_notes(StudyNotes(origin=Origin(str(path), ())))
    key = RunKey(Unit("wide"), Phase.REPLICATE, 0)
    run_id = writer.open_run(key, "", {"hidden_size": 16}, {"seed": "1000"})
    writer.end_run(run_id, "finished", {}, {"objective": 5.0, "test/loss": 1.6})
    writer.store_study_file(planned.text)
    (tmp_path / "mine.py").unlink()
    return path, planned


@pytest.mark.parametrize("is_named", [False, True])
def test_a_study_whose_file_of_cells_is_gone_is_read_and_not_run(without_its_cell, is_named):
    path, planned = without_its_cell
    locations, name = Locations(path.parent), "small" if is_named else str(path)
    loaded, _ = open_study(name, (), locations)
    assert loaded.identity() == planned.identity()
    told = f"cells: {path.parent / 'mine.py'} must be there to train or sample, but is missing."
    assert told in status_table(name, (), locations).caption
    out = io.StringIO()
    print_report(name, (), locations, None, Console(file=out, width=400))
    assert told in out.getvalue() and "wide" in out.getvalue()
    with pytest.raises(study.StudyError, match="must be a file of cells"):
        load_study(name, (), locations)


def test_a_shipped_cell_that_changed_is_told_beside_one_that_is_gone(without_its_cell):
    path, planned = without_its_cell
    stored = planned.identity()
    stored["arms"]["narrow"]["cell_source"] = "of another day"
    writer = writer_of(path.parent, "small")
    writer.set_identity(stored)
    with pytest.raises(IdentityError, match="narrow"):
        open_study(str(path), (), Locations(path.parent))


def test_a_cell_that_cannot_be_compared_is_told_and_one_within_a_block_is(without_its_cell):
    path, _ = without_its_cell
    locations, file = Locations(path.parent), path.parent / "mine.py"
    file.write_text(CELL)
    assert "cells:" not in status_table(str(path), (), locations).caption
    file.write_text(CELL.replace('name = "mine-alone"', 'name = "mine-" + "alone"'))
    told = f"cells: {file} must state the name of a cell in one class to be compared with what was"
    assert told in status_table(str(path), (), locations).caption
    out = io.StringIO()
    print_report(str(path), (), locations, path.parent / "out", Console(file=out, width=400))
    assert out.getvalue().count(told) == 1
    assert export.load(str(path), path.parent).warnings == [
        f"{told} run, but got no such class of mine-alone. Whether it was edited is not known here;"
        " `harness run` looks."
    ]
    for form in ("report.md", "report.html"):
        written = re.sub(r"<[^>]*>|\\", "", (path.parent / "out" / form).read_text())
        assert written.count(told) == 1, form
    at = CELL.index("class ")
    body = "".join(f"    {line}" for line in CELL[at:].splitlines(keepends=True))
    file.write_text(f"{CELL[:at]}if True:\n{body}")
    with pytest.raises(IdentityError, match="cell_source"):
        open_study(str(path), (), locations)


@pytest.mark.parametrize("name", ["small", "small.yaml"])
@pytest.mark.parametrize(
    "line", ["a b", "raise SystemExit(7)", "open(__file__ + '.ran', 'w')", "\x00"]
)
def test_whoever_reads_what_is_stored_runs_nothing_of_a_file_of_cells(
    without_its_cell, name, line, monkeypatch, capsys
):
    path, planned = without_its_cell
    monkeypatch.chdir(path.parent)
    (path.parent / "mine.py").write_text(f"{CELL}\n\n{line}\n")
    loaded, _ = open_study(name, (), Locations(path.parent))
    assert loaded.identity() == planned.identity()
    for words in (("status",), ("status", name), ("report", name), ("clean", name, "--models")):
        code, _, error = cli(monkeypatch, capsys, *words)
        assert (code, error) == (0, "")
    code, _, error = cli(monkeypatch, capsys, "export", name, "--out", "tables", "--format", "csv")
    assert (code, error) == (0, "")
    assert not (path.parent / "mine.py.ran").exists()


def test_a_cell_of_ones_own_that_changed_is_told_without_running_it(without_its_cell):
    path, _ = without_its_cell
    (path.parent / "mine.py").write_text(CELL.replace("x.h + p.R(h).h", "x.h - p.R(h).h"))
    with pytest.raises(IdentityError, match=r"arms.wide.cell_source: '\w+' -> '\w+'"):
        open_study(str(path), (), Locations(path.parent))
