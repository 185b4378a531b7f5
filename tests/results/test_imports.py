"""Reading what is stored needs nothing that trains, searches or draws, and of a file no MLflow."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
from harness.cli import main
sys.argv = ["harness", *json.loads(sys.argv[1])]
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


def modules_of(folder, *words):
    """Returns the modules that are loaded once the program has done what the words say."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(list(map(str, words)))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "words",
    [
        ("status", "small.yaml"),
        ("report", "small.yaml"),
        ("compare", "small:narrow", "small:wide"),
        ("export", "small", "exported", "--format", "csv"),
        ("clean", "small", "--models"),
    ],
    ids=lambda words: words[0],
)
def test_a_command_that_reads_loads_nothing_that_trains_searches_or_draws(store, tmp_path, words):
    words = tuple(tmp_path / word if word == "exported" else word for word in words)
    modules = modules_of(store, *words)
    assert "harness.store.reader" in modules and not modules & NOT_FOR_READING


def test_resolving_a_study_reads_its_file_alone(store):
    modules = modules_of(store, "resolve", "small.yaml")
    assert "harness.study.file" in modules
    assert not modules & (NOT_FOR_READING | {"numpy", "pandas"})
