"""The rounds: all subjects of a shape in turn, A B C A B C, so that drift meets them all alike."""

import os
import platform
import shlex
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from harness import engine, provenance, timing
from harness.bench.options import Options, Rounds
from harness.bench.peak import Yardsticks
from harness.bench.record import MODES, Bench, Mode, Shape
from harness.bench.subjects import (
    Candidate,
    Subject,
    candidates,
    settings_of,
    write_text,
)
from harness.bench.ticker import Ticker
from harness.timing import cpu_count
from harness.training.runtime import WARM_UP_UPDATES

UPDATES_BETWEEN = 1
"""Updates before each repeat that are not counted: they refill the caches."""


class Stand:
    """A candidate in the rounds.

    It is created, warmed up and measured, or it is left out with the reason why.
    """

    def __init__(self, candidate: Candidate, shape: Shape):
        self.candidate = candidate
        self.series = {mode: candidate.series(shape, mode) for mode in MODES}
        self.seconds_a_round = 0.0
        self._subject: Subject | None = None

    def warm_up(self, seconds: float) -> None:
        """Creates the subject, runs each mode and settles how many updates take ``seconds``."""
        try:
            self._subject = self.candidate.make()
            for mode in MODES:
                self.work(mode, WARM_UP_UPDATES)
                with timing.Watch() as watch:
                    self.work(mode, WARM_UP_UPDATES)
                each = watch.seconds / WARM_UP_UPDATES
                self.series[mode].updates = max(1, int(seconds / each) + 1)
                self.seconds_a_round += each * (self.series[mode].updates + UPDATES_BETWEEN)
        except Exception as error:  # of any kind: it costs this subject its row, and no other
            self._drop(error)

    def measure(self, mode: Mode) -> None:
        """Adds one repeat."""
        series = self.series[mode]
        if self._subject is None:
            return
        try:
            self.work(mode, UPDATES_BETWEEN)
            with timing.Watch() as watch:
                self.work(mode, series.updates)
        except Exception as error:  # likewise
            self._drop(error)
            return
        series.seconds.append(watch.seconds / series.updates)
        series.busy.append(watch.busy)

    def work(self, mode: Mode, count: int) -> None:
        """Does so many updates, uncounted."""
        assert self._subject is not None
        (self._subject.train if mode == "train" else self._subject.forward)(count)

    def _drop(self, error: Exception) -> None:
        self.close()
        for series in self.series.values():
            series.problem = problem(error)
            series.seconds, series.busy = [], []

    def notes(self) -> list[str]:
        """Returns what makes the subject slower than it could be."""
        notes = () if self._subject is None else self._subject.notes
        return [f"{self.candidate.cell.name}, {self.candidate.name}: {note}" for note in notes]

    def close(self) -> None:
        """Ends the subject's threads."""
        if self._subject is not None:
            self._subject.close()
            self._subject = None


def problem(error: Exception) -> str:
    """Returns an exception as a line says it."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:300]}"


def begin(options: Options, words: Sequence[str]) -> Bench:
    """Returns a bench without a measurement."""
    engine.allow_tf32(options.precision)
    return Bench(describe(options, ["bench", *words]))


def describe(options: Rounds, words: Sequence[str]) -> dict[str, str]:
    """Returns the machine, the moment and the words of the command, its name among them."""
    load = "unknown"
    if hasattr(os, "getloadavg"):
        load = ", ".join(f"{x:.2f}" for x in os.getloadavg())
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["harness", *words]),
        **provenance.describe(options.device),
        "processor": provenance.device_name("cpu"),
        "system": platform.platform(),
        "cores": str(cpu_count()),
        "load_average": load,
        "device": options.device,
        "precision": options.precision,
        "threads": str(options.threads),
        "rounds": str(options.rounds),
        "seconds": str(options.seconds),
    }


def measure(bench: Bench, shape: Shape, options: Options, ticker: Ticker) -> None:
    """Adds all that is measured at one shape to ``bench``.

    Raises:
        KeyboardInterrupt: It was interrupted; the rounds that were whole by then are added.
    """
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as folder:
        settings = settings_of(shape, options, write_text(shape, Path(folder)))
        timed, notes = candidates(shape, settings, options)
        stands = [Stand(candidate, shape) for candidate in timed]
        yardsticks = Yardsticks(
            shape.name, options.threads, torch.device(options.device), options.precision
        )
        try:
            for index, stand in enumerate(stands):
                ticker.say(f"{shape.name}: warming up, {index} of {len(stands)} are ready")
                stand.warm_up(options.seconds)
            _rounds(stands, yardsticks, options, ticker, shape.name)
        finally:
            notes += [note for stand in stands for note in stand.notes()]
            yardsticks.close()
            for stand in stands:
                stand.close()
            _add(bench, shape, stands, yardsticks, notes)


def _add(
    bench: Bench, shape: Shape, stands: list[Stand], yardsticks: Yardsticks, notes: list[str]
) -> None:
    """Adds what was measured in the rounds that are whole, if there is one."""
    series = [stand.series[mode] for mode in MODES for stand in stands]
    live = [each.seconds for each in series if each.problem is None]
    num_whole = min(map(len, [*live, *(peak.gflops for peak in yardsticks.peaks)]))
    if num_whole == 0:
        return
    for each in series:
        del each.seconds[num_whole:], each.busy[num_whole:]
    for peak in yardsticks.peaks:
        del peak.gflops[num_whole:]
    if num_whole < (wanted := int(bench.made["rounds"])):
        notes = [*notes, f"{shape.name}: interrupted after {num_whole} of {wanted} rounds."]
    bench.shapes.append(shape)
    bench.peaks += yardsticks.peaks
    bench.series += series
    bench.notes += [note for note in dict.fromkeys(notes) if note not in bench.notes]


def _rounds(
    stands: list[Stand], yardsticks: Yardsticks, options: Options, ticker: Ticker, name: str
) -> None:
    """Measures everything in rounds.

    What the machine reaches is among it: a machine that others use has not one speed.
    """
    seconds_each = options.seconds / 2
    peaks_a_round = 2 * seconds_each * len(yardsticks.peaks)
    a_round = peaks_a_round + sum(stand.seconds_a_round for stand in stands)
    total = options.rounds * a_round
    ticker.begin(
        total, f"{name}: {len(stands)} subjects in {options.rounds} rounds, about {total:.0f} s"
    )
    for index in range(options.rounds):
        text = f"{name}: round {index + 1} of {options.rounds}"
        yardsticks.measure(seconds_each)
        ticker.advance(peaks_a_round, text)
        for mode in MODES:
            for stand in stands:
                stand.measure(mode)
                ticker.advance(stand.seconds_a_round / len(MODES), text)
