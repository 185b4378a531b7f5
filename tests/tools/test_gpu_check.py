"""The check of engine `gpu` without a GPU: its compilation, and what it calls a problem."""

import dataclasses
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("Triton is for Linux alone", allow_module_level=True)

import gpu_check  # noqa: E402
import gpu_kernels  # noqa: E402
import gpu_parts  # noqa: E402
from gpu_check import borne, problems, summary  # noqa: E402
from gpu_kernels import Job, Kernel  # noqa: E402

import cells  # noqa: E402
from cells.registry import shipped_names  # noqa: E402

RIGHT = Kernel("lstm", 256, "float32", 90, "forward_1", None, 2, 1, 48, 0, 0)


@pytest.fixture
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "harness"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"problem": "no tool"}, "no tool"),
        ({"num_versions": 3}, "compiled 3 times over t, T, N and B"),
        ({"stack_bytes": 8}, "8 bytes of registers spilled"),
    ],
)
def test_what_is_a_problem(change, problem):
    assert problems([RIGHT]) == []
    wrong = dataclasses.replace(RIGHT, **change)
    assert problems([RIGHT, wrong]) == [f"sm_90 lstm H=256 float32 forward_1: {problem}"]


def test_a_spill_of_two_numbers_of_float64_is_told_and_any_other_is_a_problem():
    def step(precision, stack_bytes):
        return Kernel("optimizer", 0, precision, 90, "adamw", None, 4, 1, 72, 0, stack_bytes)

    small, large, narrow = step("float64", 16), step("float64", 24), step("float32", 8)
    assert problems([small, large, narrow]) == [
        "sm_90 optimizer float64 adamw: 24 bytes of registers spilled",
        "sm_90 optimizer float32 adamw: 8 bytes of registers spilled",
    ]
    assert borne([RIGHT, small, large, narrow]) == [
        "sm_90 optimizer float64 adamw: 16 bytes of registers spilled, which is no problem up to 16"
    ]
    assert "1 kernels, 0 failures" in summary([small])[0] and "1 with spills" in summary([small])[0]
    anew = dataclasses.replace(small, num_versions=2)
    assert len(problems([anew])) == 1


def test_a_line_for_each_architecture():
    others = [
        dataclasses.replace(RIGHT, architecture=80, registers=50, shared_bytes=1024),
        dataclasses.replace(RIGHT, architecture=80, name="backward_0", problem="no tool"),
    ]
    assert summary([RIGHT, *others]) == [
        "sm_90: 1 cells, 1 kernels, 0 failures, 0 compiled anew over t, T, N and B, 0 with "
        "spills; most registers 48 (lstm, H=256, float32, forward_1), most shared memory 0 bytes",
        "sm_80: 1 cells, 1 kernels, 1 failures, 0 compiled anew over t, T, N and B, 0 with "
        "spills; most registers 50 (lstm, H=256, float32, forward_1), most shared memory 1024 "
        "bytes",
    ]


COMPILED = """
import sys
import torch
import cells, gpu_check, gpu_kernels
from gpu_kernels import Job, compile_job
from harness.engine.gpu import triton_source

def told(precision):
    return compile_job(Job("indrnn", cells.find("indrnn"), 256, precision, 80))

found = [*told("float64"), *told("bf16")]
assert gpu_check.problems(found) == [], found
assert {k.name for k in found} == {"forward_0", "backward_0"}, found
assert all(k.registers > 8 and k.num_warps for k in found), found
assert {k.architecture for k in found} == {80}
steps = gpu_kernels.optimizer_kernels(90)
assert gpu_check.problems(steps) == [] and len(steps) == 2 * 6, steps
triton_source.START = triton_source.START.replace("do_not_specialize=[{integers}]", "")
triton_source.kernels.cache_clear()
(line, *_) = gpu_check.problems(told("float64"))
assert "times over t, T, N and B" in line, line
triton_source.EXPRESSIONS["tanh"] = triton_source.EXPRESSIONS["add"] = "tl.nothing({})"
triton_source.kernels.cache_clear()
(line, *_) = gpu_check.problems(told("float64"))
assert "nothing" in line, line
"""


def test_kernels_compile_and_a_recompile_and_a_failure_are_seen(tmp_path):
    """In a process of its own, since no kernel can be launched in it any more."""
    import subprocess

    import gpu_run

    done = subprocess.run(
        [sys.executable, "-c", COMPILED],
        env=gpu_run.environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_what_was_compiled_before_an_early_end_is_told(monkeypatch, capsys):
    """A borrowed machine may be taken away while kernels are compiled."""
    spilled = dataclasses.replace(RIGHT, cell="gru", stack_bytes=8)
    made = {"lstm": [RIGHT], "gru": [spilled]}

    def compile_job(job):
        if job.name not in made:
            raise KeyboardInterrupt
        return made[job.name]

    monkeypatch.setattr(gpu_kernels, "compile_job", compile_job)
    monkeypatch.setattr(gpu_parts.os, "cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        gpu_parts.main(["kernels", "--device", "cpu"])
    told = [line.partition(" s: ")[2] or line for line in capsys.readouterr().out.splitlines()]
    first, *_, spill = told
    assert first == "lstm, H = 256, float32: 1 kernels"
    assert spill == "sm_90 gru H=256 float32 forward_1: 8 bytes of registers spilled"


def test_other_processes_find_all_cells_that_they_are_to_compile():
    """They know the bench's own cells, and none of a file that this process has loaded."""
    asked = {name for name, *_ in gpu_parts._needed(small=False)}
    assert asked == set(shipped_names()) < set(cells.names())


def test_a_cell_that_is_not_there_is_named(capsys):
    with pytest.raises(SystemExit):
        gpu_check.main(["--cells", "lstm,nosuch"])
    assert "nosuch" in capsys.readouterr().err


def test_each_architecture_has_machine_code_of_its_own(monkeypatch):
    """In one process too: what was compiled for the first is not taken for the second."""
    from harness.engine.gpu import optimizer_step

    monkeypatch.setattr(optimizer_step, "KINDS", ("sgd",))
    for architecture in (90, 80):
        assert problems(gpu_kernels.optimizer_kernels(architecture)) == []
        assert gpu_kernels._compiled()[-1].metadata.target.arch == architecture


@pytest.mark.parametrize("default", ["0", "1"])
def test_products_and_sums_are_fused_whatever_triton_does_by_default(monkeypatch, caches, default):
    """Triton 3.9 has another default than the next version, and says so where nobody chooses."""
    from harness.engine.gpu import optimizer_step

    monkeypatch.setattr(optimizer_step, "KINDS", ("sgd",))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", default)
    job = Job("indrnn", cells.find("indrnn"), 7, "float32", 80)
    for compiled in (
        lambda: gpu_kernels.optimizer_kernels(80),
        lambda: gpu_kernels.compile_job(job),
    ):
        assert problems(compiled()) == []
        assert all(kernel.metadata.enable_fp_fusion for kernel in gpu_kernels._compiled())
