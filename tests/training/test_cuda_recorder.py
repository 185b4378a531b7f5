"""What a recorder asks of torch.cuda, with stand-ins for the device."""

import gc
import inspect
from contextlib import contextmanager
from weakref import WeakSet

import pytest
import torch

from harness.training import cuda_graph
from harness.training.cuda_graph import (
    EAGER_CALLS,
    NUM_STREAMS,
    CapturedStep,
    CudaGraphRecorder,
)


class Device:
    """Streams dealt out in turn, and an allocator that knows what is being recorded.

    It is torch's before 2.13: a recording whose end fails stays under way.
    """

    def __init__(self):
        self.dealt, self.pools, self.underway = 0, 0, []
        self.default = self.current = Stream(-1)

    def stream(self):
        self.dealt += 1
        return Stream((self.dealt - 1) % NUM_STREAMS)

    def pool(self):
        self.pools += 1
        return (0, self.pools)

    @contextmanager
    def on(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def recording(self, graph, pool, stream):
        if self.underway:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")
        self.underway.append(pool)
        before, self.current = self.current, stream
        try:
            yield
        except RuntimeError:
            raise RuntimeError("previous error during capture")  # noqa: B904 (as torch does)
        self.current = before
        self.underway.remove(pool)

    def end(self, device, pool):
        if pool not in self.underway:
            raise RuntimeError("not currently recording to mempool_id")
        self.underway.remove(pool)


class Stream:
    def __init__(self, number):
        self.number, self.waited_for = number, []

    def __eq__(self, other):
        return self.number == other.number

    def __hash__(self):
        return self.number

    def wait_stream(self, other):
        self.waited_for.append(other)


class Graph:
    def replay(self):
        pass


@pytest.fixture
def device(monkeypatch):
    device = Device()
    named = {
        "Stream": device.stream,
        "stream": lambda stream: device.on(stream),
        "graph": lambda graph, pool, stream: device.recording(graph, pool, stream),
        "graph_pool_handle": device.pool,
        "CUDAGraph": Graph,
        "current_device": lambda: 0,
        "current_stream": lambda: device.current,
    }
    for name, stand_in in named.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", device.end, raising=False)
    # Those of other tests may be in garbage that is not collected yet.
    monkeypatch.setattr(CudaGraphRecorder, "_all", WeakSet())
    return device


def waits():
    raise RuntimeError("operation not permitted when stream is capturing")


def test_the_first_recording_that_fails_is_the_only_one(device):
    """Each is noted once; what comes after it in the process is recorded as if it had not been."""
    for _ in range(2):
        with pytest.raises(RuntimeError, match="during capture"):
            CudaGraphRecorder().record(waits)
        assert device.current == device.default
    assert CudaGraphRecorder().record(lambda: None)() is None
    assert device.underway == []


def test_what_comes_after_an_update_that_failed_waits_for_what_it_has_launched(device):
    """Else it would be given memory, after a shard that did not fit, that is still written to."""
    recorder = CudaGraphRecorder()

    def full():
        assert device.current == recorder._stream and device.default.waited_for == []
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        recorder.run(full)
    assert device.current == device.default
    assert recorder._stream.waited_for == [device.default]
    assert device.default.waited_for == [recorder._stream]


def test_torch_that_ends_a_failed_recording_itself_is_asked_twice(device, monkeypatch):
    @contextmanager
    def recording(graph, pool, stream):
        yield

    monkeypatch.setattr(torch.cuda, "graph", recording)
    with pytest.raises(RuntimeError, match="not permitted"):
        CudaGraphRecorder().record(waits)


@pytest.mark.parametrize("is_enabled", [True, False])
@pytest.mark.parametrize("work", [lambda: None, waits])
def test_no_garbage_is_collected_while_a_graph_is_recorded(device, work, is_enabled):
    """A dead graph in it would be destroyed, which CUDA forbids then."""
    seen = []

    def watched():
        seen.append(gc.isenabled())
        work()

    before = gc.isenabled()
    (gc.enable if is_enabled else gc.disable)()
    try:
        captured = CapturedStep(CudaGraphRecorder(), [])
        captured._recorded(watched)
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == [False]


def test_no_two_recorders_that_live_have_one_stream(device):
    """Torch deals out the first one again after the last."""
    old = CudaGraphRecorder()
    for _ in range(3 * NUM_STREAMS):
        assert CudaGraphRecorder()._stream != old._stream
    living = [CudaGraphRecorder() for _ in range(NUM_STREAMS - 1)]
    assert len({recorder._stream for recorder in (old, *living)}) == NUM_STREAMS
    assert CudaGraphRecorder()._stream.number < NUM_STREAMS  # more than there are share one


def test_recorders_of_cuda_are_these():
    assert cuda_graph.GRAPH_RECORDERS["cuda"] is CudaGraphRecorder


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_records_again_after_a_recording_that_failed():
    """Torch's private end of an allocation is still there, and does what is counted on."""
    x = torch.ones(2, device="cuda")
    for step, num_notes in ((lambda x: (x * x.sum().item(),), 1), (lambda x: (x * 2,), 0)):
        notes = []
        captured = CapturedStep(CudaGraphRecorder(), notes)
        for _ in range(EAGER_CALLS + 2):
            assert captured(step, x)[0].tolist() == [2.0, 2.0]
        assert len(notes) == num_notes, notes
        torch.cuda.empty_cache()


def test_the_end_of_an_allocation_is_called_as_torch_calls_it():
    """It is private; of a torch without it, nothing would be ended, and nothing be said."""
    source = inspect.getsource(torch.cuda.use_mem_pool)
    assert "_cuda_endAllocateToPool(device_index, pool.id)" in source


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_torch_deals_out_so_many_streams():
    assert len({torch.cuda.Stream() for _ in range(2 * NUM_STREAMS)}) == NUM_STREAMS
