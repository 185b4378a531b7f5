"""What instructions do to the threads of a cluster: to registers, to memory, to their way."""

from collections.abc import Callable

import numpy as np

from ptx import operations
from ptx.cluster import ENDED, OF_BLOCK, SHARED_BASE, SYNCS, WAITS, WARP, WINDOW, Action, Cluster
from ptx.memory import WORD, Fault
from ptx.operations import TYPES
from ptx.program import Instruction, PtxError

MULTIPLIED = {
    ("sync", "aligned", shape, "row", "col", "f32", kind, kind, "f32"): numbers
    for shape, kind, numbers in (
        ("m16n8k8", "tf32", operations.of_tf32),
        ("m16n8k16", "bf16", operations.of_bfloat16),
    )
}
"""What tensor cores multiply here, and how a word becomes numbers."""
MATRICES = ("sync", "aligned", "m8n8", "x4", "shared", "b16")
TRANSPOSED = ("sync", "aligned", "m8n8", "x4", "trans", "shared", "b16")
"""What they load."""


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
            loaded = cluster.parameters[places]
        else:
            loaded = np.empty((len(now), size * len(targets)), np.uint8)
            for region, which, offsets in cluster.reach(space, addresses, now):
                times = cluster.clock[now[which]]
                loaded[which] = region.load(offsets, size * len(targets), times)
            cluster.count("ld", space, addresses, size * len(targets), now)
        values = np.ascontiguousarray(loaded).view(TYPES[kind])
        for k, target in enumerate(targets):
            cluster.put(target, values[:, k], now)

    return act


def _store(instruction: Instruction) -> Action:
    (kind,), space = operations.types(instruction), _space(instruction)
    address, sources = instruction.operands[0], _vector(instruction.operands[1])

    def act(cluster: Cluster, now: np.ndarray) -> None:
        values = np.stack([cluster.get(source, kind, now) for source in sources], axis=1)
        stored = np.ascontiguousarray(values).view(np.uint8)
        addresses = cluster.address(address, now)
        for region, which, offsets in cluster.reach(space, addresses, now):
            region.store(offsets, stored[which], cluster.clock[now[which]])
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
    if instruction.modifiers not in MULTIPLIED:
        raise PtxError(f"a tensor core's product must be known, but got {instruction.text!r}.")
    numbers = MULTIPLIED[instruction.modifiers]
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
            (sums + operations.product(a, b, numbers))
            .astype(np.float32)
            .reshape(len(now), len(targets))
        )
        for k, target in enumerate(targets):
            cluster.put(target, result[:, k], now)

    return act


def _load_matrices(instruction: Instruction) -> Action:
    """Of ``ldmatrix``: lane 8 m + r has the address of row r of matrix m, which has 16 bytes.

    Each lane gets a word of each matrix, whose numbers have 2 bytes, or of the matrix transposed.
    """
    if instruction.modifiers not in (MATRICES, TRANSPOSED):
        raise PtxError(f"matrices must be of a known kind, but got {instruction.text!r}.")
    targets, address = instruction.operands

    def act(cluster: Cluster, now: np.ndarray) -> None:
        cluster.together(now)
        addresses = cluster.address(address, now)
        rows = np.empty((len(now), 4 * WORD), np.uint8)
        for region, which, offsets in cluster.reach("shared", addresses, now):
            rows[which] = region.load(offsets, 4 * WORD, cluster.clock[now[which]])
        matrices = rows.view(np.uint16).reshape(-1, 4, 8, 8)
        if instruction.modifiers == TRANSPOSED:
            matrices = matrices.swapaxes(2, 3)
        words = np.ascontiguousarray(matrices).view(np.uint32)
        row, word = np.divmod(np.arange(WARP), 4)
        for matrix, target in enumerate(targets):
            cluster.put(target, words[:, matrix, row, word].reshape(-1), now)

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
