"""Reading what is stored needs nothing that trains, searches or draws, and of a file no MLflow."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from harness.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["harness", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
print("\\n" + json.dumps(sorted(sys.modules)))
"""
NOT_FOR_READING = {
    "harness.preflight",
    "harness.runner",
    "harness.tuning.search",
    "matplotlib",
    "mlflow",
    "optuna",
    "statsmodels",
    "torch",
}


def modules_of(folder, *commands):
    """Returns the modules that are loaded once a process has done what the commands say."""
    words = [list(map(str, command)) for command in commands]
    command = [sys.executable, "-c", PROGRAM, json.dumps(words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_commands_that_read_load_nothing_that_trains_searches_or_draws(store, tmp_path):
    """In one process: what each of them loads stays loaded."""
    modules = modules_of(
        store,
        ("status", "small.yaml"),
        ("report", "small.yaml"),
        ("compare", "small:narrow", "small:wide"),
        ("export", "small", tmp_path / "exported", "--format", "csv"),
        ("clean", "small", "--models"),
    )
    assert "harness.store.reader" in modules and not modules & NOT_FOR_READING


def test_resolving_a_study_reads_its_file_alone(store):
    modules = modules_of(store, ("resolve", "small.yaml"))
    assert "harness.study.file" in modules
    assert not modules & (NOT_FOR_READING | {"numpy", "pandas"})
