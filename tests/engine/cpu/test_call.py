"""One call of the generated code: how threads share it, and the memory that it takes."""

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from agreement import ALL_CELLS, assert_agrees, assert_same, case, results, with_leaves

import cells
from harness.engine import Layer
from harness.engine.cpu import call, compiler, cpu, memory
from harness.engine.cpu import products as cpu_products
from harness.engine.cpu.compiled import code_for
from harness.engine.tracing.schedule import schedule
from harness.engine.tracing.trace import trace

FEW = [
    "lstm",
    "gru-reset-before",
    "lstm-peephole",
    "lstm-layer-norm",
]  # what a schedule may hold, once each


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["tokens", "rows"])
@pytest.mark.parametrize("name", FEW)
def test_the_number_of_threads_changes_nothing(name, kind, precision):
    """With more rows than one thread takes at once, and tokens that come often."""
    given = case(name, steps=30, runs=2, batch=9, hidden=33, inputs=kind, scale=0.2).to(precision)
    one = results("cpu", given)
    for threads in (2, 3):
        assert_same(results("cpu", given.on_threads(threads)), one)


@pytest.fixture
def threads_are_always_worthwhile(monkeypatch):
    monkeypatch.setattr(compiler, "OPERATIONS_PER_THREAD", 1)
    monkeypatch.setattr(compiler, "OPERATIONS_BETWEEN_MEETINGS", 1)
    call.plan.cache_clear()
    yield
    call.plan.cache_clear()


@pytest.mark.parametrize("kind", ["tokens", "rows"])
@pytest.mark.parametrize("name", ALL_CELLS)
def test_chunks_of_time_and_slices_of_rows_agree_on_any_number_of_threads(
    threads_are_always_worthwhile, name, kind
):
    """Three slices of up to 16 rows, and chunks of 4, 4, 4 and 1 time steps from the end."""
    given = case(name, steps=13, batch=40, hidden=7, inputs=kind, scale=0.3)
    assert_agrees("cpu", given)
    one = results("cpu", given)
    for threads in (2, 3, 5):
        assert_same(results("cpu", given.on_threads(threads)), one)


NOT_BY_UNITS = {"row_sum", "row_max", "cumsum", "roll", "flip"}
"""Operations that read other units of their row."""


@pytest.mark.parametrize("name", ALL_CELLS)
def test_threads_that_share_the_units_change_nothing(threads_are_always_worthwhile, name):
    """With too few rows for each to have some: three blocks of 16 units, the last one not full."""
    given = case(name, steps=5, batch=3, hidden=39, inputs="rows", scale=0.2)
    one = results("cpu", given)
    code = code_for(given.layer)
    for threads in (2, 3, 5):
        layer = replace(given.layer, threads=threads)
        shape = memory.Shape(5, 3, 39, given.inputs.shape[3], False, 8, True)
        if given.layer.cell.recurrent_products():
            shares = call.shares(layer, shape, code.can_split_units)
            assert shares == ((min(threads, 3), True) if code.can_split_units else (1, False))
        assert_same(results("cpu", given.on_threads(threads)), one)
    # What is kept for no gradient has one place for all time steps, or two.
    many = case(name, steps=60, batch=3, hidden=39, inputs="rows", scale=0.2)
    with torch.no_grad():
        alone = many.run("cpu")[0]
        for _ in range(3):
            assert torch.equal(many.on_threads(3).run("cpu")[0], alone)
    operations = {node.op for node in schedule(trace(given.layer)).program.nodes}
    assert code.can_split_units is not bool(operations & NOT_BY_UNITS)


@pytest.mark.parametrize("name", ["gru3", "mgu3", "minimal-rnn"])
def test_no_thread_writes_what_another_still_multiplies(name):
    """Cells whose step computes before its product: two of three such calls once differed."""
    given = case(name, steps=200, batch=8, hidden=256, inputs="rows", scale=0.05).to("float32")
    with torch.no_grad():
        alone = given.run("cpu")[0]
        assert all(torch.equal(given.on_threads(2).run("cpu")[0], alone) for _ in range(20))


def test_no_time_step_is_no_work():
    given = case("lstm", steps=0, batch=3)
    assert given.on_threads(2).run("cpu")[0].shape == (0, 1, 3, 7)


PARALLEL = ctypes.CFUNCTYPE(None, ctypes.CFUNCTYPE(None, ctypes.c_void_p), ctypes.c_void_p)
COUNTED = ctypes.CFUNCTYPE(ctypes.c_int)
PARALLEL_OF = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)


@pytest.fixture(params=["torch's", "one of torch's", "our own"])
def threads_of(request):
    """Whose threads help: torch's, our own where OpenMP gives fewer, and where there is none."""
    fewer = (
        PARALLEL(lambda function, given: function(given)),
        COUNTED(lambda: 0),
        COUNTED(lambda: 1),
        COUNTED(lambda: 8),
    )
    addresses = [ctypes.cast(function, ctypes.c_void_p) for function in fewer]
    lent = {
        "torch's": cpu_products.threads_of_torch(),
        "one of torch's": (ctypes.c_void_p * 4)(*addresses),
        "our own": (ctypes.c_void_p * 4)(),
    }
    libraries = [cpu_products.products(precision) for precision in ("float32", "float64")]
    for library in libraries:
        library.lend(lent[request.param])
    yield
    for library in libraries:
        library.lend(lent["torch's"] or lent["our own"])


def test_whose_threads_they_are_changes_nothing(threads_are_always_worthwhile, threads_of):
    given = case("lstm", steps=13, batch=40, hidden=7, inputs="rows", scale=0.3)
    one = results("cpu", given)
    for threads in (2, 3):
        assert_same(results("cpu", given.on_threads(threads)), one)


def test_where_torch_uses_one_thread_openmp_is_asked_for_none(threads_are_always_worthwhile):
    """It would keep them, and with more threads than cores let those of all callers sleep."""
    asked, lent = [], cpu_products.threads_of_torch()
    if lent is None:
        pytest.skip("this torch was built with other threads than OpenMP's")
    own = ctypes.cast(lent[0], PARALLEL_OF)

    def parallel(function, given, threads, flags):
        asked.append(threads)
        own(function, given, threads, flags)

    counting = PARALLEL_OF(parallel)
    changed = (ctypes.c_void_p * 4)(ctypes.cast(counting, ctypes.c_void_p).value, *lent[1:])
    given = case("lstm", steps=3, batch=40, hidden=7, inputs="rows").on_threads(2)
    before = torch.get_num_threads()
    try:
        cpu_products.products("float64").lend(changed)
        torch.set_num_threads(2)
        here = results("cpu", given)
        assert set(asked) == {2}
        asked.clear()
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            assert_same(pool.submit(results, "cpu", given).result(), here)
        assert asked == []
    finally:
        cpu_products.products("float64").lend(lent)
        torch.set_num_threads(before)


def test_calls_from_two_python_threads_at_once_do_not_disturb_each_other():
    given = {
        seed: case("lstm", steps=9, runs=2, hidden=33, seed=seed, inputs="tokens")
        for seed in (0, 100)
    }
    alone = {seed: results("cpu", one) for seed, one in given.items()}
    start, found = threading.Barrier(2), {0: [], 100: []}

    def compute(seed):
        start.wait(120)
        for _ in range(20):
            found[seed].append(results("cpu", given[seed]))

    others = [threading.Thread(target=compute, args=(seed,)) for seed in given]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join()
    for seed, expected in alone.items():
        assert len(found[seed]) == 20
        for one in found[seed]:
            assert_same(one, expected)


def test_the_tape_of_an_lstm_is_seven_values_a_unit():
    """i, f, g, o and tanh(c') of every step for the gradient, h and c of every step and of the
    start.
    """
    steps, batch, hidden, bytes_each = 12, 4, 32, 4
    gates_and_tanh, states = 5, 2
    expected = (gates_and_tanh * steps + states * (steps + 1)) * batch * hidden * bytes_each
    assert (
        call.tape_bytes(Layer(cells.find("lstm"), hidden, 1, "float32"), steps, batch) == expected
    )
    assert (
        call.tape_bytes(Layer(cells.find("lstm"), hidden, 1, "float64"), steps, batch)
        == 2 * expected
    )


def test_a_pack_of_eight_long_lstms_needs_less_than_4_gigabytes():
    assert call.tape_bytes(Layer(cells.find("lstm"), 256, 1, "float32"), 1024, 32) < 4e9 / 8


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm-layer-norm"])
def test_between_the_passes_a_run_holds_its_tape_and_gives_all_back_at_the_end(monkeypatch, name):
    own = memory.Memory()
    held, take, give = {}, own.take, own.give
    monkeypatch.setattr(
        own, "take", lambda size: held.setdefault((block := take(size)).data_ptr(), block)
    )
    monkeypatch.setattr(own, "give", lambda block: (held.pop(block.data_ptr()), give(block))[1])
    for module in (cpu, call):
        monkeypatch.setattr(module, "memory", own)
    given = case(name, steps=6, runs=1, batch=3, hidden=32, inputs="tokens")
    leaf = given.parameters["R"].detach().requires_grad_()
    outputs, _ = with_leaves(given, {"R": leaf}).run("cpu")
    lent = sum(block.numel() for block in held.values())
    assert lent + outputs.untyped_storage().nbytes() == call.tape_bytes(given.layer, 6, 3)
    torch.autograd.grad(outputs.sum(), [leaf])
    assert not held
    with_leaves(given, {"R": leaf.detach()}).run("cpu")
    assert not held


def test_memory_is_lent_again_and_what_lay_idle_longest_goes_where_there_is_much():
    own = memory.Memory(most_bytes=2 * 640)
    blocks = [own.take(640) for _ in range(3)]
    assert len({block.data_ptr() for block in blocks}) == 3
    assert all(block.data_ptr() % 64 == 0 for block in blocks)
    for block in blocks:
        own.give(block)
    again = [own.take(640) for _ in range(3)]
    assert again[0] is blocks[2] and again[1] is blocks[1] and again[2] is not blocks[0]
    assert own.take(64).numel() == 64


@pytest.mark.parametrize("size", [7, 100_000])
def test_a_tensors_memory_comes_back_with_its_last_view(size):
    own = memory.Memory()
    whole = own.empty((3, size), torch.float32)
    assert whole.shape == (3, size) and whole.dtype == torch.float32
    view, place = whole[1:], whole.data_ptr()
    del whole
    assert own.empty((3, size), torch.float32).data_ptr() != place
    del view
    again = own.empty((3, size), torch.float32)
    assert (again.data_ptr() == place) or size == 7  # a small one is torch's own
