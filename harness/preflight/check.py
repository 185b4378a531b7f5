"""``harness check``: what a study will do, cost, and be able to show, before anything trains for
good.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from harness import study
from harness.preflight import history, power_table, probe
from harness.preflight.disk import disk
from harness.preflight.history import Shelf
from harness.preflight.power_table import Row
from harness.preflight.probe import Pilot
from harness.runner import launch
from harness.settings import Settings
from harness.store.locations import Places
from harness.training.runtime import MODES

QUIET_SECONDS = 2.0
"""Without a terminal nothing is said of the way to an answer that comes sooner."""
LABEL_WIDTH = 11


def check(
    path: str,
    overrides: tuple[str, ...],
    *,
    places: Places,
    resolved: bool,
    trains: bool,
    force: bool,
    console: Console,
) -> None:
    """Prints the study with its defaults, or its arms, costs and design.

    Args:
        path: The study's YAML.
        overrides: ``fix.hidden_size=128`` each.
        places: Where earlier runs are looked for.
        resolved: Print the study, and nothing else.
        trains: Time arms without earlier runs by a short training.
        force: Accept a design that cannot reach its own threshold.
        console: Where it is printed.

    Raises:
        ValueError: The study or its data is wrong, or its design cannot reach its own threshold.
    """
    loaded = study.load(path, overrides)
    if resolved:
        console.print(study.dump(loaded.resolved()), markup=False, highlight=False, soft_wrap=True)
        return
    shelf = Shelf(loaded, places)
    settings, notes = probe.resolve(loaded)
    settings = history.settled(settings, shelf)
    pilots = [
        _pilot(loaded, arm, settings, shelf, trains) for arm in _tried(console, list(settings))
    ]
    console.print(_arms_table(loaded, pilots))
    for line in [*_legend(loaded, pilots), *notes]:
        console.print(line, markup=False, highlight=False)
    _print(console, _costs(loaded, pilots))
    for conditions, rows in _designs(loaded, shelf):
        _print(console, [Row("design", ", ".join(conditions)), *rows])
    launch.check_design(loaded, force)


def _designs(loaded: study.Study, shelf: Shelf) -> list[tuple[list[str], list[Row]]]:
    """Returns what is to be said of designs, and the conditions that it holds for."""
    said: dict[tuple[Row, ...], list[str]] = {}
    for condition in loaded.conditions:
        part = loaded.under(condition)
        spread = shelf.first(lambda book, part=part: history.spread(part, book))  # type: ignore[misc]
        said.setdefault(tuple(power_table.rows(part, spread)), []).append(condition)
    return [(conditions, list(rows)) for rows, conditions in said.items()]


def _tried(console: Console, arms: list[str]) -> Iterator[str]:
    """Yields arms, and says which one is tried: by a bar that goes away, or without a terminal by
    lines.
    """
    begun = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(16), MofNCompleteColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=len(arms))
        for index, arm in enumerate(arms):
            bar.update(task, completed=index, description=f"trying {arm}")
            if not console.is_terminal and time.monotonic() - begun > QUIET_SECONDS:
                console.print(
                    f"trying {arm}, {index + 1} of {len(arms)}", markup=False, highlight=False
                )
            yield arm


def _pilot(
    loaded: study.Study, arm: str, settings: dict[str, Settings], shelf: Shelf, trains: bool
) -> Pilot:
    found = probe.pilot(loaded, arm, settings[arm])
    pace = shelf.first(lambda book: history.pace(found, book))
    if pace is None and trains:
        pace = probe.short_training(loaded, found)
    return found if pace is None else replace(found, pace=pace)


def _arms_table(loaded: study.Study, pilots: list[Pilot]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("arm", overflow="fold")
    for column in (
        *_engine_column(pilots),
        "H",
        "params",
        "FLOPs",
        "updates",
        "tokens",
        "runs",
        "time",
    ):
        table.add_column(column, justify="left" if column == "engine" else "right", no_wrap=True)
    by_key = {p.arm: p for p in pilots}
    for condition in loaded.conditions:
        if condition:
            table.add_row(Text(condition, style="bold"))
        for arm in loaded.under(condition).arms:
            p = by_key[arm.key]
            engine = [p.settings.engine for _ in _engine_column(pilots)]
            table.add_row(
                Text(f"{' ' * bool(condition)}{arm.name}"), *engine, *_cells(p, arm.settings)
            )
    return table


def _engine_column(pilots: list[Pilot]) -> list[str]:
    """Returns the column of engines where arms differ in theirs; else the line below says it."""
    return ["engine"] if len({p.settings.engine for p in pilots}) > 1 else []


def _cells(p: Pilot, asked: Settings) -> list[str]:
    """Returns an arm's numbers; a star is at what was solved."""
    size, updates = "*" * (asked.hidden_size is None), "*" * (asked.budget.seconds is not None)
    runs = "+".join(str(sum(packs)) for packs in (p.packs.trials, p.packs.replicates) if packs)
    more = f"-{sum(p.packs.replicates) + sum(p.packs.more)}" if p.packs.more else ""
    return [
        *(f"{p.hidden_size:,}{size}", f"{p.num_parameters:,}", _short(p.flops_per_token)),
        *(
            f"{p.num_updates:,}{updates}",
            _short(p.num_tokens),
            f"{runs}{more}",
            duration(p.seconds),
        ),
    ]


def _legend(loaded: study.Study, pilots: list[Pilot]) -> list[str]:
    """Returns what the columns hold, and what the starred numbers are solved for."""
    wanted: dict[str, None] = {}
    for settings in (arm.settings for arm in loaded.arms):
        for name in ("num_parameters", "flops_per_token"):
            if (number := getattr(settings, name)) is not None:
                wanted[f"H for {name} = {number:,}"] = None
        if (seconds := settings.budget.seconds) is not None:
            wanted[f"updates for {seconds:g} s of a run alone"] = None
    columns = (
        []
        if _engine_column(pilots)
        else [f"engine: {pilots[0].settings.engine}, on {_machine(pilots[0])}"]
    )
    columns += [
        "FLOPs: forward, per token",
        *(["runs: trials + replicates"] if loaded.tune else []),
    ]
    return ["; ".join(columns), *(["* solved: " + "; ".join(wanted)] if wanted else [])]


def _machine(p: Pilot) -> str:
    return f"{p.threads} thread{'s' * (p.threads > 1)}" if p.device == "cpu" else p.device


def _costs(loaded: study.Study, pilots: list[Pilot]) -> list[Row]:
    num_runs, num_more = sum(p.num_runs for p in pilots), sum(sum(p.packs.more) for p in pilots)
    training, more = sum(p.seconds for p in pilots), sum(p.more_seconds for p in pilots)
    timing = _timing_seconds(loaded, pilots)
    up_to = f" to {num_runs + num_more:,}" if num_more else ""
    longest = f" to {duration(training + more + timing)}" if num_more else ""
    found = [
        Row("runs", f"{num_runs:,}{up_to}"),
        Row("time", f"about {duration(training + timing)}{longest}, start-up and books on top"),
    ]
    found += [Row("  training", line) for line in _training(pilots)]
    if loaded.tune is not None and loaded.tune.pruner != "none":
        found.append(Row("", f"less where the {loaded.tune.pruner} pruner ends trials early"))
    found.append(Row("  timing", f"{duration(timing)} at least" if timing else "none"))
    return [*found, *_room(loaded, pilots)]


def _training(pilots: list[Pilot]) -> Iterator[str]:
    """Yields the time of training by where its estimate is from."""
    seconds: dict[str, float] = defaultdict(float)
    arms: dict[str, list[str]] = defaultdict(list)
    for p in pilots:
        seconds[p.pace.source] += p.seconds
        arms[p.pace.source].append(p.arm)
    for source, names in arms.items():
        whose = f": {', '.join(names)}" if len(arms) > 1 else ""
        yield f"{duration(seconds[source])} {source}{whose}"


def _timing_seconds(loaded: study.Study, pilots: list[Pilot]) -> float:
    phase = loaded.measure.runtime
    if phase is None:
        return 0.0
    num_stands = sum(len({1, probe.study_pack_size(loaded, p.settings)}) for p in pilots)
    return phase.rounds * phase.seconds * len(MODES) * num_stands


def _room(loaded: study.Study, pilots: list[Pilot]) -> list[Row]:
    room = disk(pilots, keeps_models=loaded.measure.models == "replicates")
    models = f", {_bytes(room.models)} models" if room.models else ""
    total = _bytes(room.databases + room.artifacts + room.models)
    return [
        Row("disk", f"about {total}, its reports on top"),
        Row(
            "",
            f"{_bytes(room.databases)} databases, {_bytes(room.artifacts)} curves and samples{models}",
        ),
        Row("", f"checkpoints of up to {_bytes(room.checkpoints)} while it runs"),
    ]


def _print(console: Console, rows: Sequence[Row]) -> None:
    """Prints rows under one another, after an empty line; the values of successive rows stand in
    columns.
    """
    console.print()
    for _, group in groupby(rows, key=lambda row: len(row.values)):
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, min_width=LABEL_WIDTH)
        for row in group:
            table.add_row(Text(row.label), Text(row.text), *row.values)
        for column in table.columns[2:]:
            column.justify, column.no_wrap = "right", True
        console.print(table)


def _short(count: int) -> str:
    """Returns a count to three digits.

    >>> [_short(count) for count in (999, 12_345, 999_600, 5_000_000)]
    ['999', '12.3k', '1M', '5M']
    """
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= 0.9995 * size:
            return (
                f"{count / size:.4g}{unit}"
                if count >= 999.5 * size
                else f"{count / size:.3g}{unit}"
            )
    return str(count)


def _bytes(count: int) -> str:
    """Returns a size to a tenth of a megabyte, or of a gigabyte."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Returns a duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "<1 s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
