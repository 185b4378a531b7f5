"""From repeats to figures, ratios and targets, by arithmetic: no torch, no cells, no clock."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.bench.record import LOOP, ONE_HOT, PREBUILT, Bench, Mode, Peak, Series, Shape

PASSES = {"train": 3, "forward": 1}
"""The products of an update, in forward passes: backward has two for each."""
YARDSTICKS = ("native", "reference")
"""Engines that no target is set for: torch.nn itself, and the definition."""
CONFIDENCE = 0.95
MOST_DISTURBED = 0.25
"""The part of the repeats that may be disturbed.

Beyond it nothing is judged: threads that wait for one another suffer most from other work.
"""
LEAST_TOKENS_OF_WORDS = 1000
"""From so large a vocabulary on, a row lookup must pay against one-hot rows."""


@dataclass(frozen=True)
class Estimate:
    """A median, and its interval where there are repeats enough."""

    median: float
    low: float | None
    high: float | None

    def times(self, factor: float) -> "Estimate":
        """Returns the estimate in another unit."""
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return Estimate(self.median * factor, low, high)


def estimate(values: Sequence[float]) -> Estimate:
    """Returns the median of at least one value with its order-statistic interval, of 95 % or more.

    The number of values below the median is binomial(n, 1/2), whatever their distribution (Thompson
    1936); six values are the fewest with an interval.
    """
    ordered, n, k, below = sorted(values), len(values), 0, 0
    while 2 * (below + math.comb(n, k)) <= (1.0 - CONFIDENCE) * 2**n:
        below += math.comb(n, k)
        k += 1
    ends = (ordered[k - 1], ordered[n - k]) if k else (None, None)
    return Estimate(statistics.median(ordered), *ends)


@dataclass(frozen=True)
class Row:
    """What one series comes to.

    A run-update is one update of one run: it takes the pack's wall time divided by its runs.
    ``peer`` is the ratio of throughputs to torch.nn's LSTM with one-hot rows, ``scaled`` the same
    by the operations of the cells' products, to nn.GRU for class b; ``loop`` the ratio to the
    cell's own published loop.
    """

    series: Series
    seconds: Estimate
    updates_per_second: float
    tokens_per_second: float
    gflops: float
    share: Estimate | None
    peer: Estimate | None
    scaled: Estimate | None
    loop: Estimate | None


@dataclass(frozen=True)
class Target:
    """One thing that is asked of one row: ``attained`` must not be below ``needed``."""

    text: str
    attained: float
    needed: float

    @property
    def is_met(self) -> bool:
        """Whether the target is met."""
        return self.attained >= self.needed


class Results:
    """One shape of a bench in one mode."""

    def __init__(self, bench: Bench, shape: Shape, mode: Mode):
        self.shape, self.mode, self.bench = shape, mode, bench
        self.series = [s for s in bench.series if s.shape == shape.name and s.mode == mode]
        self.peak = machine_peak([peak for peak in bench.peaks if peak.shape == shape.name])

    def rows(self) -> list[Row]:
        """Returns a row for every series that was measured."""
        return [self.row(series) for series in self.series if series.seconds]

    def row(self, series: Series) -> Row:
        """Returns the row of a measured series."""
        seconds = estimate(series.seconds).times(1.0 / series.pack)
        updates = 1.0 / seconds.median
        gflops = self._operations(series) * updates / 1e9
        return Row(
            series,
            seconds,
            updates,
            updates * self.shape.tokens_per_update,
            gflops,
            self.share(series),
            self.ratio(series, self.peer("LSTM", series.pack)),
            self.scaled(series),
            self.ratio(series, self._loop(series.cell)),
        )

    def _operations(self, series: Series) -> float:
        """Returns the FLOPs of a run-update's products."""
        return float(PASSES[self.mode] * series.flops * self.shape.tokens_per_update)

    def peer(self, name: str, pack: int, form: str = ONE_HOT) -> Series | None:
        """Returns torch.nn's series at the same pack."""
        wanted = (f"nn.{name} {form}", pack)
        measured = [s for s in self.series if (s.name, s.pack) == wanted and s.seconds]
        return measured[0] if measured else None

    def _loop(self, cell: str) -> Series | None:
        """Returns the series of the cell's published loop."""
        wanted = ("loop", LOOP, cell, 1)
        measured = [
            s for s in self.series if (s.kind, s.name, s.cell, s.pack) == wanted and s.seconds
        ]
        return measured[0] if measured else None

    def ratio(self, ours: Series, other: Series | None) -> Estimate | None:
        """Returns our run-updates per second over the other's, paired by round.

        None: there is no other.
        """
        if other is None or other is ours:
            return None
        pairs = zip(ours.seconds, other.seconds, strict=True)
        return estimate([(theirs / other.pack) / (mine / ours.pack) for mine, theirs in pairs])

    def share(self, series: Series) -> Estimate | None:
        """Returns the FLOP/s over those that the machine reaches, paired by round."""
        if self.peak is None:
            return None
        work = self._operations(series) * series.pack / 1e9
        pairs = zip(series.seconds, self.peak.gflops, strict=True)
        return estimate([work / seconds / peak for seconds, peak in pairs])

    def scaled(self, series: Series) -> Estimate | None:
        """Returns the ratio times the cell's operations over the peer's.

        None: the cell has no products, or there is no peer.
        """
        peer = self.peer("GRU" if series.cell_class == "b" else "LSTM", series.pack)
        ratio = self.ratio(series, peer)
        if ratio is None or peer is None or not series.cell_flops:
            return None
        return ratio.times(series.cell_flops / peer.cell_flops)

    def targets(self, row: Row) -> list[Target]:
        """Returns what is asked of a row and can be judged.

        That is training on a CPU by the engine that was generated for the cell.
        """
        series, device = row.series, self.bench.made["device"]
        if not series.is_default or series.name in YARDSTICKS:
            return []
        if self.mode != "train" or device != "cpu" or self.disturbed() > MOST_DISTURBED:
            return []
        targets = list(self._of_a_single_run(row)) if series.pack == 1 else []
        return targets + (list(self._of_a_full_pack(row)) if self.is_full(series) else [])

    def disturbed(self) -> float:
        """Returns the part of the repeats during which other processes kept the processor busy."""
        flags = [busy for series in self.series for busy in series.busy]
        return sum(flags) / len(flags) if flags else 0.0

    def is_full(self, series: Series) -> bool:
        """Whether the series has the largest pack of all, and that has a run for every thread."""
        largest = max(s.pack for s in self.series)
        return series.pack == largest >= int(self.bench.made["threads"])

    def _of_a_single_run(self, row: Row) -> Iterator[Target]:
        if row.series.cell_class == "a" and row.scaled is not None:
            yield Target("0.8 x scaled nn.LSTM", row.scaled.median, 0.8)

    def _of_a_full_pack(self, row: Row) -> Iterator[Target]:
        series = row.series
        share = self.share_of_target(row)
        if share is not None:
            yield Target("0.8 of the target", share, 0.8)
        rnn = self.ratio(series, self.peer("RNN", series.pack))
        if series.cell_class == "a" and series.num_gates <= 2 and rnn is not None:
            yield Target("2 x nn.RNN", rnn.median, 2.0)
        if series.cell_class == "b" and row.scaled is not None:
            yield Target("1 x scaled nn.GRU", row.scaled.median, 1.0)
        if row.loop is not None:
            yield Target("4 x its loop", row.loop.median, 4.0)
        if series.cell == "lstm" and self.shape.num_tokens >= LEAST_TOKENS_OF_WORDS:
            for form in (ONE_HOT, PREBUILT):
                ratio = self.ratio(series, self.peer("LSTM", series.pack, form))
                if ratio is not None:
                    yield Target(f"2 x nn.LSTM {form}", ratio.median, 2.0)

    def share_of_target(self, row: Row) -> float | None:
        """Returns a class-a row's throughput over its target, or None for another class.

        The target is 1.3 x scaled nn.LSTM, or 70 % of peak where that is lower.
        """
        if row.series.cell_class != "a" or row.scaled is None or row.share is None:
            return None
        return max(row.scaled.median / 1.3, row.share.median / 0.7)

    def overall(self, engine: str) -> str | None:
        """Returns the sentence on an engine's class-a cells at the full pack.

        None: none was judged.
        """
        shares = {
            row.series.cell: share
            for row in self.rows()
            if row.series.name == engine and self.targets(row) and self.is_full(row.series)
            if (share := self.share_of_target(row)) is not None
        }
        if not shares:
            return None
        median = statistics.median(shares.values())
        lowest = min(shares, key=lambda cell: shares[cell])
        word = "met" if median >= 1.0 and shares[lowest] >= 0.8 else "missed"
        return (
            f"{engine}, class a: the median of {len(shares)} cells has {median:.2f} of its target"
            f" (1 is asked), the lowest, {lowest}, {shares[lowest]:.2f} (0.8 is asked): {word}"
        )


def machine_peak(peaks: Sequence[Peak]) -> Peak | None:
    """Returns the one with the highest median."""
    measured = [peak for peak in peaks if peak.gflops]
    return max(measured, key=lambda peak: estimate(peak.gflops).median, default=None)
