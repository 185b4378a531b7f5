"""How a layer is cut into blocks, and what each of them holds in its shared memory.

A cluster of C blocks does one run and :data:`ROWS` rows of its batch. Block j owns the units j * U
to (j + 1) * U of every gate, U = ceil(H / C), and the matrices' columns that make them. Nothing
here depends on the number of runs, so that a run of a pack is bit for bit that run alone.

A word is what products take at once of a matrix or an operand: a number, or of bfloat16 two that
follow one another in the sum.
"""

from dataclasses import dataclass, replace

ROWS = 8
"""Rows of the batch that a cluster does: what one tensor-core product takes."""
THREADS = 256
"""Of a block: with :data:`UNITS` units and :data:`ROWS` rows each has one (unit, row)."""
UNITS = 32
"""The most units that a block owns."""
MOST_BLOCKS = 16
"""Of a cluster on an H100."""
PORTABLE_BLOCKS = 8
"""So many any device with clusters runs; a kernel must ask for more."""
MOST_OTHERS = 32
"""The values of a (unit, row) beside which a thread's registers hold as many of matrices."""
MOST_SLICES = 8
"""The sums that a contraction is cut into, at most, so that all threads have work."""

SHARED_BYTES = {90: 232_448, 80: 166_912}
"""Architecture -> the shared memory of a block, which a kernel may ask for."""


def rounded_up(number: int, multiple: int) -> int:
    """Returns the least multiple that is not less."""
    return -(-number // multiple) * multiple


def left_width(depth: int) -> int:
    """Returns the words from one row of a product's operand to the next.

    It is 8 above a multiple of 16: so rows, of which a warp reads 4 at once, lie in other banks.
    """
    return rounded_up(rounded_up(depth, 8) + 8, 16) - 8


@dataclass(frozen=True)
class Worker:
    """What makes the outputs of a product: a thread, or a warp with a tensor core.

    Attributes:
        num_threads: 1 or 32.
        outputs: So many it makes at once.
        terms: So many words of each sum it takes at once.
        most_held: The words of matrices that a thread's registers hold at most.
    """

    num_threads: int
    outputs: int
    terms: int
    most_held: int

    @property
    def words(self) -> int:
        """The words of a matrix that a thread has of a step."""
        return self.outputs * self.terms // self.num_threads


THREAD = Worker(1, 4, 4, most_held=112)
WARP = Worker(32, 16, 8, most_held=128)
"""A thread has 32 sums and 32 factors besides, a lane of a warp 16 and 2."""
WARP_OF_PAIRS = Worker(32, 16, 8, most_held=144)
"""Its words have two numbers each; with 128 of them an LSTM of 768 units would not fit."""


@dataclass(frozen=True)
class Contraction:
    """The shape of a block's part of a product: (ROWS, depth) times (depth, outputs).

    Attributes:
        depth: The words that are summed over.
        outputs: The numbers of a row of the result.
        worker: What makes them.
        num_workers: Of the block.
        held: Of each part of a sum, so many of the worker's steps have their terms of the matrix
            in its registers.
    """

    depth: int
    outputs: int
    worker: Worker
    num_workers: int
    held: int = 0

    @property
    def width(self) -> int:
        """The words from one row of the matrix to the next, and the numbers of the result.

        It is 4 above a multiple of 16: so what a tensor core reads and writes at once lies in
        other banks.
        """
        return rounded_up(self.outputs, 16) + 4

    @property
    def left_width(self) -> int:
        """The words from one row of the operand to the next."""
        return left_width(self.depth)

    @property
    def num_slices(self) -> int:
        """The parts of the sum, each made by threads of its own."""
        groups = -(-self.outputs // self.worker.outputs)
        steps = -(-self.depth // self.worker.terms)
        return max(1, min(MOST_SLICES, self.num_workers // groups, steps))

    @property
    def slice_terms(self) -> int:
        """The words of a part of the sum; the last part may have fewer."""
        return rounded_up(-(-self.depth // self.num_slices), self.worker.terms)

    @property
    def held_terms(self) -> int:
        """Those of them that lie in registers."""
        return self.held * self.worker.terms

    @property
    def num_held(self) -> int:
        """The steps of a worker whose terms lie in its registers, in all parts that it makes."""
        groups = -(-self.outputs // self.worker.outputs)
        return self.held * -(-groups * self.num_slices // self.num_workers)

    def holding(self, words: int) -> "Contraction":
        """Returns itself with as much of the matrix in registers as so many of a thread hold."""
        of_a_step = self.worker.words * replace(self, held=1).num_held
        return replace(self, held=min(self.slice_terms // self.worker.terms, words // of_a_step))

    @property
    def matrix_words(self) -> int:
        """The words of the matrix in shared memory, its depth padded."""
        if not self.held:
            return rounded_up(self.depth, 8) * self.width
        return self.num_slices * (self.slice_terms - self.held_terms) * self.width

    @property
    def part_numbers(self) -> int:
        """The numbers of all parts of the result."""
        return self.num_slices * ROWS * self.width


@dataclass(frozen=True)
class Tiling:
    """The sizes that a kernel is compiled for.

    Attributes:
        hidden_size: H.
        num_blocks: C.
        num_threads: Of a block.
        num_held: Of the words of matrices, at most, in a thread's registers.
        exchanges: Whether blocks send one another numbers.
    """

    hidden_size: int
    num_blocks: int
    num_threads: int = THREADS
    num_held: int = WARP_OF_PAIRS.most_held
    exchanges: bool = True

    @property
    def is_cluster(self) -> bool:
        """Whether the blocks must be on the device together."""
        return self.exchanges and self.num_blocks > 1

    @property
    def num_units(self) -> int:
        """The units of a block, U; the last block may have fewer."""
        return -(-self.hidden_size // self.num_blocks)

    @property
    def terms_width(self) -> int:
        """The numbers from one row of a block's terms of a sum over units to the next."""
        return self.num_units + 1

    def contraction(self, depth: int, outputs: int, precision: str) -> Contraction:
        """Returns a block's part of a product: tensor cores take operands of tf32 and bf16.

        Args:
            depth: The numbers that are summed over.
            outputs: The numbers of a row of the result.
            precision: Of the operands.
        """
        worker, words = self.worker(precision), -(-depth // self.packed(precision))
        return Contraction(words, outputs, worker, self.num_threads // worker.num_threads)

    def worker(self, precision: str) -> Worker:
        """Returns what makes the outputs of products."""
        if not self.uses_tensor_cores(precision):
            return THREAD
        return WARP_OF_PAIRS if self.packed(precision) == 2 else WARP

    def uses_tensor_cores(self, precision: str) -> bool:
        """Returns whether products are a warp's work, which needs whole warps."""
        return precision in ("tf32", "bf16") and self.num_threads % WARP.num_threads == 0

    def packed(self, precision: str) -> int:
        """Returns the numbers of a word."""
        return 2 if precision == "bf16" and self.uses_tensor_cores(precision) else 1

    @property
    def num_elements(self) -> int:
        """The (unit, row) of a thread, at most."""
        return -(-self.num_units * ROWS // self.num_threads)


def tilings(hidden_size: int, architecture: int = 90, exchanges: bool = True) -> list[Tiling]:
    """Returns how a layer may be cut, the fewest blocks first that own :data:`UNITS` units or less.

    Blocks reach one another's memory from sm_90 on; before, one block owns all units. Where blocks
    exchange nothing, there may be any number of them.
    """
    if not exchanges:
        return [Tiling(hidden_size, -(-hidden_size // UNITS), exchanges=False)]
    if architecture < 90:
        return [Tiling(hidden_size, 1)]
    numbers = [2**k for k in range(MOST_BLOCKS.bit_length())]
    enough = [number for number in numbers if number * UNITS >= hidden_size]
    return [Tiling(hidden_size, number) for number in enough or [MOST_BLOCKS]]
