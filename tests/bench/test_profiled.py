"""The profiler's rows, on torch's operations of a CPU: on CUDA the same code reads kernels."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from harness.bench import kernels
from harness.bench.kernels import MOST_CHARACTERS, MOST_KERNELS, UPDATES, profiled


def test_operations_are_counted_by_update():
    matrix, done = torch.ones(64, 64), []

    def work(count):
        for _ in range(count):
            done.append(torch.mm(torch.mm(matrix, matrix), matrix).sum())

    launches, microseconds, slowest = profiled(work, "cpu")
    assert len(done) == UPDATES
    counts = {name: count for name, count, _ in slowest}
    assert (counts["aten::mm"], counts["aten::sum"]) == (2, 1)
    assert launches >= 3 and microseconds >= sum(each for *_, each in slowest) > 0
    spent = [each for *_, each in slowest]
    assert spent == sorted(spent, reverse=True)


def test_a_profiler_that_sees_nothing_of_a_gpu_gives_no_figure(monkeypatch):
    """As where the driver lets none but its administrator see what a GPU does."""
    seen = SimpleNamespace(key_averages=lambda: [])
    monkeypatch.setattr(kernels, "profile", lambda activities: contextlib.nullcontext(seen))
    with pytest.raises(RuntimeError, match="torch.profiler saw nothing of the GPU"):
        profiled(lambda count: None, "cuda")


def test_only_the_slowest_are_kept_and_names_are_cut():
    names = [f"{index:03d}" + "x" * 100 for index in range(MOST_KERNELS + 3)]

    def work(count):
        for _ in range(count):
            for name in names:
                with torch.profiler.record_function(name):
                    torch.zeros(1)

    launches, _, slowest = profiled(work, "cpu")
    assert len(slowest) == MOST_KERNELS and launches >= len(names)
    assert max(len(name) for name, *_ in slowest) == MOST_CHARACTERS
