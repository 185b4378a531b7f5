"""Runs a kernel: all threads of a cluster step by step, those that are together at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ptx import operations
from ptx.counts import Counts
from ptx.memory import WORD, Clock, Fault, Region
from ptx.operations import TYPES
from ptx.program import Instruction, Program, PtxError

WARP = 32
RUNS, SYNCS, WAITS, ENDED = range(4)
"""What a thread does: it goes on, or it waits for its block, or for its cluster."""
SHARED_BASE = 1 << 10
"""Where a block's shared memory begins for instructions that know that it is shared."""
WINDOW, OF_BLOCK = 1 << 60, 1 << 24
"""Where the blocks' shared memory begins for all others, and how far apart two are."""
OF_TENSOR = 1 << 40
"""How far apart two tensors are."""
MULTIPLIED = ("sync", "aligned", "m16n8k8", "row", "col", "f32", "tf32", "tf32", "f32")
MATRICES = ("sync", "aligned", "m8n8", "x4", "shared", "b16")
"""What tensor cores do here."""
Action = Callable[["Cluster", np.ndarray], None]


@dataclass
class Device:
    """The memory that kernels are given.

    Attributes:
        regions: Address -> what lies there.
    """

    regions: dict[int, Region] = field(default_factory=dict)

    def hold(self, array: np.ndarray, name: str) -> int:
        """Takes a contiguous array whose numbers have 4 or 8 bytes, and returns its address.

        No two arrays lie near one another, so that what is beyond one is nobody's; the address is
        a multiple of what the array's own is, up to 256.
        """
        assert array.flags.c_contiguous
        words = array.reshape(-1).view(np.uint32)
        address = (1 + len(self.regions)) * OF_TENSOR + array.ctypes.data % 256
        self.regions[address] = Region(words, name, address)
        return address


def launch(
    device: Device,
    program: Program,
    parameters: bytes,
    grid: tuple[int, int, int],
    num_threads: int,
    shared_bytes: int,
    counts: Counts | None = None,
) -> None:
    """Runs a kernel to its end, one cluster after another.

    Args:
        device: What the kernel reaches.
        program: The kernel.
        parameters: As a driver hands them over.
        grid: Blocks along x, y, z; a cluster is ``program.cluster_size`` of them along x.
        num_threads: Of a block.
        shared_bytes: Of a block, filled with NaN.
        counts: Where its costs are added, if they are wanted.

    Raises:
        Fault: The kernel does what a device would not forgive.
        PtxError: The kernel has an instruction that is unknown.
    """
    if len(parameters) != program.parameters[""]:
        raise Fault(f"{program.name} must get {program.parameters['']} bytes of parameters.")
    if program.num_threads and num_threads > program.num_threads:
        raise Fault(f"{program.name} must get at most {program.num_threads} threads.")
    if grid[0] % program.cluster_size or max(grid[1:]) > 65_535:
        raise Fault(f"{program.name}: a grid must hold whole clusters, but got {grid=}.")
    actions = [[compiled(one) for one in block] for block in program.blocks]
    number = 0
    with np.errstate(all="ignore"):
        for z in range(grid[2]):
            for y in range(grid[1]):
                for x in range(0, grid[0], program.cluster_size):
                    at = (x, y, z)
                    shape = (num_threads, shared_bytes, number)
                    Cluster(device, program, parameters, grid, at, shape, counts).run(actions)
                    number += 1


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
        words = [
            np.full(shared_bytes // WORD, 0x7FC00000, np.uint32) for _ in range(self.num_blocks)
        ]
        self.shared = [Region(w, f"shared memory of block {b}") for b, w in enumerate(words)]
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


def compiled(instruction: Instruction) -> Action:
    """Returns what an instruction does to a cluster.

    Raises:
        PtxError: It is unknown.
    """
    made = _SPECIAL.get(instruction.operation, _computing)(instruction)
    if instruction.guard is None:
        return made
    guard, wanted = instruction.guard, not instruction.is_negated

    def guarded(cluster: Cluster, now: np.ndarray) -> None:
        chosen = now[cluster.get(guard, "pred", now) == wanted]
        if len(chosen):
            made(cluster, chosen)

    return guarded


def _computing(instruction: Instruction) -> Action:
    function, result, kinds = operations.function(instruction)
    target, *sources = instruction.operands
    if isinstance(target, tuple) or any(isinstance(source, tuple) for source in sources):
        raise PtxError(f"operands must be single, but got {instruction.text!r}.")
    pairs = list(zip(sources, kinds, strict=True))

    def act(cluster: Cluster, now: np.ndarray) -> None:
        given = [cluster.get(source, kind, now) for source, kind in pairs]
        cluster.put(target, function(*given).astype(TYPES[result], copy=False), now)

    return act


def _move(instruction: Instruction) -> Action:
    """Of ``mov``, where one side may be the halves of the other."""
    target, source = instruction.operands
    (kind,) = operations.types(instruction)
    half = f"u{operations.bits(kind) // 2}"
    if isinstance(target, tuple):

        def part(cluster: Cluster, now: np.ndarray) -> None:
            whole = cluster.get(source, f"u{operations.bits(kind)}", now)
            for k, name in enumerate(target):
                halves = np.ascontiguousarray(whole).view(TYPES[half]).reshape(len(now), 2)
                cluster.put(name, halves[:, k], now)

        return part
    if isinstance(source, tuple):

        def join(cluster: Cluster, now: np.ndarray) -> None:
            halves = np.stack([cluster.get(name, half, now) for name in source], axis=1)
            cluster.put(target, halves.view(TYPES[f"u{operations.bits(kind)}"])[:, 0], now)

        return join
    return _computing(instruction)


def _space(instruction: Instruction) -> str:
    """Returns where an access goes.

    Raises:
        PtxError: It is of a kind whose rules are unknown, as one that needs memory to be constant.
    """
    spaces = ("global", "shared", "param", "shared__cta")
    unknown = {*instruction.modifiers} - {*spaces, *TYPES, "v2", "v4"}
    if unknown:
        raise PtxError(f"an access must be known, but got {instruction.text!r}.")
    return next((word for word in instruction.modifiers if word in spaces), "generic")


def _vector(operand: str | tuple[str, ...]) -> tuple[str, ...]:
    return operand if isinstance(operand, tuple) else (operand,)


def _load(instruction: Instruction) -> Action:
    (kind,), space = operations.types(instruction), _space(instruction)
    targets, address = _vector(instruction.operands[0]), instruction.operands[1]
    size = operations.bits(kind) // 8

    def act(cluster: Cluster, now: np.ndarray) -> None:
        addresses = cluster.address(address, now)
        if space == "param":
            places = addresses[:, None] + np.arange(size * len(targets))
            words = cluster.parameters[places]
        else:
            words = np.empty((len(now), size * len(targets) // WORD), np.uint32)
            for region, which, offsets in cluster.reach(space, addresses, now):
                times = cluster.clock[now[which]]
                words[which] = region.load(offsets, size * len(targets), times)
            cluster.count("ld", space, addresses, size * len(targets), now)
        values = np.ascontiguousarray(words).view(TYPES[kind])
        for k, target in enumerate(targets):
            cluster.put(target, values[:, k], now)

    return act


def _store(instruction: Instruction) -> Action:
    (kind,), space = operations.types(instruction), _space(instruction)
    address, sources = instruction.operands[0], _vector(instruction.operands[1])

    def act(cluster: Cluster, now: np.ndarray) -> None:
        values = np.stack([cluster.get(source, kind, now) for source in sources], axis=1)
        words = np.ascontiguousarray(values).view(np.uint32)
        addresses = cluster.address(address, now)
        for region, which, offsets in cluster.reach(space, addresses, now):
            region.store(offsets, words[which], cluster.clock[now[which]])
        cluster.count("st", space, addresses, values.shape[1] * values.itemsize, now)

    return act


def _branch(instruction: Instruction) -> Action:
    def act(cluster: Cluster, now: np.ndarray) -> None:
        cluster.at[now] = cluster.program.labels[instruction.operands[0]]

    return act


def _end(instruction: Instruction) -> Action:
    def act(cluster: Cluster, now: np.ndarray) -> None:
        cluster.does[now] = ENDED

    return act


def _trap(instruction: Instruction) -> Action:
    def act(cluster: Cluster, now: np.ndarray) -> None:
        raise Fault("the kernel ends itself.")

    return act


def _barrier(instruction: Instruction) -> Action:
    words = instruction.modifiers
    if words[:1] == ("sync",) and instruction.operands == ("0",):

        def sync(cluster: Cluster, now: np.ndarray) -> None:
            cluster.together(now)
            cluster.does[now] = SYNCS

        return sync
    if words[:2] == ("cluster", "arrive") and "relaxed" not in words:

        def arrive(cluster: Cluster, now: np.ndarray) -> None:
            if "aligned" in words:
                cluster.together(now)
            if (cluster.clock.arrivals[now] != cluster.clock.waits[now]).any():
                raise Fault("a thread must wait before it arrives again.")
            cluster.clock.arrivals[now] += 1

        return arrive
    if words[:2] == ("cluster", "wait"):

        def wait(cluster: Cluster, now: np.ndarray) -> None:
            if "aligned" in words:
                cluster.together(now)
            if (cluster.clock.arrivals[now] == cluster.clock.waits[now]).any():
                raise Fault("a thread must arrive before it waits.")
            cluster.does[now] = WAITS

        return wait
    raise PtxError(f"a barrier must be known, but got {instruction.text!r}.")


def _to_generic(instruction: Instruction) -> Action:
    """Of ``cvta``: from shared memory to all memory; for tensors nothing changes."""
    target, source = instruction.operands
    to_generic = "to" not in instruction.modifiers and "shared" in instruction.modifiers
    if not to_generic and "global" not in instruction.modifiers:
        raise PtxError(f"an address must be known, but got {instruction.text!r}.")

    def act(cluster: Cluster, now: np.ndarray) -> None:
        address = cluster.get(source, "s64", now)
        if to_generic:
            address = WINDOW + cluster.rank[now] * OF_BLOCK + address - SHARED_BASE
        cluster.put(target, address, now)

    return act


def _map(instruction: Instruction) -> Action:
    target, own, other = instruction.operands
    if instruction.modifiers != ("u64",):
        raise PtxError(f"a mapped address must be generic, but got {instruction.text!r}.")

    def act(cluster: Cluster, now: np.ndarray) -> None:
        address, rank = cluster.get(own, "s64", now), cluster.get(other, "s32", now)
        rank = rank.astype(np.int64)
        is_shared = (address >= WINDOW) & (address < WINDOW + cluster.num_blocks * OF_BLOCK)
        if not is_shared.all() or (rank < 0).any() or (rank >= cluster.num_blocks).any():
            raise Fault("mapa must get an address in shared memory and a block of the cluster.")
        cluster.put(target, WINDOW + rank * OF_BLOCK + (address - WINDOW) % OF_BLOCK, now)

    return act


def _multiply(instruction: Instruction) -> Action:
    if instruction.modifiers != MULTIPLIED:
        raise PtxError(f"a tensor core's product must be known, but got {instruction.text!r}.")
    targets, *parts = instruction.operands

    def act(cluster: Cluster, now: np.ndarray) -> None:
        cluster.together(now)
        if cluster.num_threads % WARP:
            raise Fault(f"warps must have {WARP} threads each.")

        def of_warps(part: tuple[str, ...], kind: str) -> np.ndarray:
            values = np.stack([cluster.get(name, kind, now) for name in part], axis=-1)
            return values.reshape(-1, WARP, len(part))

        a, b, sums = of_warps(parts[0], "u32"), of_warps(parts[1], "u32"), of_warps(parts[2], "f32")
        result = (
            (sums + operations.product_tf32(a, b))
            .astype(np.float32)
            .reshape(len(now), len(targets))
        )
        for k, target in enumerate(targets):
            cluster.put(target, result[:, k], now)

    return act


def _load_matrices(instruction: Instruction) -> Action:
    """Of ``ldmatrix``: lane 8 m + r has the address of row r of matrix m, which has 16 bytes."""
    if instruction.modifiers != MATRICES:
        raise PtxError(f"matrices must be of a known kind, but got {instruction.text!r}.")
    targets, address = instruction.operands

    def act(cluster: Cluster, now: np.ndarray) -> None:
        cluster.together(now)
        addresses = cluster.address(address, now)
        rows = np.empty((len(now), 4), np.uint32)
        for region, which, offsets in cluster.reach("shared", addresses, now):
            rows[which] = region.load(offsets, 4 * WORD, cluster.clock[now[which]])
        row, word = np.divmod(np.arange(WARP), 4)
        of_warps = rows.reshape(-1, WARP, 4)
        for matrix, target in enumerate(targets):
            cluster.put(target, of_warps[:, 8 * matrix + row, word].reshape(-1), now)

    return act


_SPECIAL: dict[str, Callable[[Instruction], Action]] = {
    "mov": _move,
    "ld": _load,
    "st": _store,
    "bra": _branch,
    "ret": _end,
    "exit": _end,
    "trap": _trap,
    "bar": _barrier,
    "barrier": _barrier,
    "cvta": _to_generic,
    "mapa": _map,
    "mma": _multiply,
    "ldmatrix": _load_matrices,
}
