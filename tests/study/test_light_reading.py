"""Reading a study, right or wrong, loads no library that only running it needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRONG = Path(__file__).parent / "wrong_studies"
HEAVY = ("torch", "numpy", "pandas", "scipy", "statsmodels", "mlflow", "optuna", "matplotlib")
READ = """
import json, sys
from harness import study

faults = 0
for path in json.loads(sys.argv[1]):
    try:
        loaded = study.load(path)
        loaded.fingerprint, loaded.changes_since(loaded.identity()), loaded.resolved()
    except study.StudyError as error:
        faults += len(error.problems)
print(json.dumps([faults, sorted(set(json.loads(sys.argv[2])) & set(sys.modules))]))
"""


def read(paths):
    """Returns how many faults a fresh interpreter finds in studies, and what it loads for them."""
    arguments = [json.dumps([str(path) for path in paths]), json.dumps(HEAVY)]
    done = subprocess.run(
        [sys.executable, "-c", READ, *arguments], cwd=ROOT, check=True, capture_output=True
    )
    return json.loads(done.stdout)


def test_every_shipped_study_is_read_without_them():
    paths = sorted((ROOT / "studies").rglob("*.yaml"))
    assert ROOT / "studies" / "quickstart.yaml" in paths
    assert read(paths) == [0, []]


def test_every_wrong_study_of_shipped_cells_is_refused_without_them():
    paths = [path for path in sorted(WRONG.glob("*.yaml")) if path.stem != "top_cells"]
    assert {"compare_unknown_cell", "field_native", "field_forget_bias"} <= {p.stem for p in paths}
    faults, loaded = read(paths)
    assert faults > len(paths) and loaded == []


@pytest.mark.parametrize("name", ["compare_unknown_cell", "field_native", "field_projection"])
def test_one_wrong_study_is_refused_without_them(name):
    faults, loaded = read([WRONG / f"{name}.yaml"])
    assert faults and loaded == []


def test_a_users_file_may_load_torch(tmp_path):
    own = ROOT / "tests" / "user_cells.py"
    path = tmp_path / "own.yaml"
    path.write_text(
        f"study: own\nversion: 1\nquestion: Is it found?\ncells: [{own}]\n"
        "compare: {cross: {cell: [lstm, my-t-rnn]}, baseline: {cell: lstm}}\n"
        "fix: {corpus: time-machine, hidden_size: 8}\n"
    )
    faults, loaded = read([path])
    assert faults == 0 and "torch" in loaded
