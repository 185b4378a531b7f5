"""What the shell proposes; nothing heavy is loaded for it."""

import os
import subprocess
import sys

import pytest
import small_study

COMPLETE = """
import sys
from harness import cli

sys.argv = ["harness"]
try:
    cli.main()
finally:
    print("loaded:", *sorted({"torch", "mlflow", "optuna", "pandas"} & set(sys.modules)))
"""


def proposals(line, cwd):
    """Returns what bash is told after a line, and what was loaded for it."""
    words = line.split(" ")
    environment = os.environ | {
        "_HARNESS_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE], cwd=cwd, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    text, _, loaded = done.stdout.rpartition("loaded:")
    return text.split(), loaded.split()


def test_commands_and_cells_are_proposed(tmp_path):
    assert proposals("harness res", tmp_path) == (["resolve"], [])
    names, loaded = proposals("harness cells show lstm-p", tmp_path)
    assert names == ["lstm-peephole", "lstm-projected"] and loaded == []


def test_study_files_and_folders_are_proposed(tmp_path):
    small_study.write(tmp_path)
    small_study.write(tmp_path / "deeper")
    assert proposals("harness run ", tmp_path) == (["deeper/", "small.yaml"], [])
    assert proposals("harness run deeper/s", tmp_path) == (["deeper/small.yaml"], [])
    assert proposals("harness status x", tmp_path) == ([], [])


@pytest.mark.parametrize("line", ["harness status sm", "harness ui sm"])
def test_stored_studies_are_proposed(line, tmp_path):
    from harness.store.writer import StudyWriter

    for name in ("small", "smaller", "other"):
        StudyWriter(f"sqlite:///{tmp_path / 'mlflow.db'}", name, tmp_path / "artifacts")
    names, loaded = proposals(line, tmp_path)
    assert names == ["small", "smaller"] and loaded == []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert proposals(line.replace(" sm", " --folder .. sm"), elsewhere)[0] == names


def test_a_server_is_not_waited_for(tmp_path):
    assert proposals("harness status --tracking http://127.0.0.1:1 a", tmp_path) == ([], [])


def test_completion_can_be_shown_for_bash(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "--show-completion", "bash"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert done.returncode == 0 and "_HARNESS_COMPLETE=complete_bash" in done.stdout
