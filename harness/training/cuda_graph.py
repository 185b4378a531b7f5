"""CUDA graphs: an update is recorded once and then replayed, and so is a batch of an evaluation.

The thousands of launches of an update then cost what one costs. The whole update of a shard is one
graph: gather, lookup, forward, loss, backward, clip and optimizer. Which engine computes it does
not matter here: what cannot be recorded is run launch by launch, and a note says so.

A replay does again what was done, at the same addresses and with the same numbers of Python's. So
everything that differs between updates is copied into tensors that stay where they are, and what an
update leaves behind it writes in place. See docs/decisions/cuda_graph.md.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Protocol
from weakref import WeakSet

import torch
from torch import Tensor

from harness.timing import out_of_memory

EAGER_CALLS = 3
"""So many updates, or batches, are made before one is recorded, on the stream that records.

What they compile, create and allocate for good cannot be made while recording. Torch's own examples
take as many.
"""

NUM_STREAMS = 32
"""Torch deals out so many streams, and then the first one again."""

Step = Callable[..., tuple[Tensor, ...]]
Work = Callable[[], None]


class GraphRecorder(Protocol):
    """Does work, and records it as a graph.

    Both are on behalf of one shard, and always in the same thread.
    """

    def run(self, work: Work) -> None:
        """Does the work once, where it will be recorded."""
        ...

    def record(self, work: Work) -> Work:
        """Returns what replays the work; recording does none of it.

        Raises:
            RuntimeError: The work cannot be recorded.
        """
        ...


class CudaGraphRecorder:
    """Records CUDA graphs on a stream of its own.

    Graphs of one stream would share cuBLAS's workspace, and the first of them to be destroyed would
    take it along (pytorch/pytorch#193402).
    """

    _all = WeakSet["CudaGraphRecorder"]()

    def __init__(self) -> None:
        taken = {recorder._stream for recorder in self._all}
        dealt = [torch.cuda.Stream() for _ in range(NUM_STREAMS)]
        self._stream: torch.cuda.Stream = next(
            (stream for stream in dealt if stream not in taken), dealt[0]
        )
        self._all.add(self)

    def run(self, work: Work) -> None:
        """See :class:`GraphRecorder`."""
        present = torch.cuda.current_stream()
        self._stream.wait_stream(present)
        try:
            with torch.cuda.stream(self._stream):
                work()
        finally:  # the memory of work that failed is given to others, while it may be under way
            present.wait_stream(self._stream)

    def record(self, work: Work) -> Work:
        """See :class:`GraphRecorder`."""
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        recording = torch.cuda.graph(graph, pool=pool, stream=self._stream)
        try:
            # The outer context goes back to the present stream where recording fails:
            # torch.cuda.graph does not.
            with _no_collection(), torch.cuda.stream(self._stream), recording:
                work()
        except BaseException:
            _end_allocation(pool)
            raise
        return graph.replay


@contextmanager
def _no_collection() -> Iterator[None]:
    """Lets Python collect no garbage: a graph in it would be destroyed, which ends a recording.

    Up to 2.8 torch itself collected before a recording (pytorch/pytorch#161037).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _end_allocation(pool: tuple[int, int]) -> None:
    """Lets the allocator know that a recording has failed.

    Before 2.13 torch leaves it out (pytorch/pytorch#180395): the recording would be under way for
    ever, so that no other one could begin, and no memory be given back.
    """
    with suppress(AttributeError, RuntimeError):  # torch has done so itself
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)


GRAPH_RECORDERS: dict[str, Callable[[], GraphRecorder]] = {"cuda": CudaGraphRecorder}
"""Device type -> what records there; on the others all is run launch by launch."""


class CapturedStep:
    """Runs a step a few times, then records it and replays the graph.

    The step comes with every call and is not kept, lest it keep its shard, and the shard the memory
    of a graph.
    """

    def __init__(
        self,
        recorder: GraphRecorder,
        notes: list[str],
        name: str = "update",
        refused: set[str] | None = None,
    ):
        """Takes what records, and where a failure is told.

        Args:
            recorder: Of its own.
            notes: To which a line is added.
            name: What a step is there.
            refused: To which the name is added, unless memory was short: it may not be later.
        """
        self._recorder, self._notes, self._name = recorder, notes, name
        self._refused = set[str]() if refused is None else refused
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()
        self._replay: Work | None = None
        self._num_calls = 0

    def __call__(self, step: Step, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Returns what ``step`` makes of the inputs, in memory that no later call overwrites.

        Args:
            step: The same each time; what it depends on besides its inputs stays where it is.
            *inputs: Of the same shapes each time.
        """
        if not self._inputs:
            self._inputs = tuple(torch.empty_like(value) for value in inputs)
        for buffer, value in zip(self._inputs, inputs, strict=True):
            buffer.copy_(value)
        work = partial(self._work, step)
        if self._num_calls == EAGER_CALLS:
            self._replay = self._recorded(work)
        if self._replay is None:
            self._recorder.run(work)
        else:
            self._replay()
        self._num_calls += 1
        return tuple(output.clone() for output in self._outputs)

    def _work(self, step: Step) -> None:
        outputs = step(*self._inputs)
        if not self._outputs:
            self._outputs = tuple(torch.empty_like(output) for output in outputs)
        for buffer, output in zip(self._outputs, outputs, strict=True):
            buffer.copy_(output)

    def _recorded(self, work: Work) -> Work | None:
        """Returns a replay, or None where there can be none."""
        try:
            return self._recorder.record(work)
        except RuntimeError as error:
            # The context is the cause; the error itself only says that recording ended badly.
            cause = error.__context__ or error
            if not out_of_memory(cause):
                self._refused.add(self._name)
            self._notes.append(
                f"capture: every {self._name} is launched operation by operation, since "
                + str(cause).partition("\n")[0]
            )
            return None
