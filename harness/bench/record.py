"""What a bench found: every repeat with all that it takes to read it, as one JSON file."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from harness.training.files import write_whole

VERSION = 2
"""The version of the JSON: a reader refuses another."""

Mode = Literal["train", "forward"]
MODES: tuple[Mode, ...] = ("train", "forward")
Kind = Literal["engine", "peer", "loop"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""An engine of ours, a class of torch.nn, and a cell's loop as it is published."""

ONE_HOT, PREBUILT, EMBEDDING = "one-hot", "prebuilt", "embedding"
"""torch.nn's input: one-hot rows made inside the clock, or before it, or ``nn.Embedding``."""
LOOP, COMPILED = "loop", "compiled loop"


class BenchError(ValueError):
    """A bench that cannot be run or read, a line for every problem."""


@dataclass(frozen=True)
class Shape:
    """The sizes of one bench: B streams, T time steps, H units, V tokens."""

    name: str
    batch_size: int
    bptt_length: int
    hidden_size: int
    num_tokens: int

    @property
    def tokens_per_update(self) -> int:
        """The tokens of one run's update."""
        return self.batch_size * self.bptt_length

    @property
    def sizes(self) -> str:
        """The sizes as ``--shape`` takes them."""
        return f"B{self.batch_size},T{self.bptt_length},H{self.hidden_size},V{self.num_tokens}"

    def __str__(self) -> str:
        sizes = f"B={self.batch_size} T={self.bptt_length} H={self.hidden_size} V={self.num_tokens}"
        return f"{self.name} ({sizes})"


@dataclass
class Series:
    """One subject in one mode.

    ``seconds`` are wall seconds per update of the whole pack, one for each round; ``flops`` are the
    forward FLOPs of a token's products, read-out included; ``cell_flops`` the cell's own;
    ``is_default`` says that training takes this engine for the cell where none is named. What a
    reader needs of the cell stands here too, since the file may outlive the cell. ``problem`` says
    why nothing was measured.
    """

    shape: str
    kind: Kind
    name: str
    cell: str
    cell_class: str
    num_gates: int
    is_default: bool
    pack: int
    mode: Mode
    flops: int
    cell_flops: int
    updates: int = 0
    seconds: list[float] = field(default_factory=list)
    busy: list[bool] = field(default_factory=list)
    problem: str | None = None


@dataclass
class Peak:
    """What the machine reaches: GFLOP/s in every round of a shape.

    Attributes:
        shape: Its name.
        form: What was done, and on how many threads.
        size: Of the square matrices; 0 where there are none.
        gflops: One figure a round.
    """

    shape: str
    form: str
    size: int
    gflops: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.form} of {self.size} x {self.size}" if self.size else self.form


@dataclass
class Bench:
    """Everything that one bench measured.

    ``made`` says where, when and of what it was made; ``notes`` what was left out and why.
    """

    made: dict[str, str]
    shapes: list[Shape] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    peaks: list[Peak] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Returns the bench as JSON; :meth:`from_json` is its inverse."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1)

    @staticmethod
    def from_json(text: str) -> "Bench":
        """Returns the bench.

        Raises:
            BenchError: The text is no bench, or one of another version.
        """
        try:
            values = json.loads(text)
            version = values.pop("version")
            if version != VERSION:
                raise BenchError(
                    f"bench: version must be {VERSION}, but got {version=}. Measure again."
                )
            shapes = [Shape(**each) for each in values.pop("shapes")]
            series = [Series(**each) for each in values.pop("series")]
            peaks = [Peak(**each) for each in values.pop("peaks")]
            bench = Bench(shapes=shapes, series=series, peaks=peaks, **values)
            if not all(bench.is_whole(shape) for shape in shapes):
                raise BenchError(
                    "bench: every series must have a repeat a round, but some have not. Measure"
                    " again."
                )
            return bench
        except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise BenchError(
                f"bench: must be what `harness bench --json` wrote, but got {error!r}."
            ) from error

    def is_whole(self, shape: Shape) -> bool:
        """Returns whether all that was measured at a shape has equally many rounds.

        They are fewer than were asked for where the bench was interrupted.
        """
        counts = {len(s.seconds) for s in self.series if s.shape == shape.name}
        counts |= {len(p.gflops) for p in self.peaks if p.shape == shape.name}
        return len(counts - {0}) <= 1 and max(counts, default=0) <= int(self.made["rounds"])

    def write(self, path: Path) -> None:
        """Writes the JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{self.to_json()}\n".encode())
