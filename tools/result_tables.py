"""The tables of studies/RESULTS.md, from the raw records beside it."""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import pandas as pd

from harness import report, study
from harness.bench.judge import Estimate, Results
from harness.bench.record import Bench
from harness.bench.tables import peaks, verdicts
from harness.report.assemble import build_report
from harness.store import frames

ROOT = Path(__file__).resolve().parent.parent
STUDIES = ROOT / "studies"
RESULTS = STUDIES / "RESULTS.md"
UPDATES_PER_EPOCH = 8
REPRODUCED = ("s1", "s2", "s3", "s4", "s5", "gru-2019")
"""The studies of published systems whose numbers are shown beside the printed ones."""
ASKED = (
    "output-tanh",
    "output-tanh-recipes",
    "a-a",
    "quickstart",
    "odyssey",
    "lstm-ablations",
    "gates",
    "memory-adding",
    "memory-copy",
    "words",
    "1-hyperparameters",
    "2-words",
    "3-cost",
    "cost",
    "4-output-tanh",
    "5-time-series",
    "series",
)
"""The studies of this project whose report is shown."""
BENCHES = {"sources": "sources", "small": "shapes", "wide": "shapes", "words": "shapes"}
"""Shape of the bench -> the name of the file that holds its repeats."""
WELL_KNOWN = (
    "rnn-tanh",
    "rnn-relu",
    "gru",
    "gru-reset-before",
    "lstm",
    "lstm-no-output-tanh",
    "lstm-coupled",
    "lstm-peephole",
    "min-gru",
    "min-lstm",
)
"""The cells whose costs the tables always give; all others are in ``studies/bench/*.txt``."""


class Published(NamedTuple):
    """A row of studies/sources/published.csv; what is not known is NaN."""

    arm: str
    epoch: int
    printed_low: float
    printed_high: float
    independent: float
    independent_seeds: float


class Rate(NamedTuple):
    """What a row of the null studies' file says of one quantity."""

    quantity: str
    relation: str
    rate: float
    expected: float


Row = TypeVar("Row", Published, Rate)


def rows_of(frame: pd.DataFrame, kind: type[Row]) -> Iterator[Row]:
    """Yields the rows of a table, of each the columns that such a row has."""
    return map(kind._make, frame[list(kind._fields)].itertuples(index=False))


@dataclass(frozen=True)
class Point:
    """Our perplexities at one epoch of one arm beside the published ones.

    ``band`` is what ours must lie in.
    """

    study: str
    arm: str
    epoch: int
    ours: list[float]
    printed: str
    independent: str
    band: tuple[float, float] | None

    @property
    def median(self) -> float:
        return sorted(self.ours)[len(self.ours) // 2]

    @property
    def holds(self) -> bool:
        return self.band is None or self.band[0] <= self.median <= self.band[1]


def points(name: str) -> list[Point]:
    """Returns every published epoch of a study with ours beside it."""
    published = pd.read_csv(STUDIES / "sources" / "published.csv")
    curves = pd.read_csv(STUDIES / "results" / name / "curves.csv")
    epochs = []
    for _, rows in published[published["study"] == name].groupby("arm", sort=False):
        is_first_printed = True
        for row in rows_of(rows, Published):
            at = curves[
                (curves["arm"] == row.arm) & (curves["update"] == row.epoch * UPDATES_PER_EPOCH)
            ]
            ours = [math.exp(nats) for nats in at.sort_values("index")["train/loss"]]
            printed = "" if math.isnan(row.printed_low) else f"{row.printed_low:g}"
            if printed and row.printed_high != row.printed_low:
                printed += f" to {row.printed_high:g}"
            independent = "" if math.isnan(row.independent) else f"{row.independent:g}"
            limits = band(row, is_first_printed)
            epochs.append(Point(name, row.arm, row.epoch, ours, printed, independent, limits))
            is_first_printed &= row.epoch <= 3
    return epochs


def band(row: Published, is_first_printed: bool) -> tuple[float, float] | None:
    """Returns where the median over three seeds must lie for the reproduction to hold.

    The reference is the independent median where it has three seeds, else the printed figure;
    within 1.5 % at epochs 1 to 3, 5 % at the first printed epoch, 15 % at later ones above
    perplexity 1.5, and 0.05 nats below it.
    """
    if not math.isnan(row.independent) and row.independent_seeds >= 3:
        reference = row.independent
    elif row.printed_low != row.printed_high:
        return row.printed_low, row.printed_high
    else:
        reference = row.printed_low
    if row.epoch <= 3:
        share = 0.015
    elif is_first_printed:
        share = 0.05
    elif reference > 1.5:
        share = 0.15
    else:
        return reference * math.exp(-0.05), reference * math.exp(0.05)
    return reference * (1 - share), reference * (1 + share)


def reproduction_table(name: str) -> str:
    """Returns a Markdown table: ours by seed, the published figures, and whether the band holds."""
    header = (
        "arm",
        "epoch",
        "ours, by seed",
        "printed",
        "independent",
        "band of the median",
        "holds",
    )
    rows = [header, ("---",) * len(header)]
    for p in points(name):
        ours = " ".join(f"{value:.4g}" for value in p.ours)
        limits = "" if p.band is None else f"{p.band[0]:.4g} to {p.band[1]:.4g}"
        rows.append(
            (
                p.arm,
                str(p.epoch),
                ours,
                p.printed,
                p.independent,
                limits,
                "yes" if p.holds else "NO",
            )
        )
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def study_file(name: str) -> Path:
    """Returns the file of one of the ``ASKED`` studies; those of the exercises have a folder."""
    (path,) = (*STUDIES.glob(f"{name}.yaml"), *STUDIES.glob(f"exercises/{name}.yaml"))
    return path


@functools.cache
def asked_report(name: str) -> report.Report:
    """Returns the report of one of the ``ASKED`` studies, from its raw records."""
    folder = STUDIES / "results" / name
    warnings = (folder / "warnings.txt").read_text(encoding="utf-8").splitlines()
    kept = folder / "states.csv"  # of studies with `measure: {states: true}`
    states = pd.read_csv(kept) if kept.exists() else None
    loaded = study.load(study_file(name))
    errors, forecasts = frames.read_forecasts(folder)
    return build_report(
        loaded,
        *frames.read_export(folder),
        warnings,
        states,
        simple_errors=errors,
        forecasts=forecasts,
    )


SETTINGS = {
    "num_arms": "{:.0f} arms",
    "num_seeds": "{:.0f} seeds",
    "effect": "effect of {:g} spreads",
    "tuning": "search varies by {:g} of the seeds' spread",
    "repeats": "{:.0f} searches",
    "spread_nats": "spread {:g} nats",
    "shape": "{}",
}
"""Column of the null studies' file -> how a planted setting reads."""


def null_table() -> str:
    """Returns a row per planted setting of the simulated studies: what was seen and expected."""
    frame = pd.read_csv(STUDIES / "results" / "null-studies.csv")
    quantities = list(dict.fromkeys(frame["quantity"]))
    header = ("studies", "planted", *quantities)
    rows = [header, ("---",) * len(header)]
    for (kind, *values), group in frame.groupby(["study", *SETTINGS], sort=False, dropna=False):
        planted = [
            text.format(v)
            for text, v in zip(SETTINGS.values(), values, strict=True)
            if not pd.isna(v)  # type: ignore[call-overload]  # a group's key is a scalar
        ]
        seen = {row.quantity: _rate(row) for row in rows_of(group, Rate)}
        rows.append(
            (kind, ", ".join(planted), *(seen.get(quantity, "") for quantity in quantities))
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _rate(row: Rate) -> str:
    bound = "" if row.relation == "equals" else f"{row.relation} "
    return f"{100 * row.rate:.1f} % ({bound}{100 * row.expected:.1f})"


def bench_table(shape_name: str) -> str:
    """Returns what the engines that `auto` takes reach in training, beside torch.nn.

    The cells are WELL_KNOWN ones; of the others, every row that misses a target.
    """
    bench = Bench.from_json(
        (STUDIES / "bench" / f"{BENCHES[shape_name]}.json").read_text(encoding="utf-8")
    )
    shape = next(shape for shape in bench.shapes if shape.name == shape_name)
    results = Results(bench, shape, "train")
    header = (
        "cell",
        "run by",
        "pack",
        "ms (95 %)",
        "GFLOP/s",
        "of peak",
        "scaled (95 %)",
        "x loop (95 %)",
        "targets",
    )
    rows = [header, ("---",) * len(header)]
    for row in results.rows():
        series = row.series
        if series.kind != "peer" and not series.is_default:
            continue
        missed = [f"{t.text}: {t.attained:.2f}" for t in results.targets(row) if not t.is_met]
        if series.kind != "peer" and series.cell not in WELL_KNOWN and not missed:
            continue
        judged = "missed: " + "; ".join(missed) if missed else "met" if results.targets(row) else ""
        share = "" if row.share is None else f"{100 * row.share.median:.0f} %"
        numbers = (
            _ranged(row.seconds.times(1e3)),
            f"{row.gflops:.0f}",
            share,
            _ranged(row.scaled),
            _ranged(row.loop),
        )
        rows.append((series.cell, series.name, str(series.pack), *numbers, judged))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *filter(None, (verdicts(results), peaks(results)))]) + "\n"


def _ranged(value: Estimate | None) -> str:
    if value is None:
        return ""
    ends = "" if value.low is None else f" ({value.low:.3g} to {value.high:.3g})"
    return f"{value.median:.3g}{ends}"


def tables() -> dict[str, str]:
    """Returns every generated block of RESULTS.md by its name."""
    blocks = {name: reproduction_table(name) for name in REPRODUCED}
    for name in ASKED:
        blocks[name] = asked_report(name).markdown().partition("\n\n")[2]  # without its heading
    blocks["null"] = null_table()
    return blocks | {f"bench {name}": bench_table(name) for name in BENCHES}


def page(text: str) -> str:
    """Returns RESULTS.md with the current tables between their markers."""
    for name, table in tables().items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, marker, rest = text.partition(start)
        assert marker, f"RESULTS.md has no marker {start!r}"
        text = before + start + table + end + rest.partition(end)[2]
    return text
