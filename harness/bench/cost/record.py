"""What is found: every repeat of every quantity, as a table and a JSON file need it."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from harness.training.files import write_whole

VERSION = 1
"""The version of the JSON."""

Quantity = Literal["update", "forward", "token", "large"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
"""An update, a forward pass with its loss, a token of one stream, a pass of the large batch."""


@dataclass
class Repeats:
    """One quantity of a cell at a size.

    Attributes:
        count: How often it is done in a repeat.
        seconds: Of it once, a repeat each.
        busy: Whether other processes disturbed the repeat.
    """

    count: int = 0
    seconds: list[float] = field(default_factory=list)
    busy: list[bool] = field(default_factory=list)

    @property
    def median(self) -> float | None:
        """The median of ``seconds``; None: there is none."""
        return statistics.median(self.seconds) if self.seconds else None


@dataclass
class Roof:
    """What so many threads reach together, a figure a round."""

    threads: int
    how: str
    gflops: list[float] = field(default_factory=list)
    memory_gigabytes: list[float] = field(default_factory=list)
    cache_gigabytes: list[float] = field(default_factory=list)

    @property
    def peak(self) -> float:
        """The most GFLOP/s: what disturbs can only lower them."""
        return max(self.gflops)

    @property
    def memory(self) -> float:
        """The most gigabytes a second from memory."""
        return max(self.memory_gigabytes)

    @property
    def cache(self) -> float:
        """The most gigabytes a second from the cores' own caches."""
        return max(self.cache_gigabytes)


@dataclass
class CellCost:
    """What a cell costs at a hidden size.

    Attributes:
        engine: Which trains it.
        num_parameters: Of one run.
        flops_per_token: Of a forward pass, in closed form.
        training_flops_per_token: Of an update.
        counted_flops_per_token: Of a forward pass, as torch counts them.
        counted_training_flops_per_token: Of an update, likewise.
        token_bytes: Moved by a token of one stream, in closed form.
        forward_bytes: Moved by a token of a forward pass of the batch.
        training_bytes: Moved by a token of an update.
        large_bytes: Moved by a token of a pass of the large batch.
        times: What was measured.
        reading_seconds: One thread's, to read what a token reads of the parameters, a round each.
        memory_bytes: What training added to the process at its most; None: not reported.
        energy_joules: Of an update; None: not reported.
        problem: Why nothing was measured; None: it was.
    """

    cell: str
    hidden_size: int
    engine: str
    num_parameters: int
    flops_per_token: int
    training_flops_per_token: int
    counted_flops_per_token: float
    counted_training_flops_per_token: float
    token_bytes: float
    forward_bytes: float
    training_bytes: float
    large_bytes: float
    times: dict[Quantity, Repeats] = field(
        default_factory=lambda: {quantity: Repeats() for quantity in QUANTITIES}
    )
    reading_seconds: list[float] = field(default_factory=list)
    memory_bytes: int | None = None
    energy_joules: float | None = None
    problem: str | None = None

    def seconds(self, quantity: Quantity) -> float | None:
        """Returns the median of a quantity; None: it was not measured."""
        return self.times[quantity].median


@dataclass
class Costs:
    """All that one command found.

    Attributes:
        made: Where, when and of what.
        batch_size: B of updates and passes.
        bptt_length: T.
        num_tokens: V.
        large_batch: B of the large batch.
        cells: A cell at a size each, in the order of the command.
        roofs: The machine's, by threads.
        memory: How the peak memory was taken, or why it is not reported.
        energy: How the energy was taken, or why it is not reported.
        notes: What else there is to say.
    """

    made: dict[str, str]
    batch_size: int
    bptt_length: int
    num_tokens: int
    large_batch: int
    cells: list[CellCost] = field(default_factory=list)
    roofs: list[Roof] = field(default_factory=list)
    memory: str = ""
    energy: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def disturbed(self) -> tuple[int, int]:
        """How many repeats other processes disturbed, and of how many."""
        flags = [busy for cell in self.cells for each in cell.times.values() for busy in each.busy]
        return sum(flags), len(flags)

    def tokens_per_second(self, cell: CellCost) -> float | None:
        """Returns the tokens that pass in a second in the large batch; None: not measured."""
        seconds = cell.seconds("large")
        return None if seconds is None else self.large_batch * self.bptt_length / seconds

    def gflops(self, cell: CellCost, quantity: Quantity) -> float | None:
        """Returns the GFLOP/s that a quantity reaches; None: it was not measured."""
        seconds = cell.seconds(quantity)
        if seconds is None:
            return None
        streams = {"token": 1, "large": self.large_batch}.get(quantity, self.batch_size)
        steps = 1 if quantity == "token" else self.bptt_length
        flops = cell.training_flops_per_token if quantity == "update" else cell.flops_per_token
        return streams * steps * flops / seconds / 1e9

    def share_of_peak(self, cell: CellCost) -> float | None:
        """Returns the GFLOP/s of an update over the peak of all threads; None: not measured."""
        reached = self.gflops(cell, "update")
        return None if reached is None else reached / self.roofs[-1].peak

    def to_json(self) -> str:
        """Returns everything as JSON; medians and rates stand beside the repeats."""
        values: dict[str, Any] = {"version": VERSION, **asdict(self)}
        for cell, found in zip(self.cells, values["cells"], strict=True):
            for quantity in QUANTITIES:
                found["times"][quantity]["median_seconds"] = cell.seconds(quantity)
                found["times"][quantity]["gflops"] = self.gflops(cell, quantity)
            found["large_batch_tokens_per_second"] = self.tokens_per_second(cell)
            found["share_of_peak"] = self.share_of_peak(cell)
        return json.dumps(values, indent=1)

    def write(self, path: Path) -> None:
        """Writes the JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{self.to_json()}\n".encode())
