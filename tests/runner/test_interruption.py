"""Ctrl-C waits for a call of a store and for nothing else, and what was opened is closed."""

import signal
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import small_study

from harness.runner import scheduler
from harness.runner.scheduler import Scheduler
from harness.store import signals


@pytest.fixture
def opening(monkeypatch):
    """Stands for all that a scheduler opens; Ctrl-C is heard as by a command."""
    names = ("StudyWriter", "BackgroundWriter", "RunRecorder", "LivePage", "Searches", "Patience")
    opened = {name: MagicMock(name=name) for name in names}
    others = {
        "resolve": lambda study: ({}, []),
        "simple_errors": lambda *_: {},
        "check_identity": lambda *_: None,
        "pin_resolved": lambda *_: ({}, {}, []),
        "restore": lambda *_: 0,
        "replace": lambda notes, **_: notes,
    }
    for name, stand_in in {**opened, **others}.items():
        monkeypatch.setattr(scheduler, name, stand_in)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with signals.handled():
        yield SimpleNamespace(**opened)


def scheduler_of_nothing():
    study = MagicMock(path=None, units=[])
    return Scheduler(study, MagicMock(), MagicMock())


def test_the_measuring_of_a_budget_is_interrupted_at_once(opening, monkeypatch):
    went_on = []

    def measure(*_):
        signal.raise_signal(signal.SIGINT)
        went_on.append(True)

    monkeypatch.setattr(scheduler, "pin_resolved", measure)
    with pytest.raises(KeyboardInterrupt):
        scheduler_of_nothing()
    assert not went_on
    opening.BackgroundWriter.return_value.close.assert_called_once()


def test_a_call_of_optunas_ends_before_ctrl_c_acts(opening):
    done = []
    opening.Patience.return_value.side_effect = lambda function: function()
    scheduler_of_nothing()
    *_, patience = opening.Searches.call_args.args

    def call():
        signal.raise_signal(signal.SIGINT)
        done.append(True)

    with pytest.raises(KeyboardInterrupt):
        patience(call)
    assert done


def test_a_plan_is_not_asked_for_after_a_signal_that_a_library_swallowed(opening):
    own = scheduler_of_nothing()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        own.next_plans()
    own.writer.drain.assert_not_called()


ENDLESS = '''
from pathlib import Path

from torch import tanh

from cells import Cell


class Endless(Cell):
    r"""A cell whose step never ends once there is a file `endless`.

        h' = tanh(W x + R h)

    Source: none.
    Reference: none.
    Differs from none.
    """

    name = "endless"
    gates = ("h",)
    state = ("h",)

    def step(self, p, x, h):
        if Path("endless").exists():
            print("begun", flush=True)
            while True:
                pass
        return (tanh(x.h + p.R(h).h),)
'''


@pytest.mark.slow
@pytest.mark.parametrize(
    "begins, number",
    [("with one update each", signal.SIGINT), ("wide: reference", signal.SIGTERM)],
    ids=["in the first look", "in training"],
)
def test_a_cell_whose_step_never_ends_is_left_at_once(tmp_path, begins, number):
    path = small_study.write(tmp_path, trials=1, updates=4000)
    text = path.read_text().replace("cell: lstm", "cell: endless\n  engine: reference")
    path.write_text(f"cells: [endless.py]\n{text}")
    (tmp_path / "endless.py").write_text(ENDLESS)
    command = [sys.executable, "-m", "harness.cli", "run", "small.yaml", "--force"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore the signal, and so would all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert any(begins in line for line in process.stdout)
        (tmp_path / "endless").touch()
        assert any("begun" in line for line in process.stdout)
        process.send_signal(number)
        try:
            # Its thread keeps the interpreter busy: where cores are shared, the end takes its time.
            said = process.communicate(timeout=150)[1]
        finally:
            process.kill()
    assert process.returncode == 130 and "Traceback" not in said, said
    assert said.splitlines()[-1].startswith("interrupted; "), said
