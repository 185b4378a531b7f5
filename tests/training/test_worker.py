"""The worker: a plan's path in, records out, with nothing but torch, numpy and the standard
library.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from wire import TIMES

from harness.settings import Budget, SampleRequest, Settings
from harness.training import worker
from harness.training.messages import RunEnded, RunStarted, message_from_json
from harness.training.pack import Pack
from harness.training.plan import Plan, Run, plans_to_json
from harness.training.saved_model import SavedModel
from harness.training.steps import train
from harness.training.worker import main

pytestmark = pytest.mark.slow

ABSENT = (
    "mlflow optuna pydantic yaml pandas scipy statsmodels matplotlib "
    "rich typer platformdirs psutil filelock"
).split()
HOOK = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def run_worker(tmp_path):
    """Runs the worker on a machine where nothing else is installed."""
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    root = str(Path(__file__).resolve().parents[2])

    def run(*arguments, module="harness.train"):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), root]),
            "PYTHONHASHSEED": "7",
        }
        command = [sys.executable, "-W", "error", "-m", module, *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "text.txt").write_text(
        "the time traveller and the morlocks of the white sphinx " * 30
    )
    settings = Settings(
        cell="lstm-peephole",
        corpus="text",
        path=str(tmp_path / "text.txt"),
        hidden_size=9,
        num_layers=2,
        dropout=0.2,
        batch_size=3,
        bptt_length=5,
        budget=Budget(updates=12),
        evaluations=3,
        initialization="orthogonal",
        device="cpu",
        threads=2,
    )
    runs = tuple(Run(f"r{i}", (i, "trial"), settings) for i in range(2))
    return Plan(runs, samples=SampleRequest(("time",), 10, 0.8), keep_models=True)


def told(messages):
    """Returns what messages say, run by run, starts and times left out: no run waits for others."""
    told = [
        replace(m, time=0.0, metrics={k: v for k, v in m.metrics.items() if k not in TIMES})
        for m in messages
        if not isinstance(m, RunStarted)
    ]
    return sorted(told, key=lambda message: message.run)


def test_the_records_of_a_bare_worker_are_those_of_train(tmp_path, run_worker, plan):
    (tmp_path / "plan.json").write_text(plans_to_json([plan, plan]))
    done = run_worker(tmp_path / "plan.json")
    assert (done.returncode, done.stderr) == (0, "")
    records = [message_from_json(line) for line in done.stdout.splitlines()]
    here = [message_from_json(record.to_json()) for records in train(plan) for record in records]
    half = len(records) // 2  # one pack after the other
    assert told(records[:half]) == told(records[half:]) == told(here)
    ends = [r for r in records if isinstance(r, RunEnded)]
    assert [SavedModel.from_bytes(end.model).run for end in ends] == [end.run for end in ends]
    here.sort(key=lambda record: record.run)
    starts = sorted((r for r in records if isinstance(r, RunStarted)), key=lambda r: r.run)
    assert [r.run for r in starts] == ["r0", "r0", "r1", "r1"]
    differs = {"version_optuna", "version_mlflow"}  # installed here, though no worker needs them
    expected = {k: v for k, v in here[0].provenance.items() if k not in differs}
    assert {k: v for k, v in starts[0].provenance.items() if k not in differs} == expected
    assert replace(starts[0], provenance={}, time=0.0) == replace(here[0], provenance={}, time=0.0)


def test_what_is_absent_is_absent(tmp_path, run_worker, plan):
    """The hook works: a cell file that imports pandas fails, and says so without a traceback."""
    (tmp_path / "mine.py").write_text("import pandas\n")
    values = json.loads(plan.to_json())
    (tmp_path / "plan.json").write_text(
        json.dumps({**values, "cell_files": [str(tmp_path / "mine.py")]})
    )
    done = run_worker(tmp_path / "plan.json")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "No module named 'pandas'" in done.stderr


def test_a_bare_machine_benches(tmp_path, run_worker):
    words = [
        "--shape",
        "B2,T3,H4,V5",
        "--cells",
        "lstm",
        "--rounds",
        "1",
        "--seconds",
        "0.001",
        "--device",
        "cpu",
    ]
    done = run_worker(*words, "--json", tmp_path / "bench.json", module="harness.bench")
    assert done.returncode == 0, done.stderr
    assert "One whole training update" in done.stdout
    again = run_worker("--from", tmp_path / "bench.json", module="harness.bench")
    assert (again.returncode, again.stdout) == (0, done.stdout)


@pytest.mark.parametrize(
    "change, rule",
    [
        (lambda text: text[:-5], "plan: must be JSON, but got"),
        (lambda text: "3", "plan: must be what `harness plan` writes"),
        (
            lambda text: text.replace('"lstm-peephole"', '"lstm-peep"'),
            "but got cell='lstm-peep'. Did you mean",
        ),
        (
            lambda text: text.replace('"engine": "auto"', '"engine": "native"'),
            "engine: must run the cell, but got",
        ),
        (
            lambda text: text.replace('"biases": 1', '"biases": 3'),
            "r0: biases: must be <= 2, but got biases=3",
        ),
        (
            lambda text: text.replace("text.txt", "gone.txt"),
            "path: must be a readable file, but got path=",
        ),
        (
            lambda text: text.replace('"time"', '"TIME"'),
            "samples: 'TIME': text: every character must be among",
        ),
        (
            lambda text: text.replace('"hidden_size": 9', '"num_parameters": 99'),
            "a hidden_size must come within 1 %",
        ),
    ],
)
def test_a_bad_plan_exits_2_and_says_why(tmp_path, capsys, plan, change, rule):
    text = plan.to_json().replace('"num_parameters": null,', "")
    assert change(text) != text
    (tmp_path / "plan.json").write_text(change(text))
    assert main([str(tmp_path / "plan.json")]) == 2
    told = capsys.readouterr()
    assert told.out == "" and rule in told.err


def test_a_budget_in_seconds_is_no_workers_to_convert(tmp_path, capsys, plan):
    settings = replace(plan.settings, budget=Budget(seconds=1.0))
    (tmp_path / "plan.json").write_text(Plan((Run("r", (1,), settings),)).to_json())
    assert main([str(tmp_path / "plan.json")]) == 2
    assert (
        "must be in updates, tokens or epochs here, but got seconds=1.0. Measure"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments, rule", [([], "usage: python -m harness.train"), (["none.json"], "none.json")]
)
def test_a_plan_that_is_not_there_exits_2(capsys, arguments, rule):
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == "" and rule in told.err


def test_a_plan_that_is_no_text_exits_2(tmp_path, capsys):
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe\x00")
    assert main([str(tmp_path / "plan.json")]) == 2
    assert "plan.json must be UTF-8, but got byte=0xff." in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(KeyError("boom"), 1), (KeyboardInterrupt(), 130)])
def test_what_nobody_foresaw_is_one_message(plan, tmp_path, capsys, monkeypatch, error, code):
    def fails(plan):
        yield []
        raise error

    monkeypatch.setattr(worker, "train", fails)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    (tmp_path / "plan.json").write_text(plan.to_json())
    assert main([str(tmp_path / "plan.json")]) == code
    (line,) = capsys.readouterr().err.splitlines()
    logs = [*(tmp_path / "logs").glob("*.log")]
    assert "can be ingested" in line and len(logs) == (code == 1)
    if logs:
        assert "KeyError: 'boom'. What" in line and str(logs[0]) in line
        assert "Traceback (most recent call last)" in logs[0].read_text()


def test_a_worker_refuses_another_text_before_it_trains(plan, tmp_path, capsys):
    right = Pack(plan)
    right.close()
    path = tmp_path / "plan.json"
    plan = replace(plan, corpus_fingerprint=right.task.fingerprint)
    (tmp_path / "text.txt").write_text("another text of other words, long enough to train on " * 30)
    path.write_text(plan.to_json())
    assert main([str(path)]) == 2
    out, err = capsys.readouterr()
    assert not out and "must be the text that the plan was made for" in err


def test_a_folder_cells_in_the_working_directory_is_not_taken_for_ours(
    tmp_path, run_worker, monkeypatch
):
    (tmp_path / "work" / "cells").mkdir(parents=True)
    (tmp_path / "work" / "cells" / "__init__.py").write_text("raise RuntimeError('planted')")
    (tmp_path / "none.json").write_text("[]")
    monkeypatch.chdir(tmp_path / "work")
    done = run_worker(tmp_path / "none.json")
    assert (done.returncode, done.stderr) == (0, "")
