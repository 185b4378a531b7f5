"""What training on a GPU keeps of its memory, counted without one.

As in :mod:`gpu_launches` the tensors have no numbers and say that they are CUDA's. Counted is what
is alive at once, in blocks of 512 bytes as torch's allocator gives them: a shard's own, and the
most that an update and a batch of an evaluation have besides, which the graph of each keeps. What
the allocator loses between blocks, CUDA itself and cuBLAS are not among it.
"""

import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gpu_launches import STAND_IN, as_cuda, place
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import cells
from harness import data, engine
from harness.bench.record import Shape
from harness.bench.subjects import of_cell, settings_of, write_text
from harness.model.architecture import architecture
from harness.model.network import Model
from harness.preflight.memory import needed_bytes
from harness.settings import Settings
from harness.tasks.language_modelling import LanguageModelling
from harness.training.plan import Run
from harness.training.shard import Shard

BLOCK = 512
HEAD = ("engine", "units", "minibatch, steps", "tokens", "counted", "own", "update", "evaluation")
ROWS = (
    # cell, engine, H, B, T, V
    ("lstm", "gpu", 64, 32, 35, 28),
    ("lstm", "gpu", 256, 32, 35, 28),
    ("lstm", "gpu", 1024, 64, 70, 28),
    ("lstm", "gpu", 256, 64, 140, 28),
    ("lstm", "gpu", 256, 32, 35, 10_000),
    ("gru", "gpu", 256, 32, 35, 28),
    ("rnn-tanh", "gpu", 256, 32, 35, 28),
    ("lstm-layer-norm", "gpu", 256, 32, 35, 28),
    ("nas", "gpu", 256, 32, 35, 28),
    ("lstm", "reference", 1024, 64, 70, 28),
    ("gru", "reference", 1024, 64, 140, 28),
    ("lstm-layer-norm", "reference", 256, 64, 140, 28),
    ("min-gru", "scan", 256, 32, 35, 28),
    ("min-lstm", "scan", 1024, 64, 140, 28),
)


@dataclass(frozen=True)
class Kept:
    """Bytes of one run: those that preflight counts, and those that are alive."""

    counted: int
    own: int
    update: int
    evaluation: int

    @property
    def times(self) -> float:
        """All that is alive or kept for a graph, over what is counted."""
        return (self.own + self.update + self.evaluation) / self.counted


class Alive(TorchDispatchMode):
    """Follows how many bytes are alive, and the most that were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._blocks: dict[int, tuple[StorageWeakRef, int]] = {}
        self.now = self.most = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, given: Any = (), named: dict[str, Any] | None = None
    ) -> Any:
        found = function(*given, **(named or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                storage = tensor.untyped_storage()
                num_bytes = -(-storage.nbytes() // BLOCK) * BLOCK
                self._blocks[storage._cdata] = StorageWeakRef(storage), num_bytes
        gone = [key for key, (reference, _) in self._blocks.items() if reference.expired()]
        for key in gone:
            del self._blocks[key]
        self.now = sum(num_bytes for _, num_bytes in self._blocks.values())
        self.most = max(self.most, self.now)
        return found


def kept(cell: str, which: str, shape: Shape) -> Kept:
    """Returns what one run keeps that trains by Adam in float32."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(shape, place("float32"), write_text(shape, Path(folder)))
        settings = of_cell(settings, cells.find(cell))
        settings = replace(settings, optimizer="adam", learning_rate=0.01)
        return _kept(settings, which)


def _kept(settings: Settings, which: str) -> Kept:
    alive = Alive()
    with as_cuda(Counter()), alive:
        task = LanguageModelling(settings, STAND_IN)
        arch = architecture(settings, task.num_inputs, task.num_outputs)
        shard = Shard(
            [Run("run", (0,), settings)], task, Model(arch, engine.get(which)), 100, STAND_IN
        )
        own, most = alive.now, []
        for work in (shard.advance, shard.forward):
            alive.most = 0
            work(1)
            most.append(alive.most - own)
        most[-1] += shard._flat.nbytes  # a recorded batch has a copy of the parameters
    return Kept(needed_bytes(settings, data.load(settings)), own, *most)


def main() -> int:
    """Prints the table and returns the exit code."""
    print(" | ".join(("| cell", *HEAD, "times |")))
    print("| --- | --- | ---: | --- | ---: |" + 5 * " ---: |")
    for cell, which, size, rows, steps, num_tokens in ROWS:
        found = kept(cell, which, Shape("any", rows, steps, size, num_tokens))
        sizes = f"{size:,} | {rows}, {steps} | {num_tokens:,}"
        numbers = (found.counted, found.own, found.update, found.evaluation)
        mebibytes = " | ".join(f"{number / 2**20:,.1f}" for number in numbers)
        print(f"| {cell} | {which} | {sizes} | {mebibytes} | {found.times:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
