"""Memory that tells what a device would not forgive: places, and who met there.

Places are words of 4 bytes, or halves of words where an instruction takes 2 bytes. Two accesses of
one place, of which one writes, must have a barrier between them: a block's own where both threads
are of one block, a cluster's else. What happened at a barrier is counted, so that the order in
which the machine runs the threads does not matter. An order that follows from a block's barrier and
a cluster's together, where a thread has arrived at the latter and not left it, is not known: then
it tells of two that meet who do not.
"""

from dataclasses import dataclass, field

import numpy as np

from ptx.program import PtxError

HALF, WORD = 2, 4
NOBODY, SEVERAL = -1, -2
OF_TENSOR = 1 << 40
"""How far apart two tensors are."""


class Fault(Exception):
    """What a device would not forgive."""


@dataclass
class Clock:
    """What each accessing thread has behind it, an array of each.

    Attributes:
        thread: Its number among those of all clusters.
        block: Likewise.
        cluster: Likewise.
        syncs: The barriers of its block that it has left.
        arrivals: The barriers of its cluster at which it has arrived.
        waits: Those that it has left.
    """

    thread: np.ndarray
    block: np.ndarray
    cluster: np.ndarray
    syncs: np.ndarray
    arrivals: np.ndarray
    waits: np.ndarray

    def __getitem__(self, which: np.ndarray) -> "Clock":
        return Clock(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


class Last:
    """Who accessed each place last, and what they had behind them."""

    def __init__(self, size: int):
        self.thread = np.full(size, NOBODY, np.int64)
        self.block, self.cluster = np.zeros((2, size), np.int64)
        self.syncs, self.arrivals = np.zeros((2, size), np.int32)

    def is_before(self, places: np.ndarray, now: Clock) -> np.ndarray:
        """Returns whether those are done when these begin."""
        thread = self.thread[places]
        of_cluster = (self.cluster[places] == now.cluster) & (now.waits > self.arrivals[places])
        of_block = (self.block[places] == now.block) & (now.syncs > self.syncs[places])
        return (thread == NOBODY) | (thread == now.thread) | of_cluster | of_block

    def take(self, places: np.ndarray, now: Clock) -> None:
        """Notes that these are the last."""
        self.thread[places], self.block[places] = now.thread, now.block
        self.cluster[places] = now.cluster
        self.syncs[places], self.arrivals[places] = now.syncs, now.arrivals

    def join(self, places: np.ndarray, now: Clock) -> None:
        """Notes that these are among the last, beside those who are not done when they begin."""
        block, cluster, arrivals = (a[places] for a in (self.block, self.cluster, self.arrivals))
        beside = ~self.is_before(places, now)
        self.take(places, now)
        np.maximum.at(self.arrivals, places, np.where(beside, arrivals, 0))
        np.maximum.at(self.arrivals, places, now.arrivals)
        # Several of one instruction at one place: the last one is noted, the others differ from it.
        self.thread[places[beside | (self.thread[places] != now.thread)]] = SEVERAL
        self.block[places[beside & (block != now.block)]] = SEVERAL
        self.block[places[self.block[places] != now.block]] = SEVERAL
        self.cluster[places[beside & (cluster != now.cluster)]] = SEVERAL
        self.cluster[places[self.cluster[places] != now.cluster]] = SEVERAL

    def never_arrive(self, cluster: int, threads: np.ndarray, arrivals: int) -> None:
        """Notes that threads ended: no barrier from this one on tells what they did before it."""
        here = (self.cluster == cluster) & (self.arrivals == arrivals)
        among = np.isin(self.thread, threads) | (self.thread == SEVERAL)
        self.cluster[here & among] = NOBODY


class Region:
    """A run of places.

    Args:
        content: Unsigned integers, one of each place; whoever made them sees what is written.
        name: For messages.
        start: The address of the first.
    """

    def __init__(self, content: np.ndarray, name: str, start: int = 0):
        self.content, self.name, self.start = content, name, start
        self._size = content.itemsize
        self._written, self._read = Last(len(content)), Last(len(content))

    def never_arrive(self, cluster: int, threads: np.ndarray, arrivals: int) -> None:
        """Notes that threads ended which arrived at so many barriers of their cluster."""
        for last in (self._written, self._read):
            last.never_arrive(cluster, threads, arrivals)

    def load(self, offsets: np.ndarray, size: int, now: Clock) -> np.ndarray:
        """Returns (accesses, size) bytes.

        Raises:
            Fault: An access is not aligned, outside, or meets a write.
        """
        places = self._places(offsets, size)
        every = np.repeat(np.arange(len(offsets)), size // self._size)
        flat, times = places.ravel(), now[every]
        self._must(self._written.is_before(flat, times), "reads", self._written, flat, times)
        self._read.join(flat, times)
        return self.content[places].view(np.uint8)

    def store(self, offsets: np.ndarray, values: np.ndarray, now: Clock) -> None:
        """Writes (accesses, bytes).

        Raises:
            Fault: An access is not aligned, outside, or meets another one.
        """
        places = self._places(offsets, values.shape[1])
        every = np.repeat(np.arange(len(offsets)), places.shape[1])
        flat, times = places.ravel(), now[every]
        self._must(self._written.is_before(flat, times), "writes", self._written, flat, times)
        self._must(self._read.is_before(flat, times), "writes", self._read, flat, times)
        self._written.take(flat, times)
        meets = self._written.thread[flat] == times.thread
        self._must(meets, "writes", self._written, flat, times)
        self.content[places] = values.view(self.content.dtype)

    def _places(self, offsets: np.ndarray, size: int) -> np.ndarray:
        if size < self._size:
            raise PtxError(f"{self.name}: an access must have {self._size} bytes, but got {size}.")
        outside = (offsets < 0) | (offsets + size > self.content.nbytes)
        if outside.any():
            raise Fault(
                f"{self.name} must hold the address, but got offset={offsets[outside][0]}, "
                f"bytes={size} of {self.content.nbytes}."
            )
        odd = (self.start + offsets) % size != 0
        if odd.any():
            got = f"{offsets[odd][0]}" + (f" from {self.start:#x}" if self.start % size else "")
            raise Fault(f"{self.name}: an access of {size} bytes must be aligned, but got {got}.")
        return offsets[:, None] // self._size + np.arange(size // self._size)

    def _must(
        self, holds: np.ndarray, what: str, last: Last, places: np.ndarray, now: Clock
    ) -> None:
        if holds.all():
            return
        first = int(np.argmin(holds))
        other = int(last.thread[places[first]])
        did = "writes" if last is self._written else "reads"
        told = "several threads" if other == SEVERAL else f"thread {other}"
        place = "word" if self._size == WORD else "half"
        raise Fault(
            f"{self.name}, {place} {places[first]}: a barrier must lie between threads that meet, "
            f"but thread {now.thread[first]} {what} what {told} {did}."
        )


@dataclass
class Device:
    """The memory that kernels are given.

    Attributes:
        regions: Address -> what lies there.
    """

    regions: dict[int, Region] = field(default_factory=dict)

    def hold(self, array: np.ndarray, name: str) -> int:
        """Takes a contiguous array whose numbers have 2, 4 or 8 bytes, and returns its address.

        No two arrays lie near one another, so that what is beyond one is nobody's; the address is
        a multiple of what the array's own is, up to 256.
        """
        assert array.flags.c_contiguous
        content = array.reshape(-1).view(np.uint16 if array.itemsize == HALF else np.uint32)
        address = (1 + len(self.regions)) * OF_TENSOR + array.ctypes.data % 256
        self.regions[address] = Region(content, name, address)
        return address
