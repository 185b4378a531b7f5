"""A bench with a budget, run for real on small shapes; no test asserts a figure."""

import gc
import json
import subprocess
import sys
import time
import weakref
from dataclasses import replace

import pytest
import torch

from harness.bench import budget, command, subjects, wanted
from harness.bench.journal import Failed, Figure, Kernels, LeftOut, Recorder
from harness.bench.options import checked, own_shape
from harness.bench.record import MODES
from harness.bench.ticker import Ticker
from harness.bench.words import parse
from harness.training import shard

TINY = ["--shape", "B2,T3,H4,V5", "--device", "cpu", "--threads", "1", "--seconds", "0.001"]
RAN = [*TINY, "--cells", "lstm,gru-reset-before", "--packs", "1,3", "--budget", "600"]
ABSENT = (
    "mlflow optuna pydantic yaml pandas scipy statsmodels matplotlib rich typer platformdirs "
    "psutil filelock"
).split()
BARE = f"""
import importlib.util, sys
from importlib.machinery import PathFinder
installed = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    is_absent = name.partition(".")[0] in {ABSENT!r}
    return None if is_absent else installed(name, path, target)
PathFinder.find_spec = find_spec
assert importlib.util.find_spec("pandas") is None
from harness.bench.command import main
sys.exit(main(sys.argv[1:]))
"""
"""The bench on a machine where torch and NumPy alone are installed."""


def bare(*words):
    return [sys.executable, "-W", "error", "-c", BARE, *map(str, words)]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One small bench: its file, and what it printed."""
    path = tmp_path_factory.mktemp("budget") / "bench.jsonl"
    done = subprocess.run(
        bare(*RAN, "--rounds", "2", "--json", path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return path, done.stdout


def small(*words, rounds="1"):
    """Returns the options of a bench in this process."""
    given = ["--budget", "600", *TINY, "--rounds", rounds, "--engines", "reference"]
    return checked(parse([*given, "--cells", "lstm,gru", "--precision", "float32", *words]))


def measured(options):
    return budget.measure(options, ["--budget", "600"], Ticker(sys.stderr))


def test_a_bare_machine_measures_each_subject_in_the_order_of_the_list(ran):
    found = command.read(ran[0])
    labels = wanted.labels(checked(parse(RAN)))
    figures = found.figures()
    assert [(replace(f.label, name=""), f.mode) for f in figures] == [
        (replace(label, name=""), mode) for label in labels for mode in MODES
    ]
    assert all(len(f.seconds) == 2 and min(f.seconds) > 0 for f in figures)
    assert found.lines == figures and found.seconds is not None
    assert not any(f.label.name == wanted.ANY_ENGINE for f in figures)
    assert found.made["precision"] == "float32, tf32, bf16"
    assert {"date", "git_commit", "version_torch", "device", "budget"} <= found.made.keys()


def test_a_file_of_a_budget_prints_again(ran, capsys):
    path, printed = ran
    assert command.main(["--from", str(path)]) == 0
    assert capsys.readouterr().out == printed
    assert max(map(len, printed.splitlines()[1:])) <= 80 and "x torch.nn" in printed


def test_the_file_is_usable_after_a_kill(tmp_path, capsys):
    path = tmp_path / "bench.jsonl"
    words = [*TINY[:-1], "0.1", "--cells", "lstm", "--kinds", "peer,engine", "--budget", "600"]
    # So many subjects take minutes: it has not ended when this process goes on.
    words += ["--packs", ",".join(map(str, range(1, 33)))]
    process = subprocess.Popen(bare(*words, "--json", path), stderr=subprocess.DEVNULL)
    try:
        patience = time.monotonic() + 600
        while time.monotonic() < patience:
            if path.exists() and path.read_text().count('"line": "figure"') >= 2:
                break
            assert process.poll() is None, "it came to its end before it was killed"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    found = command.read(path)
    assert len(found.figures()) >= 2 and found.seconds is None
    assert command.main(["--from", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "The bench was stopped before its end" in printed and "nn.LSTM one-hot" in printed


class Planted:
    """A subject whose work costs nothing."""

    notes = ()

    def train(self, count):
        pass

    forward = train

    def close(self):
        pass


def planted(monkeypatch, make):
    """Lets ``make`` of a label create every subject; returns the labels that were created."""
    created = []
    candidate_of = budget._candidate

    def candidate(label, options, folder):
        def create():
            created.append(label)
            return make(label)

        return replace(candidate_of(label, options, folder), make=create)

    monkeypatch.setattr(budget, "_candidate", candidate)
    return created


def test_what_no_longer_fits_the_budget_is_left_out(monkeypatch):
    now = 0.0

    class Clock:
        @staticmethod
        def monotonic():
            return now

    def make(label):
        nonlocal now
        now += 10.0
        return Planted()

    monkeypatch.setattr(budget, "time", Clock)
    created = planted(monkeypatch, make)
    options = replace(small("--kinds", "peer,engine"), budget=25.0)
    labels = wanted.labels(options)
    found = measured(options)
    assert created == labels[:3] and len(labels) == 6
    # The third one was created too late to be measured.
    assert [figure.label for figure in found.figures()] == [*labels[:1] * 2, *labels[1:2] * 2]
    left_out = [line for line in found.lines if isinstance(line, LeftOut)]
    assert left_out == [LeftOut(label, "the budget was spent") for label in labels[2:]]
    assert found.seconds == 30.0


@pytest.mark.parametrize("error", [MemoryError("no more"), torch.OutOfMemoryError("no more")])
@pytest.mark.parametrize("when", ["create", "train", "close"])
def test_a_failure_costs_its_own_line_only(monkeypatch, error, when):
    class Failing(Planted):
        def train(self, count):
            if when == "train":
                raise error

        def close(self):
            if when == "close":
                raise error

    def make(label):
        if label.cell == "lstm" and label.kind == "engine":
            if when == "create":
                raise error
            return Failing()
        return Planted()

    planted(monkeypatch, make)
    options = small("--packs", "1")
    found = measured(options)
    labels = wanted.labels(options)
    assert [(type(line), line.label) for line in found.lines if line.label == labels[1]][-1:] == [
        (Failed, labels[1])
    ]
    failed = [line for line in found.lines if isinstance(line, Failed)]
    assert [line.reason for line in failed] == [f"{type(error).__name__}: no more"]
    others = [figure.label for figure in found.figures() if figure.label != labels[1]]
    assert others == [label for label in labels if label != labels[1] for _ in MODES]
    assert found.seconds is not None


def test_a_precision_that_an_engine_refuses_is_left_out_with_the_reason():
    words = ["--engines", "native", "--cells", "lstm", "--packs", "1"]
    found = measured(replace(small(*words, "--kinds", "engine"), named=narrow("tf32")))
    ((left_out),) = found.lines
    assert isinstance(left_out, LeftOut) and "tf32" in left_out.reason


def narrow(precision):
    return replace(small("--cells", "lstm", "--packs", "1").named, precisions=(precision,))


def test_one_hot_rows_that_do_not_fit_are_left_out_with_the_reason(monkeypatch):
    monkeypatch.setattr(subjects, "MOST_ONE_HOT_BYTES", 12 * 2 * 3 * 1000 - 1)
    named = replace(small().named, cells=("lstm",), shapes=(own_shape("B2,T3,H4,V1000"),))
    found = measured(replace(small("--kinds", "peer"), named=named))
    left_out = [line for line in found.lines if isinstance(line, LeftOut)]
    assert [line.label.name for line in left_out] == ["nn.LSTM one-hot"]
    assert left_out[0].reason == "its one-hot rows take 0.0 GiB at once"
    assert {figure.label.name for figure in found.figures()} == {"nn.LSTM embedding"}


def test_a_subject_is_freed_before_the_next_is_made(monkeypatch):
    alive = []
    candidate_of = budget._candidate

    def candidate(label, options, folder):
        made = candidate_of(label, options, folder)

        def create():
            assert [reference() for reference in alive] == [None] * len(alive)
            subject = made.make()
            parts = subject.pack.shards if made.kind == "engine" else subject.scripts
            alive.extend(weakref.ref(part) for part in [subject, *parts])
            return subject

        return replace(made, make=create)

    monkeypatch.setattr(budget, "_candidate", candidate)
    gc.disable()  # lest chance frees them
    try:
        found = measured(small("--packs", "1,2", "--engines", "cpu,reference"))
    finally:
        gc.enable()
    assert len(alive) > len(found.figures()) / 2 and not any(
        isinstance(line, Failed) for line in found.lines
    ), [line for line in found.lines if isinstance(line, Failed)]


def test_kernels_are_counted_of_single_runs_that_were_measured(tmp_path):
    """On CUDA alone; here by torch's operations, which the profiler sees in this thread."""
    options = small("--packs", "1,2", "--cells", "lstm")
    recorder = Recorder(tmp_path / "a.jsonl", measured(options).made)
    turns = budget.Turns(options, recorder, tmp_path, time.monotonic() + 600, Ticker(sys.stderr))
    labels = wanted.labels(options)
    turns.measure(labels)
    turns.count_kernels()
    recorder.close()
    counted = [line for line in recorder.journal.lines if isinstance(line, Kernels)]
    single = [label for label in labels if label.pack == 1 and label.kind != "loop"]
    assert [line.label for line in counted] == single
    peers = [line for line in counted if line.label.kind == "peer"]
    assert min(line.launches for line in peers) > 20 and all(line.slowest for line in peers)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert sum(line["line"] == "kernels" for line in lines) == len(single)


def test_what_cannot_be_recorded_as_a_graph_is_told(monkeypatch):
    """The note comes while it is trained, after the subject was made."""

    class Recorder:
        def run(self, work):
            work()

        def record(self, work):
            raise RuntimeError("planted")

    monkeypatch.setitem(shard.GRAPH_RECORDERS, "cpu", Recorder)
    found = measured(small("--cells", "lstm", "--packs", "1", "--kinds", "engine"))
    assert isinstance(found.lines[0], Figure)
    assert any("capture:" in note and "planted" in note for note in found.lines[0].notes)


def test_a_budget_and_quick_do_not_stand_together():
    with pytest.raises(ValueError, match="bench: --budget and --quick must not stand together"):
        checked(parse(["--budget", "5", "--quick"]))


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "3601"])
def test_a_budget_that_is_none_is_an_error(text):
    with pytest.raises(ValueError, match="budget: must be a number over 0, up to 3600, but got"):
        checked(parse([f"--budget={text}"]))
