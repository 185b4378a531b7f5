"""The machine's peaks are those of loops that do what they say; no test asserts a speed."""

import pytest
import torch

from harness.bench.cost import roof
from harness.bench.cost.roof import Compiled, OfLibrary, Roofs
from harness.bench.peak import Yardsticks


def test_the_loops_do_the_arithmetic_that_is_counted():
    machine = Compiled()
    each = machine.multiply_add(1)
    assert machine.multiply_add(1000) == 1000 * each
    # A value is halved and raised by a half until it is 1: a lane for every two operations.
    assert roof._library().multiply_add(1000) == each / 2
    block = torch.arange(4 * roof.GROUP, dtype=torch.float32) % 7
    total = roof._library().read_all(block.data_ptr(), block.numel(), 3)
    assert total == 3 * float(block.sum())
    read = machine.reader(10_000)
    assert read(5) == 5 * read(1) == 5 * (10_000 // (4 * roof.GROUP)) * 4 * roof.GROUP


def test_numbers_of_twice_the_size_are_half_as_many_a_register():
    assert Compiled("double").multiply_add(10) == Compiled().multiply_add(10) / 2


@pytest.fixture
def without_a_compiler(monkeypatch):
    monkeypatch.setattr(roof.compiler, "find", lambda: None)
    roof._library.cache_clear()
    yield
    roof._library.cache_clear()


def test_without_a_compiler_a_product_of_torch_stands_in_and_that_is_said(
    without_a_compiler, monkeypatch
):
    monkeypatch.setattr(roof, "PRODUCT_SIZE", {"cpu": 16})
    machine = roof.machine("cpu")
    assert isinstance(machine, OfLibrary)
    assert machine.how == "a product of torch, since no C++ compiler was found. Install g++ or " \
        "clang++, or set CXX"  # fmt: skip
    assert machine.multiply_add(3) == 3 * 2 * 16**3
    assert machine.reader(4 * roof.GROUP)(2) == 2 * 4 * roof.GROUP
    yardsticks = Yardsticks("s", 2, torch.device("cpu"), "float32")  # of products alone then
    yardsticks.close()
    assert len(yardsticks.peaks) == 6 and all(peak.size for peak in yardsticks.peaks)


def test_more_threads_read_and_compute_side_by_side(monkeypatch):
    monkeypatch.setattr(roof, "LEAST_MEMORY_BYTES", 2**20)
    monkeypatch.setattr(roof, "CACHES_EXCEEDED", 0)
    roofs = Roofs("cpu", 2)
    try:
        roofs.measure(0.001)
        assert [each.threads for each in roofs.roofs] == [1, 2]
        for each in roofs.roofs:
            assert each.peak > 0 and each.memory > 0 and each.cache > 0
        assert roofs.reading_seconds(2**16)(0.001) > 0
    finally:
        roofs.close()
    (alone,) = Roofs("cpu", 1).roofs
    assert alone.threads == 1


def test_memory_is_more_than_the_largest_cache_holds(tmp_path):
    assert roof.memory_bytes(tmp_path) == roof.LEAST_MEMORY_BYTES
    for index, size in enumerate(("32K", "512K", "384M", "?")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n")
    assert roof.memory_bytes(tmp_path) == 4 * 384 * 2**20
