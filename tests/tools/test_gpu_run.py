"""The parts that a machine with a GPU is asked: their seconds, their ends, and the small ones."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import gpu_compare
import gpu_parts
import gpu_plan
import gpu_run
import torch
from gpu_run import Part

import cells
from harness import engine
from harness.bench.wanted import LONG
from harness.engine.persistent.coverage import capacity, fitted
from harness.engine.persistent.source import plan_of
from harness.training.plan import plans_from_json

ROOT = Path(__file__).resolve().parents[2]


def program(text):
    return (sys.executable, "-c", text)


class Speaking(subprocess.Popen):
    """A process that has said something, or has ended: a busy machine may be slow to start one."""

    def __init__(self, *args, stdout, **options):
        super().__init__(*args, stdout=stdout, **options)
        while self.poll() is None and not os.fstat(stdout.fileno()).st_size:
            time.sleep(0.02)


def test_a_part_that_fails_or_runs_out_of_its_seconds_leaves_the_others_theirs(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(subprocess, "Popen", Speaking)
    child = "import subprocess, sys, time\nprint('begun', flush=True)\n"
    child += "subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    wanted = [
        Part("long", 2, program(child)),
        Part("wrong", 300, program("print('half a line', end=''); raise SystemExit(3)")),
        Part("right", 300, program("import sys; print('said'); print('so', file=sys.stderr)")),
    ]
    begun = time.monotonic()
    assert gpu_run.run_all(wanted, tmp_path) == 1
    assert time.monotonic() - begun < 300
    log = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(" after ")[0] for line in log] == [
        "== long: at most 2 s",
        "begun",
        "== long: out of its seconds",
        "== wrong: at most 300 s",
        "half a line",
        "== wrong: ended with 3",
        "== right: at most 300 s",
        "said",
        "so",
        "== right: ended with 0",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]
    assert "said\nso\n" in capsys.readouterr().out
    assert gpu_run.run_all(wanted[2:], tmp_path) == 0


def test_what_cannot_be_ended_keeps_no_other_part_waiting(monkeypatch, tmp_path):
    """A process that hangs within a driver does not end when it is killed."""
    monkeypatch.setattr(gpu_run, "SECONDS_TO_END", 0.01)
    monkeypatch.setattr(os, "killpg", lambda *given: None)
    started = []

    class Deaf(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Deaf)
    try:
        code, _ = gpu_run.run(
            Part("deaf", 0.01, program("import time; time.sleep(60)")), tmp_path, {}
        )
        assert code == gpu_run.TIMED_OUT
    finally:
        started[0].kill()
        started[0].wait()


def test_all_parts_fit_ten_minutes(tmp_path):
    wanted = gpu_run.parts(tmp_path, "cuda", small=False)
    assert sum(part.seconds for part in wanted) <= 590
    (figures,) = [part for part in wanted if part.name == "figures"]
    budget = int(figures.command[figures.command.index("--budget") + 1])
    assert budget + 20 <= figures.seconds  # it ends by itself
    (persistent,) = [part for part in wanted if part.name == "persistent"]
    rounds = -(-len(gpu_compare.LADDER) // gpu_compare.AT_ONCE)
    assert rounds * gpu_compare.SECONDS < persistent.seconds  # so all may hang


def test_every_test_that_needs_a_gpu_is_asked():
    asked = gpu_run.marked_tests()
    assert "tests/engine/gpu/test_gpu.py" in asked
    assert "tests/training/test_cuda_graph.py" in asked
    assert all((ROOT / path).exists() for path in asked)


def test_where_there_is_no_cuda_one_line_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_run.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert gpu_run.main(["--device", "cpu", "--only", "smoke,smoek"]) == 2
    assert "but got smoek" in capsys.readouterr().err


def test_the_smoke_test_sees_a_wrong_engine(monkeypatch, capsys):
    assert gpu_parts.main(["smoke", "--device", "cpu", "--small"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 4
    launched = gpu_compare.launched

    def wrong(*given):
        return {name: 1.1 * value for name, value in launched(*given).items()}

    monkeypatch.setattr(gpu_compare, "launched", wrong)
    assert gpu_parts.main(["smoke", "--device", "cpu", "--small"]) == 1


def test_the_comparison_of_the_one_kernel_sees_one_that_is_refused(monkeypatch, capsys):
    words = ["one_kernel", "--device", "cpu", "--small", "--rung", "0"]
    assert gpu_parts.main(words) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in told[1:]] == list(gpu_compare.BOUNDS)
    assert "1 x 256 threads, " in told[1]

    def refused(*given):
        raise RuntimeError("no such device")

    monkeypatch.setattr(gpu_compare, "launched", refused)
    assert gpu_parts.main(words) == 1
    assert capsys.readouterr().out.count("RuntimeError: no such device") == len(gpu_compare.BOUNDS)


def test_after_an_error_of_the_device_nothing_more_is_tried_in_its_process(monkeypatch, capsys):
    def lost(*given):
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(gpu_compare, "launched", lost)
    monkeypatch.setattr(gpu_compare, "_is_lost", lambda device: True)
    assert gpu_parts.main(["one_kernel", "--device", "cpu", "--small"]) == 1
    assert capsys.readouterr().out.count("an illegal memory access") == 1


def test_what_fails_or_hangs_on_one_rung_leaves_the_others_theirs(capsys, monkeypatch):
    """What it said before it was stopped is kept."""
    run = subprocess.run

    def without_waiting(words, *, timeout, **options):
        if words[-1] == "1":
            raise subprocess.TimeoutExpired(words, timeout, output=b"rung 1\n")
        return run(words, **options)

    monkeypatch.setattr(subprocess, "run", without_waiting)
    child = program("import sys; print('rung', sys.argv[1]); sys.exit(3 * (sys.argv[1] == '0'))")
    assert not gpu_compare.climbed(child, 3)
    seconds = gpu_compare.SECONDS
    assert capsys.readouterr().out.splitlines() == [
        "rung 0", "ended with 3", "rung 1", f"stopped: it did not end in {seconds} s", "rung 2",
    ]  # fmt: skip
    assert gpu_compare.climbed(program("print('well')"), 1)


def test_a_wrong_value_tells_its_place():
    theirs = {"outputs": torch.ones(2, 3, 4), "R": torch.ones(2, 2), "b": torch.ones(3)}
    found = {name: value.clone() for name, value in theirs.items()}
    found["outputs"][1, 2, 3], found["outputs"][1, 0, 1], found["b"] = torch.nan, 7, torch.ones(2)
    assert gpu_compare.wrong_places(found, theirs, 1e-3) == [
        "  outputs (2, 3, 4): 2 of 24 wrong, 1 not finite; first at (1, 0, 1): 7, not 1; "
        "last at (1, 2, 3)",
        "  b: shape (2,), not (3,)",
    ]
    assert gpu_compare.wrong_places(theirs, theirs, 1e-3) == []


def test_every_rung_of_the_ladder_fits_an_h100():
    """In float64 the large ones have fewer units, since its numbers are twice as large."""
    for rung in gpu_compare.LADDER:
        for precision in gpu_compare.BOUNDS:
            hidden = min(rung.hidden, 128) if precision == "float64" else rung.hidden
            layer = engine.Layer(cells.find(rung.cell), hidden, 1, precision)
            assert capacity(fitted(plan_of(layer), precision, 90), 90) is None
    published = engine.Layer(cells.find("lstm"), LONG.hidden_size, 1, "bf16")
    assert capacity(fitted(plan_of(published), "bf16", 90), 90) is None


def test_the_one_kernel_is_measured_beside_another_engine(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "ENGINES", engine.ENGINES)
    words = ["persistent_figures", "--device", "cpu", "--small", "--out", str(tmp_path)]
    assert gpu_parts.main(words) == 0
    for name in ("persistent.jsonl", "persistent-long.jsonl"):
        lines = list(map(json.loads, (tmp_path / name).read_text().splitlines()))
        figures = {line["name"] for line in lines if line["line"] == "figure"}
        assert figures == {"cpu", "persistent"}


def test_the_plan_and_its_records_are_of_one_kind():
    """Both are committed: today's worker reads the plan, and every run has its record."""
    plans = plans_from_json((gpu_plan.FOLDER / "plan.json").read_text(encoding="utf-8"))
    there = gpu_parts.end_losses(gpu_plan.FOLDER / "cpu.jsonl")
    assert {run.id for plan in plans for run in plan.runs} == set(there)
    assert {plan.settings.device for plan in plans} == {"auto"}


def test_a_run_that_is_missing_or_ends_elsewhere_is_seen(tmp_path):
    there = {"a": 2.0, "b": 3.0}
    assert gpu_parts.compared({"a": 2.001, "b": 2.999}, there)[1]
    assert not gpu_parts.compared({"a": 2.001}, there)[1]
    lines, all_well = gpu_parts.compared({"a": 2.2, "b": 3.0}, there)
    assert not all_well and lines[0] == "a: 2.2000, on the CPU 2.0000, apart +1.00e-01"
    assert not gpu_parts.compared({"a": float("nan"), "b": 3.0}, there)[1]
    end = {"run": "a", "kind": "end", "metrics": {"objective": 2.0}}
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps(end) + "\n" + json.dumps(end)[:20])
    assert gpu_parts.end_losses(records) == {"a": 2.0}
