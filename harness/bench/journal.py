"""What a bench with a budget found: a file of JSON lines, each there as soon as it is known.

The first line is the machine, and it tells such a file from one of whole rounds. Whatever ends the
process, the lines before it are whole.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO

from harness.bench.judge import Estimate, estimate
from harness.bench.record import BenchError, Kind, Mode

VERSION = 1
"""The version of the lines: a reader refuses another."""
DEFAULT_CELL = "lstm"
"""The cell whose class of torch.nn a cell without one of its own stands beside."""


@dataclass(frozen=True)
class Label:
    """What a line is about.

    ``name`` is the engine, the class of torch.nn with its form of input, or the form of the loop;
    ``shape`` its sizes.
    """

    kind: Kind
    name: str
    cell: str
    shape: str
    precision: str
    pack: int

    @property
    def subject(self) -> str:
        """What is measured: torch.nn's class, or a cell by an engine or by its loop."""
        return self.name if self.kind == "peer" else f"{self.cell} {self.name}"

    def __str__(self) -> str:
        return f"{self.subject}, pack {self.pack}, {self.shape}, {self.precision}"


@dataclass(frozen=True)
class Figure:
    """Wall seconds of an update of the whole pack in each repeat.

    ``disturbed`` counts the repeats during which other processes kept the processor busy; ``notes``
    say what makes the subject slower than it could be.
    """

    label: Label
    mode: Mode
    seconds: tuple[float, ...]
    disturbed: int = 0
    notes: tuple[str, ...] = ()

    def run_seconds(self) -> Estimate:
        """Returns the seconds of one run's update: the pack's over its runs."""
        return estimate(self.seconds).times(1.0 / self.label.pack)

    def speed_over(self, other: "Figure") -> Estimate:
        """Returns run-updates a second over the other's.

        The repeats of the two are not paired: its ends are the lowest and the highest quotient of
        the ends of both intervals.
        """
        ours, theirs = self.run_seconds(), other.run_seconds()
        low = high = None
        if None not in (ours.low, ours.high, theirs.low, theirs.high):
            low, high = theirs.low / ours.high, theirs.high / ours.low  # type: ignore[operator]
        return Estimate(theirs.median / ours.median, low, high)


@dataclass(frozen=True)
class Kernels:
    """What the device does in a training update: kernels and copies, by torch.profiler.

    ``slowest`` holds name, launches an update and microseconds an update.
    """

    label: Label
    launches: float
    microseconds: float
    slowest: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class LeftOut:
    """A subject that was not measured, and why."""

    label: Label
    reason: str


@dataclass(frozen=True)
class Failed:
    """A subject that raised."""

    label: Label
    reason: str


Line = Figure | Kernels | LeftOut | Failed
LINES: dict[str, type[Line]] = {
    "figure": Figure,
    "kernels": Kernels,
    "left out": LeftOut,
    "failed": Failed,
}
DERIVED = ("median", "low", "high", "ratios")
"""What a figure's line holds for whoever reads it without this project; it follows from others."""


@dataclass
class Journal:
    """A bench with a budget: the machine, and the lines so far.

    ``seconds`` is what all of it took; None where it did not come to its end.
    """

    made: dict[str, str]
    lines: list[Line] = field(default_factory=list)
    seconds: float | None = None

    def figures(self) -> list[Figure]:
        """Returns what was measured."""
        return [line for line in self.lines if isinstance(line, Figure)]

    def peers(self, figure: Figure) -> list[Figure]:
        """Returns the forms of torch.nn that a figure stands beside, that of users first.

        They are of the cell's own class, or of nn.LSTM where none of that was measured.
        """
        label = figure.label
        beside = [
            other
            for other in self.figures()
            if other.label.kind == "peer"
            and (other.label.shape, other.label.precision) == (label.shape, label.precision)
            and other.mode == figure.mode
        ]
        own = [other for other in beside if other.label.cell == label.cell]
        return own or [other for other in beside if other.label.cell == DEFAULT_CELL]

    def values(self, line: Line) -> dict[str, Any]:
        """Returns a line as JSON has it, with what follows from it and from earlier lines."""
        name = next(name for name, of in LINES.items() if isinstance(line, of))
        rest = {key: value for key, value in asdict(line).items() if key != "label"}
        values = {"line": name, **asdict(line.label), **rest}
        if isinstance(line, Figure):
            values |= asdict(estimate(line.seconds))
            peers = [peer for peer in self.peers(line) if peer.label != line.label]
            values["ratios"] = {p.label.name: asdict(line.speed_over(p)) for p in peers}
        return values


class Recorder:
    """Keeps a journal, and writes each line as it comes."""

    def __init__(self, path: Path | None, made: dict[str, str]):
        self.journal = Journal(made)
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")
        self._write({"line": "machine", "version": VERSION, **made})

    def add(self, line: Line) -> None:
        """Adds a line."""
        self._write(self.journal.values(line))
        self.journal.lines.append(line)

    def end(self, seconds: float) -> None:
        """Adds the last line, without which a file was not finished."""
        self._write({"line": "end", "seconds": seconds})
        self.journal.seconds = seconds

    def _write(self, values: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


def is_journal(text: str) -> bool:
    """Returns whether a file's text is one of lines, by its first."""
    try:
        first = json.loads(text.partition("\n")[0])
    except json.JSONDecodeError:
        return False
    return isinstance(first, dict) and first.get("line") == "machine"


def from_text(text: str) -> Journal:
    """Returns the journal of a file's text; a last line that was not finished is passed over.

    Raises:
        BenchError: The text is no journal, or one of another version.
    """
    lines = text.split("\n")[:-1]
    made = json.loads(text.partition("\n")[0])
    made.pop("line")
    version = made.pop("version", None)
    if version != VERSION:
        raise BenchError(f"bench: version must be {VERSION}, but got {version=}. Measure again.")
    journal = Journal(made)
    for number, line in enumerate(lines[1:], start=2):
        try:
            _read(journal, json.loads(line))
        except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise BenchError(
                f"bench: line {number} must be what `harness bench --budget` wrote, but got"
                f" {error!r}. Remove the line, or measure again."
            ) from error
    return journal


def _read(journal: Journal, values: dict[str, Any]) -> None:
    name = values.pop("line")
    if name == "end":
        journal.seconds = values["seconds"]
        return
    label = Label(**{part.name: values.pop(part.name) for part in fields(Label)})
    rest = {key: _frozen(value) for key, value in values.items() if key not in DERIVED}
    journal.lines.append(LINES[name](label, **rest))


def _frozen(value: Any) -> Any:
    """Returns JSON's lists as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
