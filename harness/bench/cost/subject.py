"""A cell at a hidden size: made, warmed up, and each of its quantities measured by itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

import cells
from harness import engine, timing
from harness.bench.cost.counts import (
    counted_flops,
    forward_bytes,
    parameter_bytes,
    training_bytes,
)
from harness.bench.cost.energy import Meter
from harness.bench.cost.memory import PeakMemory
from harness.bench.cost.record import QUANTITIES, CellCost, Quantity, Repeats
from harness.bench.cost.request import Request
from harness.bench.cost.roof import Roofs
from harness.bench.judge import PASSES
from harness.bench.measure import UPDATES_BETWEEN, problem
from harness.bench.record import Shape
from harness.bench.subjects import Trained, of_cell, settings_of, write_text
from harness.engine import dtype_of
from harness.model.architecture import Architecture, architecture
from harness.model.initialization import initial_parameters
from harness.model.network import Model
from harness.settings import Settings
from harness.tasks.generation import Choice, Stream, continued
from harness.training.plan import Plan, Run
from harness.training.runtime import WARM_UP_UPDATES

GENERATES = "reference"
"""The engine that writes text, as ``harness sample`` does."""


class Subject:
    """A cell at a hidden size in the rounds; an exception costs it its figures, and no other."""

    def __init__(self, cell: str, hidden_size: int, request: Request, folder: Path):
        """Counts what is known without a measurement."""
        self._request, self._folder, self._hidden_size = request, folder, hidden_size
        self._settings = self._settings_of(cell, request.shape(hidden_size))
        self._arch = architecture(self._settings, request.num_tokens, request.num_tokens)
        self._joules: float | None = 0.0
        self._trained: list[Trained] = []
        self._work: dict[Quantity, Callable[[int], object]] = {}
        self.cost = _counted(self._arch, self._settings, request)

    def _settings_of(self, cell: str, shape: Shape) -> Settings:
        text = write_text(shape, self._folder)
        settings = of_cell(settings_of(shape, self._request, text), cells.find(cell))
        name = self._request.engine
        if name == "auto":
            name, _ = engine.resolve(
                [cells.find(cell)], self._request.device, self._request.precision
            )
        return replace(settings, engine=name)  # type: ignore[arg-type]

    def warm_up(self, memory: PeakMemory) -> None:
        """Makes all that is measured, and settles how often each quantity fills a repeat."""
        with self._guarded():
            with memory:
                trained = self._train(self._settings)
                trained.train(WARM_UP_UPDATES)
            self.cost.memory_bytes = memory.num_bytes
            large_shape = self._request.shape(self._hidden_size, large=True)
            large = self._train(self._settings_of(self.cost.cell, large_shape))
            self._work = {
                "update": trained.train,
                "forward": trained.forward,
                "token": self._writer(),
                "large": large.forward,
            }
            for quantity in QUANTITIES:
                self._do(quantity, WARM_UP_UPDATES)
                with timing.Watch() as watch:
                    self._do(quantity, WARM_UP_UPDATES)
                each = watch.seconds / WARM_UP_UPDATES
                self.cost.times[quantity].count = int(self._request.seconds / each) + 1

    def _train(self, settings: Settings) -> Trained:
        """Returns one run as training makes it."""
        plan = Plan(
            (Run("cost", ("cost",), settings),),
            objective="train/perplexity",
            cell_files=self._request.cell_files,
        )
        self._trained.append(Trained(plan))
        return self._trained[-1]

    def _writer(self) -> Callable[[int], object]:
        """Returns what writes so many tokens of one stream, the likeliest each time."""
        device = torch.device(self._request.device)
        drawn = initial_parameters(self._arch, self._settings, ("cost",))
        dtype = dtype_of(self._request.precision)
        parameters = {n: value.unsqueeze(0).to(device, dtype) for n, value in drawn.items()}
        stream = Stream(Model(self._arch, engine.get(GENERATES)), parameters)

        @torch.no_grad()
        def write(count: int) -> None:
            continued(stream, [0], Choice(), [0.0] * count)

        return write

    def measure(self, quantity: Quantity, meter: Meter) -> None:
        """Adds one repeat of a quantity, with the energy of an update."""
        repeats = self.cost.times[quantity]
        if not repeats.count:
            return
        with self._guarded():
            self._do(quantity, UPDATES_BETWEEN)
            meter.begin()
            with timing.Watch() as watch:
                self._do(quantity, repeats.count)
            if quantity == "update":
                self._add_energy(meter)
            repeats.seconds.append(watch.seconds / repeats.count)
            repeats.busy.append(watch.busy)

    def _add_energy(self, meter: Meter) -> None:
        joules = meter.joules()
        if joules is None or self._joules is None:
            self._joules = None
            return
        self._joules += joules
        repeats = self.cost.times["update"]
        self.cost.energy_joules = self._joules / (repeats.count * (len(repeats.seconds) + 1))

    def reader(self, roofs: Roofs) -> Callable[[float], None]:
        """Returns what adds the time to read the parameters that a token reads."""
        measured = roofs.reading_seconds(parameter_bytes(self._arch))
        return lambda seconds: self.cost.reading_seconds.append(measured(seconds))

    def _do(self, quantity: Quantity, count: int) -> None:
        """Does a quantity so many times; a token is written on one core."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            self._work[quantity](count)
        finally:
            torch.set_num_threads(threads)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of any kind, as a user's cell may raise it
            self.cost.problem = problem(error)
            self.cost.times = {quantity: Repeats() for quantity in QUANTITIES}
            self.cost.memory_bytes = self.cost.energy_joules = None
            self.close()

    @property
    def notes(self) -> list[str]:
        """What makes the cell slower than it could be."""
        noted = dict.fromkeys(note for trained in self._trained for note in trained.notes)
        return [f"{self.cost.cell}: {note}" for note in noted]

    def close(self) -> None:
        """Ends its threads."""
        for trained in self._trained:
            trained.close()
        self._trained = []


def _counted(arch: Architecture, settings: Settings, request: Request) -> CellCost:
    counted, flops = counted_flops(arch, settings), arch.flops_per_token()
    return CellCost(
        cell=arch.cell.name,
        hidden_size=arch.hidden_size,
        engine=settings.engine,
        num_parameters=arch.num_parameters(),
        flops_per_token=flops,
        training_flops_per_token=PASSES["train"] * flops,
        counted_flops_per_token=counted[0],
        counted_training_flops_per_token=counted[1],
        token_bytes=forward_bytes(arch, 1),
        forward_bytes=forward_bytes(arch, request.batch_size),
        training_bytes=training_bytes(arch, request.batch_size, request.bptt_length),
        large_bytes=forward_bytes(arch, request.large_batch),
    )
