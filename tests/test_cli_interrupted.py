"""Ctrl-C at any instant of a command: one line at most, exit code 130, and no traceback."""

import contextlib
import signal
import subprocess
import sys

import pytest
from striking import strikes

from harness import cli
from harness.store import signals


@pytest.mark.parametrize(
    "words, told",
    [
        (["run", "x"], "interrupted; the same command, without --new, goes on from here\n"),
        (["--debug", "report"], "interrupted\n"),
    ],
)
def test_wherever_ctrl_c_strikes_a_command_one_line_says_so(words, told, monkeypatch, capsys):
    def app(*_, **__):
        raise SystemExit(0)

    def command():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cli.main()

    monkeypatch.setattr(cli, "_prepare", lambda: None)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["harness", *words])
    ends = []
    struck = strikes((cli.__file__, signals.__file__, contextlib.__file__), command)
    next(struck)  # as main begins, before its first line
    for where, raised in struck:
        assert isinstance(raised, SystemExit), where
        said = capsys.readouterr().err
        assert (raised.code, said) in ((130, told), (0, "")), where
        ends.append(raised.code)
    assert ends.count(130) > 20 and set(ends[-2:]) == {0}  # what is over ends in silence


def test_an_error_that_ctrl_c_became_is_no_fault(monkeypatch, capsys):
    """Python 3.11 raises such a one where a class is made, as while modules are loaded."""

    def app(*_, **__):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError("Error calling __set_name__") from error

    monkeypatch.setattr(cli, "_prepare", lambda: None)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["harness", "report"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert (end.value.code, capsys.readouterr().err) == (130, "interrupted\n")


WORKING = """
import sys, threading, torch
from harness import cli
from harness.engine import beside
from harness.training import threads
begun = threading.Event()
def endless():
    numbers = torch.ones(64, 64)
    while True:
        numbers = torch.tanh(numbers @ numbers)
        begun.set()
def app(*_, **__):
    beside.begin(endless)
    begun.wait()
    sys.exit(130)
cli.app = app
sys.argv = ["harness", "check", "x"]
cli.main()
"""


def test_what_torch_computes_beside_does_not_abort_an_interrupted_command():
    done = subprocess.run([sys.executable, "-c", WORKING], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


RAISING = """
import runpy, sys
sys.modules.pop(sys.argv[2], None)
class Interrupting:
    def find_spec(self, name, *_):
        if name == sys.argv[-1]:
            if name != "torch":
                raise KeyboardInterrupt
            raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()
sys.meta_path.insert(0, Interrupting())
runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "program, imported",
    [
        ("harness.cli", "logging"),
        ("harness.cli", "typer"),
        ("harness.train", "torch"),
        ("harness.bench", "harness.bench.command"),
    ],
)
def test_ctrl_c_while_a_program_is_loaded_leaves_no_traceback(program, imported):
    command = [sys.executable, "-c", RAISING, program, imported]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
