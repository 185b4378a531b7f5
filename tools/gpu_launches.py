"""What one training update launches on a GPU, counted without one.

The update is that of a run on CUDA, on tensors without numbers (torch's device ``meta``) which say
that they are CUDA's. Each of torch's operations counts as one launch, though a few are several
kernels; so does each kernel of an engine, and the optimizer's step. Views and new memory are none.
Nothing is computed or timed.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import cells
from harness import provenance
from harness.bench.options import Place
from harness.bench.record import Shape
from harness.bench.subjects import settings_of, write_text
from harness.bench.wanted import BASE, WORDS
from harness.engine import Engine, Layer, rounding
from harness.engine.gpu import gpu
from harness.engine.gpu.launches import Buffers, Call, Layout, Piece
from harness.engine.persistent import device as on_device
from harness.engine.persistent.arguments import Kernels
from harness.engine.persistent.coverage import capacity, fitted
from harness.engine.persistent.persistent import Persistent
from harness.engine.persistent.source import plan_of
from harness.model import readout
from harness.model.architecture import architecture
from harness.model.network import Model
from harness.settings import Settings
from harness.tasks.generation import Stream
from harness.tasks.language_modelling import LanguageModelling
from harness.training.optimizer import Optimizer
from harness.training.plan import Run
from harness.training.shard import Shard

STAND_IN = torch.device("meta")
CELLS = (
    *("lstm", "gru", "rnn-tanh", "gru-reset-before", "lstm-layer-norm", "nas", "lstm-mogrifier"),
    "indrnn",
)
ROWS = (
    *((name, BASE, "float32") for name in CELLS),
    ("lstm", BASE, "bf16"),
    ("lstm", WORDS, "float32"),
)
"""What is counted."""
IN_LOOPS = ("bmm.out", "bmm.dtype_out")
"""Products within a time loop write where others read them."""
NO_LAUNCH = ("empty", "_unsafe_view")
"""In the names of operations that are no views and launch nothing all the same."""


@dataclass(frozen=True)
class Launches:
    """What an update launches.

    Attributes:
        cell: Its name.
        shape: As the bench names it.
        precision: Of products.
        engine: Its name.
        products: Of the time loops of both directions.
        kernels: Of the time loops besides: pointwise pieces, or the loops themselves.
        others: By the operation's name; the optimizer's step is among them.
    """

    cell: str
    shape: str
    precision: str
    engine: str
    products: int
    kernels: int
    others: dict[str, int]

    @property
    def total(self) -> int:
        """All launches."""
        return self.products + self.kernels + sum(self.others.values())


class Counting(TorchDispatchMode):
    """Counts the operations that launch something.

    Raises:
        RuntimeError: An operation reads memory of the CPU, or a value: no record of an update can.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, given: Any = (), named: dict[str, Any] | None = None
    ) -> Any:
        tensors = [leaf for leaf in tree_leaves((given, named)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.device != STAND_IN for tensor in tensors):
            raise RuntimeError(f"{function} reads memory of the CPU")
        if not (function.is_view or any(name in function.__name__ for name in NO_LAUNCH)):
            self.counts[str(function).removeprefix("aten.")] += 1
        return function(*given, **(named or {}))


@contextlib.contextmanager
def as_cuda(counts: Counter[str]) -> Iterator[None]:
    """Lets the stand-in's tensors be taken for CUDA's, and counts the kernels that are ours."""

    def pieces_for(plan: Layout, buffers: Buffers, like: torch.Tensor) -> Any:
        def bind(piece: Piece) -> Call:
            def call(times: range) -> None:
                counts["kernels"] += 1 if piece.is_alone else len(times)

            return call

        return bind

    def kernels(plan: Layout, precision: str, device: int) -> Kernels:
        def loop(call: Any) -> None:
            counts["kernels"] += 1

        return Kernels(fitted(plan, precision, 90), loop, loop)

    def step(*given: object) -> None:
        counts["the optimizer's step"] += 1

    chunk_bytes = {STAND_IN.type: readout.CHUNK_BYTES["cuda"]}
    with contextlib.ExitStack() as changes:
        for change in (
            mock.patch.object(torch.Tensor, "is_cuda", property(lambda tensor: tensor.is_meta)),
            mock.patch.object(rounding, "_multiplies_bf16", lambda: True),
            mock.patch.object(gpu, "pieces_for", pieces_for),
            mock.patch.object(on_device, "kernels", kernels),
            mock.patch.object(Optimizer, "_step_in_one_kernel", step),
            mock.patch.object(Shard, "_optimizer_backend", lambda shard: "triton"),
            mock.patch.dict(readout.CHUNK_BYTES, chunk_bytes),
        ):
            changes.enter_context(change)
        yield


def counted(settings: Settings, which: Engine) -> Counter[str]:
    """Returns what an update of one run launches, by operation; those of an engine are ``kernels``.

    Raises:
        RuntimeError: The update reads memory of the CPU, or a value.
    """
    counting = Counting()
    with one_run(settings, which) as (shard, ours):
        step = shard._step

        def recorded(*inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            with counting:
                return step(*inputs)

        with mock.patch.object(shard, "_step", recorded):
            shard.advance(2)
    return counting.counts + ours


@contextlib.contextmanager
def one_run(settings: Settings, which: Engine) -> Iterator[tuple[Shard, Counter[str]]]:
    """Gives a run on the stand-in, and what counts its kernels.

    It has made an update, which has traced the cell.
    """
    ours: Counter[str] = Counter()
    with as_cuda(ours):
        task = LanguageModelling(settings, STAND_IN)
        model = Model(architecture(settings, task.num_inputs, task.num_outputs), which)
        shard = Shard([Run("run", (0,), settings)], task, model, 100, STAND_IN)
        shard.advance(1)
        ours.clear()
        yield shard, ours


@torch.no_grad()
def counted_batch(settings: Settings, which: Engine) -> Counter[str]:
    """Returns what a batch of one run's evaluation launches; see :func:`counted`."""
    counting = Counting()
    with one_run(settings, which) as (shard, ours):
        batch = next(iter(shard.task.evaluation("train", 1)))
        states = shard._first_states(shard.evaluated, batch.inputs.shape[2])
        with counting:
            shard._scored(shard._flat_evaluated, batch, states)
    return counting.counts + ours


@torch.no_grad()
def counted_token(settings: Settings, which: Engine) -> Counter[str]:
    """Returns what the scores after one token of a sample launch; see :func:`counted`."""
    counting = Counting()
    with one_run(settings, which) as (shard, ours):
        stream = Stream(shard.model, shard.evaluated, shard._masks)
        with counting:
            stream.scores([0])
    return counting.counts + ours


def fits(cell: str, shape: Shape, precision: str, which: Engine) -> bool:
    """Returns whether an engine runs a cell at a shape on a device of sm_90."""
    layer = Layer(cells.find(cell), shape.hidden_size, 1, precision)
    return which.name != "persistent" or (
        capacity(fitted(plan_of(layer), precision, 90), 90) is None
    )


def place(precision: str) -> Place:
    """Returns where runs of a precision would be trained; their tensors lie on the stand-in."""
    return Place(device="cpu", precision=precision, threads=1, cell_files=())


def launches(cell: str, shape: Shape, precision: str, which: Engine) -> Launches:
    """Returns what an update of a cell launches, which trains as in the bench."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(shape, place(precision), write_text(shape, Path(folder)))
        if cells.find(cell).reads_input:  # as the bench lets it train
            settings = replace(settings, embedding_size=settings.hidden_size)
        counts = counted(replace(settings, cell=cell), which)
    kernels = counts.pop("kernels")
    products = sum(counts.pop(name) for name in sorted(counts) if name in IN_LOOPS)
    others = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return Launches(cell, shape.name, precision, which.name, products, kernels, others)


def as_row(of: Launches) -> dict[str, Any]:
    """Returns it as JSON has it."""
    return asdict(of) | {"all": of.total}


def table(rows: Sequence[Launches]) -> str:
    """Returns a table in Markdown, a row of which is an update."""
    head = ("cell", "shape", "precision", "engine", "products", "kernels", "others", "all")
    lines = [head, ("---",) * len(head)]
    for row in rows:
        others = sum(row.others.values())
        numbers = map(str, (row.products, row.kernels, others, row.total))
        lines.append((row.cell, row.shape, row.precision, row.engine, *numbers))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(words: Sequence[str]) -> int:
    """Counts, prints the table and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--json", type=Path, help="file for the counts by operation")
    options = parser.parse_args(words)
    engines = (gpu.Gpu(), Persistent())
    rows = [launches(*row, which) for row in ROWS for which in engines if fits(*row, which)]
    print(table(rows))
    if options.json is not None:
        facts = provenance.describe("cpu")
        written = {"facts": facts, "updates": [as_row(row) for row in rows]}
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
