"""What is timed: every engine on every cell in every pack, torch.nn, and the published loop."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cells
from cells.base import Cell
from harness import engine, randomness
from harness.bench import published
from harness.bench.classes import cell_class
from harness.bench.judge import LEAST_TOKENS_OF_WORDS
from harness.bench.options import Options, Place
from harness.bench.record import (
    COMPILED,
    EMBEDDING,
    LOOP,
    ONE_HOT,
    PREBUILT,
    Kind,
    Mode,
    Series,
    Shape,
)
from harness.model.architecture import single_layer
from harness.settings import Budget, Settings
from harness.training.pack import Pack
from harness.training.plan import Plan, Run

UPDATES_PER_EPOCH = 8
"""As in the sources: after so many minibatches the state begins at its start again."""
LEARNING_RATE, CLIP_NORM = 0.1, 1.0
FIRST_CHARACTER = 0x10000
"""The first character of the random text: its plane has no line ends and no surrogates."""
PEERS = ("lstm", "gru", "rnn-tanh")
"""The cells whose classes of torch.nn are the yardsticks."""
MOST_ONE_HOT_BYTES = 2**30
"""One-hot rows that need more at once are left out, lest all else find no memory."""


class Subject(Protocol):
    """Something that can be timed: when a call returns, the device has done the work."""

    @property
    def notes(self) -> Sequence[str]:
        """What makes it slower than it could be."""
        ...

    def train(self, count: int) -> None:
        """Trains every run of the pack ``count`` updates."""
        ...

    def forward(self, count: int) -> None:
        """Runs every run of the pack forward ``count`` times, its loss included."""
        ...

    def close(self) -> None:
        """Ends its threads."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A subject before it is created."""

    kind: Kind
    name: str
    """The engine, the class of torch.nn with its form of input, or the form of the loop."""
    cell: type[Cell]
    pack: int
    make: Callable[[], Subject]
    is_default: bool = False
    """Whether training takes this engine for the cell where none is named."""
    is_embedded: bool = False
    """Whether an embedding of H columns lies before a cell that needs none."""

    def series(self, shape: Shape, mode: Mode) -> Series:
        """Returns the candidate's series, without a measurement."""
        arch = single_layer(self.cell, shape.num_tokens, shape.hidden_size)
        if self.is_embedded:
            arch = replace(arch, embedding_size=shape.hidden_size)
        return Series(
            shape=shape.name,
            kind=self.kind,
            name=self.name,
            cell=self.cell.name,
            cell_class=cell_class(self.cell),
            num_gates=len(self.cell.gates),
            is_default=self.is_default,
            pack=self.pack,
            mode=mode,
            flops=arch.flops_per_token(),
            cell_flops=self.cell.flops_per_token(arch.embedding_size, shape.hidden_size),
        )


class Trained:
    """Runs exactly as ``harness run`` trains them."""

    def __init__(self, plan: Plan):
        self.pack = Pack(plan)

    @property
    def notes(self) -> Sequence[str]:
        """See :class:`Subject`; there may be more after an update than before."""
        return self.pack.notes

    def train(self, count: int) -> None:
        """See :class:`Subject`."""
        self.pack.train_updates(count)

    def forward(self, count: int) -> None:
        """See :class:`Subject`."""
        self.pack.forward_updates(count)

    def close(self) -> None:
        """See :class:`Subject`."""
        self.pack.close()


def write_text(shape: Shape, folder: Path) -> Path:
    """Writes V different characters in random order, each about as often, and returns the path.

    They are enough for an epoch at every offset.
    """
    length = max(shape.tokens_per_update * UPDATES_PER_EPOCH + shape.bptt_length, shape.num_tokens)
    numbers = randomness.permutation("bench", "text", count=length) % shape.num_tokens
    path = folder / f"{shape.name}.txt"
    path.write_text("".join(chr(FIRST_CHARACTER + number) for number in numbers), encoding="utf-8")
    return path


def settings_of(shape: Shape, place: Place, text: Path) -> Settings:
    """Returns the settings of every run of a shape.

    The cell and the engine are replaced by those of each candidate.
    """
    return Settings(
        cell=PEERS[0],
        corpus="text",
        path=str(text),
        split="none",
        batch_size=shape.batch_size,
        bptt_length=shape.bptt_length,
        hidden_size=shape.hidden_size,
        learning_rate=LEARNING_RATE,
        clip_norm=CLIP_NORM,
        budget=Budget(updates=100 * UPDATES_PER_EPOCH),
        device=place.device,  # type: ignore[arg-type]
        precision=place.precision,  # type: ignore[arg-type]
        threads=place.threads,
    )


def candidates(
    shape: Shape, settings: Settings, options: Options
) -> tuple[list[Candidate], list[str]]:
    """Returns all that is timed at one shape, and a line for each thing that is left out.

    The candidates are in the order of a round.
    """
    timed, notes = _peers(shape, settings, options) if "peer" in options.kinds else ([], [])
    for cell in map(cells.find, options.cells):
        if "engine" in options.kinds:
            names, refusals = engines(cell, options)
            notes += refusals
            timed += [
                trained(settings, cell, name, pack, options)
                for name in names
                for pack in options.packs
            ]
        if "loop" in options.kinds:
            timed += [published_loop(settings, cell, name) for name in loop_forms(options)]
    return timed, notes


def _peers(shape: Shape, settings: Settings, options: Options) -> tuple[list[Candidate], list[str]]:
    """Returns torch.nn in every form and pack, and a line for each form that does not fit."""
    timed, notes = [], []
    names = _quick_peers(options) if options.quick else PEERS
    for pack in options.packs:
        for name in names:
            for form in input_forms(shape):
                candidate = torch_nn(settings, cells.find(name), form, pack)
                refusal = one_hot_refusal(shape, form, pack, settings.precision)
                if refusal is None:
                    timed.append(candidate)
                else:
                    notes.append(f"{candidate.name}, pack {pack}: not timed, {refusal}")
    return timed, notes


def _quick_peers(options: Options) -> list[str]:
    """Returns nn.LSTM, which all are compared with, and the classes that a cell must equal."""
    measured = {(cells.find(name).reference or ("LSTM",))[0] for name in options.cells}
    return [name for name in PEERS if name == PEERS[0] or _class_of(name) in measured]


def _class_of(name: str) -> str:
    reference = cells.find(name).reference
    assert reference is not None
    return reference[0]


def input_forms(shape: Shape) -> tuple[str, ...]:
    """Returns the forms of torch.nn's input, the one first that its users would take."""
    if shape.num_tokens >= LEAST_TOKENS_OF_WORDS:
        return (EMBEDDING, ONE_HOT, PREBUILT)
    return (ONE_HOT, PREBUILT)


def one_hot_refusal(shape: Shape, form: str, pack: int, precision: str) -> str | None:
    """Returns why one-hot rows do not fit at this vocabulary, or None where they do."""
    if form == EMBEDDING:
        return None
    entry_bytes = 8 if precision == "float64" else 4
    num_batches = UPDATES_PER_EPOCH * pack
    if form == ONE_HOT:  # made as int64 first, and of one minibatch at a time
        entry_bytes, num_batches = entry_bytes + 8, 1
    needed = entry_bytes * num_batches * shape.tokens_per_update * shape.num_tokens
    if needed <= MOST_ONE_HOT_BYTES:
        return None
    return f"its one-hot rows take {needed / 2**30:.1f} GiB at once"


def engines(cell: type[Cell], options: Options) -> tuple[list[str], list[str]]:
    """Returns the engines that run the cell, and why named ones do not."""
    refusals = {e.name: e.refusal(cell, options.device, options.precision) for e in engine.ENGINES}
    willing = [name for name, refusal in refusals.items() if refusal is None]
    if options.engines:
        notes = [
            f"engine {n}: not timed, {refusals[n]}" for n in options.engines if n not in willing
        ]
        return [name for name in options.engines if name in willing], notes
    if options.quick:
        # torch.nn is measured beside it anyway.
        willing = [next(name for name in willing if name != "native")]
    return willing, []


def loop_forms(options: Options) -> list[str]:
    """Returns the forms of the published loop that are asked for."""
    return [LOOP, COMPILED] if options.compile else [LOOP]


def trained(settings: Settings, cell: type[Cell], name: str, pack: int, place: Place) -> Candidate:
    """Returns a pack of the cell as the engine trains it."""
    default, _ = engine.resolve([cell], place.device, place.precision)
    by_engine = replace(of_cell(settings, cell), engine=name)  # type: ignore[arg-type]
    runs = tuple(Run(f"run{index}", (index,), by_engine) for index in range(pack))
    plan = Plan(runs, objective="train/perplexity", cell_files=place.cell_files)
    return Candidate("engine", name, cell, pack, lambda: Trained(plan), is_default=name == default)


def torch_nn(settings: Settings, cell: type[Cell], form: str, pack: int) -> Candidate:
    """Returns a pack of the class of torch.nn that the cell must equal."""
    assert cell.reference is not None
    make = functools.partial(published.torch_nn, replace(settings, cell=cell.name), pack, form)
    name = f"nn.{cell.reference[0]} {form}"
    return Candidate("peer", name, cell, pack, make, is_embedded=form == EMBEDDING)


def published_loop(settings: Settings, cell: type[Cell], form: str) -> Candidate:
    """Returns one run of the cell's published loop."""
    make = functools.partial(published.loop, of_cell(settings, cell), form)
    return Candidate("loop", form, cell, 1, make)


def of_cell(settings: Settings, cell: type[Cell]) -> Settings:
    """Returns the settings with this cell, and an embedding where its step reads the input."""
    embedding_size = settings.hidden_size if cell.reads_input else None
    return replace(settings, cell=cell.name, embedding_size=embedding_size)
