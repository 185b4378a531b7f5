"""A study is named by its file or by its name, in every command; hints can be pasted."""

import ast
import gc
import io
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from small_study import write

from harness import cli
from harness.runner import launch
from harness.store.locations import Locations


@dataclass
class Done:
    """How a command ended, as subprocess has it."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def unchanged_process():
    """What the command line sets for its process is as it was."""
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)


@pytest.fixture
def harness(monkeypatch, capsys, unchanged_process):
    """Commands in this process: each of its own would import everything anew."""

    def run(*words, cwd):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, words)])
        capsys.readouterr()
        try:
            code = cli.main()
        except SystemExit as end:
            code = end.code
        return Done(int(code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """Returns a folder with the file of a study and, in `out`, a store that it was run into.

    The folder was moved since.
    """
    from harness.report import Report

    folder = tmp_path_factory.mktemp("before")
    path = write(folder, trials=2, updates=8)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(Report, "files", lambda report, png=True: {})  # half of the seconds
        launch.run(
            path.name,
            overrides=("fix.evaluations=2",),
            locations=Locations(Path("out")),
            console=Console(file=said, width=100),
        )
    assert "harness ui small --folder out  opens the runs in MLflow" in said.getvalue()
    return folder.rename(folder.with_name("after"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "STUDY"], "replicate"),
        (["report", "STUDY"], "narrow"),
        (["run", "STUDY"], "narrow"),
        (["check", "STUDY"], "narrow"),
        (["plan", "STUDY", "plan.json"], "nothing is missing"),
        (["export", "STUDY", "tables", "--format", "csv"], "runs.csv"),
        (["clean", "STUDY", "--checkpoints"], "nothing of that kind"),
        (["compare", "STUDY:narrow", "STUDY:wide"], "wide"),
        (["sample", "STUDY:wide:1000", "--prefix", "the "], "the "),
        (["resolve", "STUDY"], "evaluations: 2"),
    ],
)
def test_every_command_takes_the_name(harness, moved, words, said):
    given = [word.replace("STUDY", "small") for word in words]
    done = harness(*given, "--folder", "out", cwd=moved)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", [["status"], ["resolve"], ["compare"]])
def test_the_file_stands_for_the_name(harness, moved, words):
    """Most commands are asked with a file in the other tests."""
    of_arms = words == ["compare"]
    given = ["small.yaml:narrow", "small.yaml:wide"] if of_arms else ["small.yaml"]
    more = [] if of_arms else ["--set", "fix.evaluations=2"]
    done = harness(*words, *given, "--folder", "out", *more, cwd=moved)
    assert done.returncode == 0, done.stderr
    assert "narrow" in done.stdout


@pytest.mark.slow
def test_a_name_that_is_not_stored_is_told_with_what_is_near(harness, moved):
    done = harness("run", "Smal", "--folder", "out", cwd=moved)
    assert done.returncode == 2 and "Did you mean small?" in done.stderr


def test_a_name_whose_file_lies_here_leads_to_the_file(harness, tmp_path):
    write(tmp_path)
    done = harness("run", "small", cwd=tmp_path)
    assert done.returncode == 2 and "`harness run small.yaml` makes it." in done.stderr


def test_the_hint_to_run_a_study_can_be_pasted(harness, tmp_path):
    path = write(tmp_path / "my studies")
    done = harness(
        "report", path, "--folder", "my out", "--storage", "sqlite:///o.db", cwd=tmp_path
    )
    assert done.returncode == 2
    hint = done.stderr.partition("Run it: ")[2]
    given = ["harness", "run", str(path), "--folder", "my out", "--storage", "sqlite:///o.db"]
    assert shlex.split(hint) == given


COMMAND = re.compile(
    r"harness (?:(?:ui|doctor|status)\b|(?:run|plan|report|clean|export) \{)" r"[^`\"]*"
)
"""A command that can be pasted as it stands: those that need a study have one."""


def test_every_command_in_a_message_says_where_the_results_live():
    """Read in the source: whatever is written between its name and its end has the options."""
    root = Path(cli.__file__).parent.parent
    told = []
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        said = [node for node in ast.walk(tree) if isinstance(node, ast.Expr)]  # docstrings
        docs = {id(part) for node in said for part in ast.walk(node)}
        parts = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in node.values
        }
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.JoinedStr) or isinstance(node, ast.Constant)
            if is_text and id(node) not in docs | parts:
                texts = COMMAND.findall(ast.unparse(node))
                told += [(f"{path.relative_to(root)}:{node.lineno}", text) for text in texts]
    wrong = [(where, text) for where, text in told if not re.search(r"options(\(path\))?\}", text)]
    # `harness init` has no results; what another function writes is pasted by a test of its own.
    others = ("scaffold.py:", "cli/faults.py:")
    assert [each for each in wrong if not each[0].startswith(others)] == []
    assert len(told) > 10


@pytest.mark.parametrize(
    ("locations", "options"),
    [
        (Locations(Path(".")), ""),
        (Locations(Path.cwd()), ""),
        (Locations(Path("out")), " --folder out"),
        (Locations(Path("my out"), "http://h:1"), " --folder 'my out' --tracking http://h:1"),
        (Locations(Path("."), storage="sqlite:///o.db"), " --storage sqlite:///o.db"),
    ],
)
def test_options_name_what_is_not_the_default(locations, options):
    assert locations.options == options
    assert locations.reading_options in options


@pytest.mark.slow
def test_missing_artifacts_are_told_as_such_and_nothing_is_to_be_removed(harness, moved):
    artifacts = moved / "out" / "artifacts"
    away = artifacts.rename(moved / "away")
    try:
        for words in (
            ["report", "small"],
            ["report", "small.yaml", "--set", "fix.evaluations=2"],
            ["sample", "small:wide:1000", "--prefix", "the "],
        ):
            done = harness(*words, "--folder", "out", cwd=moved)
            said = " ".join((done.stdout + done.stderr).split())
            assert "out/artifacts must be there, but are missing" in said
            assert "clean" not in said and "Traceback" not in said
    finally:
        away.rename(artifacts)
