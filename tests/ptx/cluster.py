"""The threads of a cluster: where each is, what its registers hold, and what it reaches."""

from collections.abc import Callable, Sequence

import numpy as np

from ptx import operations
from ptx.counts import Counts
from ptx.memory import HALF, WORD, Clock, Device, Fault, Region
from ptx.operations import TYPES
from ptx.program import Program

WARP = 32
RUNS, SYNCS, WAITS, ENDED = range(4)
"""What a thread does: it goes on, or it waits for its block, or for its cluster."""
SHARED_BASE = 1 << 10
"""Where a block's shared memory begins for instructions that know that it is shared."""
WINDOW, OF_BLOCK = 1 << 60, 1 << 24
"""Where the blocks' shared memory begins for all others, and how far apart two are."""
Action = Callable[["Cluster", np.ndarray], None]
"""What an instruction does to those threads of a cluster that are there."""


class Cluster:
    """The threads of some blocks, and what each has in its registers."""

    def __init__(
        self,
        device: Device,
        program: Program,
        parameters: bytes,
        grid: tuple[int, int, int],
        first_block: tuple[int, int, int],
        shape: tuple[int, int, int],
        counts: Counts | None = None,
    ):
        self.counts = counts
        num_threads, shared_bytes, number = shape
        self.program, self.parameters = program, np.frombuffer(parameters, np.uint8)
        self.num_threads, self.num_blocks = num_threads, program.cluster_size
        self.size = size = num_threads * self.num_blocks
        lanes = np.arange(size)
        self.rank, self.thread = np.divmod(lanes, num_threads)
        self.warp = lanes // num_threads * -(-num_threads // WARP) + self.thread // WARP
        x, y, z = first_block
        self.special = {
            "%tid.x": self.thread,
            "%tid.y": 0 * lanes,
            "%tid.z": 0 * lanes,
            "%ntid.x": 0 * lanes + num_threads,
            "%ctaid.x": x + self.rank,
            "%ctaid.y": 0 * lanes + y,
            "%ctaid.z": 0 * lanes + z,
            "%nctaid.x": 0 * lanes + grid[0],
            "%cluster_ctarank": self.rank,
            "%laneid": self.thread % WARP,
        }
        self.order = program.order
        self.turns = np.argsort(self.order)
        self.special = {name: value.astype(np.uint32) for name, value in self.special.items()}
        self.registers: dict[str, np.ndarray] = {}
        none = np.zeros(size, np.int32)
        block = number * self.num_blocks + self.rank
        self.clock = Clock(
            number * size + lanes, block, 0 * block + number, none, none.copy(), none.copy()
        )
        self.at, self.does = np.zeros(size, np.int64), np.full(size, RUNS)
        place = HALF if program.has_halves else WORD
        self.shared = [
            Region(
                np.full(shared_bytes, 255, np.uint8).view(f"u{place}"),
                f"shared memory of block {b}",
            )
            for b in range(self.num_blocks)
        ]
        self.last_visit = np.full(self.num_blocks, -1)
        self._starts = np.array(sorted(device.regions), np.int64)
        self._regions = [device.regions[int(start)] for start in self._starts]

    def run(self, actions: Sequence[Sequence[Action]]) -> None:
        """Runs all threads to their end: always those that have the most before them."""
        while True:
            ready = self.does == RUNS
            if not ready.any():
                if (self.does == ENDED).all():
                    break
                self._open_barriers()
                continue
            first = int(self.turns[self.at[ready]].min())
            block = self.order[first]
            now = np.flatnonzero(ready & (self.at == block))
            self.at[now] = block + 1
            for number, action in enumerate(actions[block]):
                if self.counts is not None:
                    self.counts.issue(self.program.blocks[block][number].operation, self.warp[now])
                try:
                    action(self, now)
                except Fault as fault:
                    text = self.program.blocks[block][number].text
                    raise Fault(f"{self.program.name}: {text}: {fault}") from fault
        for block, visit in enumerate(self.last_visit):
            own = self.rank == block
            if visit >= self.clock.waits[own].max():
                raise Fault(
                    f"{self.program.name}: block {block} must not end before all others have done "
                    "with its memory, but no barrier of the cluster lies between."
                )

    def _open_barriers(self) -> None:
        """Lets those go on for whom all others are there."""
        opened = False
        for block in range(self.num_blocks):
            own = self.rank == block
            waiting = own & (self.does == SYNCS)
            if waiting.any() and waiting.sum() == own.sum():
                self.clock.syncs[own] += 1
                self.does[own], opened = RUNS, True
        waiting = self.does == WAITS
        if waiting.any():
            arrived = np.where(self.does == ENDED, np.iinfo(np.int32).max, self.clock.arrivals)
            free = waiting & (self.clock.waits < arrived.min())
            if free.any():
                self._note_ended(int(self.clock.waits[free][0]))
            self.clock.waits[free] += 1
            self.does[free] = RUNS
            opened |= bool(free.any())
        if not opened:
            counts = {
                name: int((self.does == k).sum())
                for k, name in enumerate(
                    ("run", "wait for their block", "wait for the cluster", "ended")
                )
            }
            raise Fault(f"{self.program.name}: threads wait for ever, {counts}.")

    def _note_ended(self, barrier: int) -> None:
        """Notes that a barrier of the cluster opens without threads which ended before it.

        Nobody waits for them, and nobody is told what they did since they arrived last.
        """
        missing = (self.does == ENDED) & (self.clock.arrivals == barrier)
        if not missing.any():
            return
        for region in (*self.shared, *self._regions):
            cluster = int(self.clock.cluster[0])
            region.never_arrive(cluster, self.clock.thread[missing], barrier)
        self.last_visit[self.last_visit == barrier] = np.iinfo(np.int32).max

    def together(self, now: np.ndarray) -> None:
        """Raises a Fault where a warp's threads are not all here."""
        there = np.bincount(self.warp[self.does != ENDED], minlength=self.warp[-1] + 1)
        here = np.bincount(self.warp[now], minlength=self.warp[-1] + 1)
        if ((here > 0) & (here != there)).any():
            raise Fault("all threads of a warp must be together.")

    def get(self, operand: str, kind: str, now: np.ndarray) -> np.ndarray:
        """Returns what an operand has for the threads, as numbers of a type."""
        wanted = TYPES[kind]
        if operand in self.special:
            return self.special[operand][now].view(wanted)
        if operand[0] == "%":
            held = self._held(operand)
            taken = held[now]
            if taken.dtype.itemsize > np.dtype(wanted).itemsize:
                return taken.astype(f"u{np.dtype(wanted).itemsize}").view(wanted)
            return taken.view(wanted)
        return np.broadcast_to(self._constant(operand, wanted), now.shape)

    def _constant(self, operand: str, wanted: type) -> np.ndarray:
        if operand[:2] in ("0f", "0F"):
            return np.array(int(operand[2:], 16), np.uint32).view(np.float32).astype(wanted)
        if operand[:2] in ("0d", "0D"):
            return np.array(int(operand[2:], 16), np.uint64).view(np.float64).astype(wanted)
        if operand in self.program.parameters:
            number = self.program.parameters[operand]
        elif operand in self.program.shared:
            number = SHARED_BASE + self.program.shared[operand]
        else:
            number = int(operand.rstrip("U"), 0)
        size = np.dtype(wanted).itemsize
        return np.array(number % 256**size, f"u{size}").view(wanted)

    def put(self, register: str, values: np.ndarray, now: np.ndarray) -> None:
        """Writes a register of the threads."""
        if register == "_":
            return
        held = self._held(register)
        values = np.asarray(values)
        if values.dtype.itemsize < held.dtype.itemsize:
            values = values.astype(
                f"{'i' if values.dtype.kind == 'i' else 'u'}{held.dtype.itemsize}"
            )
        held[now] = values.view(held.dtype)

    def _held(self, register: str) -> np.ndarray:
        """Returns a register of all threads, which holds ones before it is written, so NaN."""
        if register not in self.registers:
            kind = TYPES[self._type(register)]
            size = self.size * np.dtype(kind).itemsize
            self.registers[register] = np.full(size, 255, np.uint8).view(kind)
        return self.registers[register]

    def _type(self, register: str) -> str:
        declared = self.program.registers
        return declared.get(register) or declared[register.rstrip("0123456789")]

    def address(self, operand: str, now: np.ndarray) -> np.ndarray:
        """Returns the addresses of ``[name+offset]``."""
        base, _, offset = operand[1:-1].replace(" ", "").partition("+")
        return self.get(base, "s64" if self._is_long(base) else "u32", now).astype(np.int64) + int(
            offset or "0", 0
        )

    def _is_long(self, base: str) -> bool:
        if base[0] != "%":
            return True
        return operations.bits(self._type(base)) == 64

    def reach(
        self, space: str, addresses: np.ndarray, now: np.ndarray
    ) -> list[tuple[Region, np.ndarray, np.ndarray]]:
        """Returns which of the threads reach what, and where in it.

        Raises:
            Fault: An address belongs to nothing, or to a block that may not be there.
        """
        if space.startswith("shared"):
            generic = WINDOW + self.rank[now] * OF_BLOCK + addresses - SHARED_BASE
        else:
            generic = addresses
        is_shared = (generic >= WINDOW) & (generic < WINDOW + self.num_blocks * OF_BLOCK)
        if is_shared.all():
            owners, offsets = np.divmod(generic - WINDOW, OF_BLOCK)
            self._visit(owners, now)
            found = owners
            regions: Sequence[Region] = self.shared
        elif is_shared.any() or not len(self._starts):
            raise Fault("addresses must be all in shared memory or all outside.")
        else:
            found = np.searchsorted(self._starts, generic, "right") - 1
            if (found < 0).any():
                raise Fault(f"an address must belong to a tensor, but got {generic.min()}.")
            offsets, regions = generic - self._starts[found], self._regions
        return [
            (regions[one], np.flatnonzero(found == one), offsets[found == one])
            for one in np.unique(found)
        ]

    def count(
        self, operation: str, space: str, addresses: np.ndarray, size: int, now: np.ndarray
    ) -> None:
        """Counts what an access costs."""
        if self.counts is None:
            return
        warps = self.warp[now]
        if space.startswith("shared"):
            lanes = self.thread[now] % WARP
            self.counts.access(operation, warps, lanes, addresses, size)
        else:
            self.counts.reach(operation, warps, addresses, size)

    def _visit(self, owners: np.ndarray, now: np.ndarray) -> None:
        """Notes that threads reach other blocks' memory, which must have begun and not ended."""
        other = owners != self.rank[now]
        if not other.any():
            return
        if (self.clock.waits[now[other]] < 1).any():
            raise Fault("another block may not have begun: no barrier of the cluster lies before.")
        np.maximum.at(self.last_visit, owners[other], self.clock.arrivals[now[other]])
