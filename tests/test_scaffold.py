"""What `harness init` writes runs as it is; tests/test_distribution.py runs its study."""

import ast
import inspect
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cells import registry
from cells import shipped as shipped_cells
from harness import scaffold, study
from harness.cli import app
from harness.study import absent


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """Runs a command in an empty folder, in this process, whose cells stay as they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_cells", dict(registry._cells))
    return lambda *words: CliRunner().invoke(app, words)


def test_a_study_is_written_and_read_and_never_overwritten(harness, tmp_path):
    done = harness("init")
    assert done.exit_code == 0, done.output
    assert "harness run quickstart.yaml" in done.stdout
    document = scaffold.TEMPLATES.parents[1] / "docs" / "study.md"
    assert f"{document}  explains every field" in done.stdout  # from elsewhere its whole path
    path = tmp_path / "quickstart.yaml"
    shipped = study.load(scaffold.TEMPLATES.parents[1] / "studies" / "quickstart.yaml")
    # A study that is stored already is another one with temperatures, so the shipped one has none.
    assert [
        change.partition(":")[0] for change in study.load(path).changes_since(shipped.identity())
    ] == ["measure.samples.temperatures"]
    path.write_text("mine")
    with pytest.raises(scaffold.ScaffoldError, match="must not overwrite a file"):
        scaffold.write_study("quickstart", tmp_path)
    assert path.read_text() == "mine"
    with pytest.raises(ValueError, match="folder: must be a folder in which files can be made"):
        scaffold.write_study("gates", path)


def test_every_field_of_the_study_has_a_comment_or_explains_itself(tmp_path):
    scaffold.write_study("gates", tmp_path)
    text = (tmp_path / "gates.yaml").read_text()
    assert text.count("#") >= 20 and "@" not in text
    assert study.load(tmp_path / "gates.yaml").name == "gates"


def test_a_cell_keeps_its_contract_and_its_test_passes(harness, tmp_path):
    done = harness("init", "--cell", "soft-gate")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["soft_gate.py", "test_soft_gate.py"]
    shown = harness("cells", "--file", "soft_gate.py", "show", "soft-gate")
    assert shown.exit_code == 0 and "n  = a / (1 + |a|)" in shown.stdout, shown.output
    # The contract, as the test that was written holds the cell to it.
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_soft_gate.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert tested.returncode == 0 and "2 passed" in tested.stdout, tested.stdout


def test_the_written_test_fails_where_the_step_is_not_the_equations(harness, tmp_path):
    harness("init", "--cell", "wrong-gate")
    path = tmp_path / "wrong_gate.py"
    right = path.read_text()
    path.write_text(right.replace("return (g * h + (1 - g) * n,)", "return (g * h + n,)"))
    assert path.read_text() != right
    names = runpy.run_path(str(tmp_path / "test_wrong_gate.py"))
    names["test_the_cell_keeps_the_contract"]()  # it knows no equations
    with pytest.raises(AssertionError, match="not close"):
        names["test_the_step_computes_the_equations"]()


def test_a_copy_of_any_shipped_cell_has_its_equations(harness, tmp_path):
    for shipped in registry.shipped_names():
        name = f"copied-{shipped}"  # other tests know a `my-indrnn`
        scaffold.write_cell(name, tmp_path, shipped)
        path = tmp_path / f"{name.replace('-', '_')}.py"
        assert registry.load_file(path) == [name]
        copied, true = registry.find(name), registry.find(shipped)
        assert copied.reference is None and f"Differs from {shipped}: nothing" in copied.__doc__
        assert _equations(path) == _equations(inspect.getfile(true), shipped), shipped


def _equations(path, name=None):
    """The digest of the equations of a file's cell, whatever it is called and compared with."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    for cell in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        given = {part.targets[0].id: part for part in cell.body if isinstance(part, ast.Assign)}
        if name in (None, given["name"].value.value):
            cell.body = [p for p in cell.body if p not in (given["name"], given.get("reference"))]
            return shipped_cells.equations_digest(tree, cell)
    raise AssertionError(name)


def test_a_copy_keeps_the_contract_and_needs_no_cell(harness, tmp_path):
    done = harness("init", "my-lstm", "--from", "lstm")
    assert done.exit_code == 0, done.output
    tested = harness("cells", "test", "my_lstm.py")
    assert tested.stdout == "my-lstm: passes the contract\n"


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
        (scaffold.write_cell, "irnn", "must have a name of its own.* --from irnn"),
        (scaffold.write_cell, "none", "no keyword of Python.* Write for example my-none"),
        (scaffold.write_cell, "true", "reads as text.* Write for example my-true"),
        (scaffold.write_cell, "null", "reads as text.* Write for example my-null"),
        (scaffold.write_study, "false", "reads as text.* Write for example my-false"),
        (scaffold.write_study, "2026", "reads as text.* Write for example my-2026"),
        (scaffold.write_study, "1e5", "reads as text.* Write for example my-1e5"),
        (scaffold.write_cell, "torch", "no module's.* Write for example my-torch"),
        (scaffold.write_cell, "random", "no module's.* Write for example my-random"),
    ],
)
def test_a_name_that_cannot_be_taken_is_refused(write, name, message, tmp_path):
    with pytest.raises(scaffold.ScaffoldError, match=message):
        write(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("preset", registry.PRESETS)
def test_a_preset_is_copied_as_its_cell_and_what_it_sets_is_told(preset, harness, tmp_path):
    cell, settings = registry.PRESETS[preset]
    done = harness("init", "--from", preset)
    assert done.exit_code == 0, done.output
    path = tmp_path / f"my_{preset.replace('-', '_')}.py"
    assert _equations(path) == _equations(inspect.getfile(registry.find(cell)), cell)
    assert f"{path.name}: written, a copy of {cell}\n" in done.stdout
    assert all(f"{field}: {value}" in done.stdout for field, value in settings.items())


def test_a_misspelt_preset_is_told(tmp_path):
    with pytest.raises(scaffold.ScaffoldError, match="Did you mean lstm-1997?"):
        scaffold.write_cell(None, tmp_path, "lstm-1998")


def test_only_a_shipped_cell_is_copied(tmp_path):
    with pytest.raises(scaffold.ScaffoldError, match="from: must .* Did you mean lstm?"):
        scaffold.write_cell(None, tmp_path, "lsmt")


@pytest.mark.parametrize("shipped", absent.shipped())
def test_a_shipped_study_is_copied_under_another_name(harness, tmp_path, shipped):
    done = harness("init", "my-own", "--from", shipped)
    assert done.exit_code == 0 and f"my-own.yaml: written, a copy of {shipped}" in done.output
    mine = study.load(tmp_path / "my-own.yaml")
    assert mine.name == "my-own"
    assert mine.identity() == study.load(absent.shipped()[shipped]).identity()
