"""What `harness init` writes runs as it is."""

import subprocess
import sys

import pytest
from command_line import harness

from harness import scaffold, study


def test_a_study_is_written_and_read_and_never_overwritten(tmp_path):
    done = harness("init", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "harness run quickstart.yaml" in done.stdout
    path = tmp_path / "quickstart.yaml"
    shipped = study.load(scaffold.TEMPLATES.parents[1] / "studies" / "quickstart.yaml")
    assert study.load(path).identity() == shipped.identity()
    path.write_text("mine")
    again = harness("init", "quickstart", cwd=tmp_path)
    assert again.returncode == 2 and "must not overwrite a file" in again.stderr
    assert path.read_text() == "mine"


def test_every_field_of_the_study_has_a_comment_or_explains_itself(tmp_path):
    scaffold.write_study("gates", tmp_path)
    text = (tmp_path / "gates.yaml").read_text()
    assert text.count("#") >= 20 and "@" not in text
    assert study.load(tmp_path / "gates.yaml").name == "gates"


@pytest.mark.slow
def test_the_study_runs_from_an_empty_folder(tmp_path):
    assert harness("init", "first", cwd=tmp_path).returncode == 0
    small = ["fix.budget={updates: 20}", "replicate.seeds=6", "measure.runtime=none"]
    small += ["compare.cross.cell=[lstm, gru]", "tune.trials=2", "fix.evaluations=2"]
    words = [word for each in small for word in ("--set", each)]
    done = harness("run", "first.yaml", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mlflow.db").exists() and "gru" in done.stdout


def test_a_cell_keeps_its_contract_and_its_test_passes(tmp_path):
    done = harness("init", "--cell", "soft-gate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["soft_gate.py", "test_soft_gate.py"]
    tested = harness("cells", "test", "soft_gate.py", cwd=tmp_path)
    assert tested.returncode == 0 and "soft-gate: passes the contract" in tested.stdout
    shown = harness("cells", "--file", "soft_gate.py", "show", "soft-gate", cwd=tmp_path)
    assert shown.returncode == 0 and "n  = a / (1 + |a|)" in shown.stdout, shown.stderr
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_soft_gate.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_no_file_is_written_where_one_of_two_exists(tmp_path):
    (tmp_path / "test_my_cell.py").write_text("mine")
    with pytest.raises(scaffold.ScaffoldError, match="test_my_cell.py"):
        scaffold.write_cell(None, tmp_path)
    assert not (tmp_path / "my_cell.py").exists()


@pytest.mark.parametrize(
    ("write", "name", "message"),
    [
        (scaffold.write_study, "My Study", "Write for example my-study"),
        (scaffold.write_study, "quickstart.yaml", "Write for example quickstart"),
        (scaffold.write_cell, "2-gates", "Write for example my-2-gates"),
        (scaffold.write_cell, "lstm", "must have a name of its own"),
        (scaffold.write_cell, "irnn", "must have a name of its own"),
    ],
)
def test_a_name_that_cannot_be_taken_is_refused(write, name, message, tmp_path):
    with pytest.raises(scaffold.ScaffoldError, match=message):
        write(name, tmp_path)
    assert not list(tmp_path.iterdir())
