import sys
from pathlib import Path

import pytest
from test_registry import GOOD

import cells
from cells import registry
from harness import study
from harness.cli import cells as command

QUICKSTART = Path(study.__file__).parents[2] / "studies" / "quickstart.yaml"
BROKEN = """import cells


def begin():
    raise RuntimeError("no licence.\\nAsk for one")


begin()
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Returns a function that installs a package whose module has a text."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_plugin_faults", None)
    monkeypatch.setattr(registry, "_cells", dict(registry._cells))
    before = set(sys.modules)

    def installed(name, text, value=""):
        module = f"{name}_cells"
        (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[harness.cells]\nall = {value or module}\n")
        return tmp_path / f"{module}.py"

    yield installed
    for name in set(sys.modules) - before:
        if name.endswith("_cells"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "value", "raised"),
    [
        (BROKEN, "", "{path}:5 raised RuntimeError: no licence. Ask for one."),
        ("import no_such_module\n", "", "{path}:1 raised ModuleNotFoundError: "),
        ("from cells import Cell\nx = (\n", "", "{path}:2 raised SyntaxError: "),
        ("raise SystemExit(3)\n", "", "{path}:1 raised SystemExit: 3."),
        ("", "broken_cells.sub", "its entry point all = broken_cells.sub raised ModuleNotFound"),
        ("", "", "its entry point all = broken_cells raised InvalidCell: broken_cells.py: must "),
        (GOOD.replace('"mine"', '"gru"'), "", "raised InvalidCell: Mine (broken_cells.py:"),
    ],
)
def test_a_package_that_fails_is_told_and_keeps_no_other_cell_from_use(
    install, text, value, raised
):
    path = install("broken", text, value)
    install("sound", GOOD)
    assert "mine" in cells.names() and "lstm" in cells.names()
    assert cells.find("mine").__module__ == "sound_cells"
    (told,) = registry.plugin_faults()
    assert told.startswith("cells of broken: must import, but ") and "\n" not in told
    assert raised.format(path=path) in told


def test_a_cell_that_is_not_found_is_told_with_the_packages_that_fail(install):
    path = install("broken", BROKEN)
    with pytest.raises(cells.UnknownCell, match=rf"cell='ours'.*\n.*{path}:5 raised"):
        cells.find("ours")
    with pytest.raises(study.StudyError) as caught:
        study.loads(QUICKSTART.read_text(encoding="utf-8").replace(" gru,", " ours,"))
    said = {problem.code: problem.message for problem in caught.value.problems}
    assert f"{path}:5 raised" in said["unknown-cell"]


def test_the_list_of_cells_ends_with_the_packages_that_fail(install, capsys):
    path = install("broken", BROKEN)
    command.cells(type("Context", (), {"invoked_subcommand": None}))
    out, err = capsys.readouterr()
    assert "lstm" in out and f"{path}:5 raised" in err
