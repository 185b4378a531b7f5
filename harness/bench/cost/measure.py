"""All cells at all sizes in rounds, A B C A B C, so that drift meets them all alike."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.bench.cost.energy import Meter, meter
from harness.bench.cost.memory import PeakMemory
from harness.bench.cost.record import QUANTITIES, Costs
from harness.bench.cost.request import Request
from harness.bench.cost.roof import Roofs
from harness.bench.cost.subject import Subject
from harness.bench.measure import describe
from harness.bench.ticker import Ticker


def measure(request: Request, words: Sequence[str] = ()) -> Costs:
    """Returns what the cells cost, and writes the JSON where one is asked for.

    Args:
        request: What is measured.
        words: The words of the command, for the record.
    """
    costs = Costs(
        describe(request, words),
        batch_size=request.batch_size,
        bptt_length=request.bptt_length,
        num_tokens=request.num_tokens,
        large_batch=request.large_batch,
    )
    ticker = Ticker(sys.stderr)
    with tempfile.TemporaryDirectory(prefix="harness-cost-") as folder:
        try:
            _measure(costs, request, Path(folder), ticker)
        finally:
            ticker.close()
    if request.json is not None:
        costs.write(request.json)
    return costs


def _measure(costs: Costs, request: Request, folder: Path, ticker: Ticker) -> None:
    subjects: list[Subject] = []
    memory, energy = PeakMemory(request.device), meter(request.device)
    costs.memory, costs.energy = memory.source, energy.source
    pairs = [(cell, size) for cell in request.cells for size in request.hidden_sizes]
    try:
        for index, (cell, size) in enumerate(pairs):
            ticker.say(f"warming up {cell} at {size} units, {index} of {len(pairs)} are ready")
            subjects.append(Subject(cell, size, request, folder))
            costs.cells.append(subjects[-1].cost)
            subjects[-1].warm_up(memory)
        _rounds(costs, request, subjects, energy, ticker)
        costs.notes = list(dict.fromkeys(note for each in subjects for note in each.notes))
    finally:
        for subject in subjects:
            subject.close()


def _rounds(
    costs: Costs, request: Request, subjects: list[Subject], energy: Meter, ticker: Ticker
) -> None:
    roofs = Roofs(request.device, request.threads)
    try:
        readers = [subject.reader(roofs) for subject in subjects]
        ticker.begin(request.rounds * len(subjects))
        for index in range(request.rounds):
            roofs.measure(request.seconds)
            for subject, read in zip(subjects, readers, strict=True):
                read(request.seconds / 2)
                for quantity in QUANTITIES:
                    subject.measure(quantity, energy)
                where = f"{subject.cost.cell} at {subject.cost.hidden_size} units"
                ticker.advance(1.0, f"round {index + 1} of {request.rounds}: {where}")
        costs.roofs = roofs.roofs
    finally:
        roofs.close()
