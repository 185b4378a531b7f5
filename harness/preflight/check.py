"""What ``harness check`` prints: what a study will do, cost, and be able to show.

Nothing trains for good.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from harness.data import CorpusFacts, Data
from harness.preflight import history, power_table, search_power, sequences, texts
from harness.preflight.cost import Pace
from harness.preflight.design import check_design, design_problem, told_with_all
from harness.preflight.disk import disk
from harness.preflight.faults import RunFault, check_runs
from harness.preflight.history import History, Spread, StoredStudy
from harness.preflight.power_table import Row
from harness.preflight.probe import Probe, probe_arm, short_training
from harness.preflight.resolve import resolve, study_pack_size
from harness.settings import Settings
from harness.store.kept import load_study
from harness.store.locations import Locations
from harness.study import Study, Tune
from harness.training.runtime import MODES
from harness.tuning.design import num_start_up

QUIET_SECONDS = 2.0
"""Without a terminal, progress is printed only where the answer takes longer than this."""
LABEL_WIDTH = 11


def check(
    path: str,
    overrides: tuple[str, ...],
    *,
    locations: Locations,
    trains: bool,
    force: bool,
    console: Console,
) -> None:
    """Prints a study's arms, costs and design.

    Args:
        path: The study's YAML; or its name in the store, which kept the file.
        overrides: ``fix.hidden_size=128`` each.
        locations: Where earlier runs are looked for.
        trains: Time arms without earlier runs by a short training.
        force: Accept a design that cannot reach its own threshold.
        console: Where it is printed.

    Raises:
        ValueError: The study or its data is wrong, a run of an arm would fail, or the design cannot
            reach its own threshold.
    """
    loaded = load_study(path, overrides, locations)
    stored = History(loaded, locations)
    with told_with_all(loaded, force):
        settings, notes = resolve(loaded)
    with _telling(console, len(settings)) as tell:
        found = _checked_texts(loaded, settings, force, tell)
    facts = texts.facts_by_readers(loaded, found)
    settings = history.with_pinned_budgets(settings, stored)
    probes = []
    with _telling(console, len(settings)) as tell:
        for arm in settings:
            tell(arm)
            probes.append(_probe(loaded, arm, settings, stored, trains))
    if facts:
        _print_texts(console, facts)
    if (sequences_table := sequences.table(found)) is not None:
        console.print(sequences_table)
        for line in sequences.warnings(found, loaded.measure):
            console.print(f"Warning: {line}", style="yellow", markup=False, highlight=False)
        console.print()
    console.print(_arms_table(loaded, probes))
    for line in [*_legend(loaded, probes), *notes]:
        console.print(line, markup=False, highlight=False)
    _print(console, _costs(loaded, probes))
    for conditions, rows in _designs(loaded, stored):
        _print(console, [Row("design", ", ".join(conditions)), *rows])
    check_design(loaded, force)


def _checked_texts(
    loaded: Study, settings: Mapping[str, Settings], force: bool, tell: Callable[[str], None]
) -> dict[str, Data]:
    """Returns every arm's text; what is wrong with runs and design is told together."""
    try:
        return check_runs(loaded, settings, tell)
    except RunFault as fault:
        design = None if force else design_problem(loaded)
        raise RunFault("\n".join(filter(None, (str(fault), design)))) from fault


def _print_texts(console: Console, facts: Mapping[str, CorpusFacts]) -> None:
    console.print(texts.table(facts))
    console.print(texts.LEGEND, markup=False, highlight=False)
    for text in facts.values():
        for line in text.warnings():
            console.print(line, style="yellow", markup=False, highlight=False)
    console.print()


def _designs(loaded: Study, stored: History) -> list[tuple[list[str], list[Row]]]:
    """Returns the rows on designs, and the conditions that they hold for."""
    conditions: dict[tuple[Row, ...], list[str]] = {}
    for condition in loaded.conditions:
        part = loaded.under(condition)
        rows = [*power_table.rows(part, _spread(part, stored)), *search_power.rows(part)]
        conditions.setdefault(tuple(rows), []).append(condition)
    return [(names, list(rows)) for rows, names in conditions.items()]


def _spread(part: Study, stored: History) -> Spread | None:
    return stored.first(lambda other: history.spread(part, other))


@contextmanager
def _telling(console: Console, num_arms: int) -> Iterator[Callable[[str], None]]:
    """Yields what is told of each arm before it is tried, and shows it.

    On a terminal a bar shows it and goes away at the end; elsewhere lines do.
    """
    begun, index = time.monotonic(), 0
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(16),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("trying", total=num_arms)

        def tell(arm: str) -> None:
            nonlocal index
            bar.update(task, completed=index, description=f"trying {arm}")
            index += 1
            if not console.is_terminal and time.monotonic() - begun > QUIET_SECONDS:
                console.print(f"trying {arm}, {index} of {num_arms}", markup=False, highlight=False)

        yield tell


def _probe(
    loaded: Study, arm: str, settings: Mapping[str, Settings], stored: History, trains: bool
) -> Probe:
    """Returns an arm's probe, with the pace of earlier runs where there are any."""
    probe = probe_arm(loaded, arm, settings[arm])

    def pace(other: StoredStudy) -> Pace | None:
        return history.pace(probe, other)

    known = stored.first(pace)
    if known is None and trains:
        known = short_training(loaded, probe)
    return probe if known is None else replace(probe, pace=known)


def _arms_table(loaded: Study, probes: list[Probe]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("arm", overflow="fold")
    engine_column = ["engine"] if _engines_differ(probes) else []
    numbers = ["H", "params", "FLOPs", "updates", "tokens", "runs", "time"]
    for column in [*engine_column, *numbers]:
        table.add_column(column, justify="left" if column == "engine" else "right", no_wrap=True)
    by_arm = {probe.arm: probe for probe in probes}
    for condition in loaded.conditions:
        if condition:
            table.add_row(Text(condition, style="bold"))
        for arm in loaded.under(condition).arms:
            probe = by_arm[arm.key]
            engine = [probe.settings.engine] if engine_column else []
            name = Text(f"{' ' * bool(condition)}{arm.name}")
            table.add_row(name, *engine, *_cells(probe, arm.settings))
    return table


def _engines_differ(probes: list[Probe]) -> bool:
    """Returns whether the table has a column of engines; else the line below tells the one."""
    return len({probe.settings.engine for probe in probes}) > 1


def _cells(probe: Probe, asked: Settings) -> list[str]:
    """Returns an arm's numbers; a star is at what was solved."""
    size_mark = "*" if asked.hidden_size is None else ""
    updates_mark = "" if asked.budget.seconds is None else "*"
    packs = probe.packs
    kinds = (
        (packs.trials, packs.more_trials),
        (packs.finalists, ()),
        (packs.replicates, packs.more),
    )
    num_runs = "+".join(
        str(sum(sizes)) + (f"-{sum(sizes) + sum(more)}" if more else "")
        for sizes, more in kinds
        if sizes
    )
    return [
        f"{probe.hidden_size:,}{size_mark}",
        f"{probe.num_parameters:,}",
        _short(probe.flops_per_token),
        f"{probe.num_updates:,}{updates_mark}",
        _short(round(probe.num_tokens)),
        num_runs,
        duration(probe.seconds),
    ]


def _legend(loaded: Study, probes: list[Probe]) -> list[str]:
    """Returns what the columns hold, and what the starred numbers are solved for."""
    solved: dict[str, None] = {}
    for settings in (arm.settings for arm in loaded.arms):
        for name in ("num_parameters", "flops_per_token"):
            number = getattr(settings, name)
            if number is not None:
                solved[f"H for {name} = {number:,}"] = None
        seconds = settings.budget.seconds
        if seconds is not None:
            solved[f"updates for {seconds:g} s of a run alone"] = None
    columns = []
    if not _engines_differ(probes):
        columns.append(f"engine: {probes[0].settings.engine}, on {_machine(probes[0])}")
    columns.append("FLOPs: forward, per token")
    if loaded.tune:
        kinds = ["trials", "replicates"]
        if loaded.tune.finalists > 1:
            kinds.insert(1, "finalists")
        columns.append(f"runs: {' + '.join(kinds)}")
    return ["; ".join(columns), *(["* solved: " + "; ".join(solved)] if solved else [])]


def _machine(probe: Probe) -> str:
    if probe.device != "cpu":
        return probe.device
    return f"{probe.threads} thread{'s' * (probe.threads > 1)}"


def _costs(loaded: Study, probes: list[Probe]) -> list[Row]:
    num_runs = sum(probe.num_runs for probe in probes)
    num_more = sum(probe.num_more_runs for probe in probes)
    training = sum(probe.seconds for probe in probes)
    more = sum(probe.more_seconds for probe in probes)
    timing = _timing_seconds(loaded, probes)
    at_most = f" to {num_runs + num_more:,}" if num_more else ""
    longest = f" to {duration(training + more + timing)}" if num_more else ""
    about = "" if training + timing < 1 and not longest else "about "
    time_text = f"{about}{duration(training + timing)}{longest}, start-up and storing on top"
    rows = [Row("runs", f"{num_runs:,}{at_most}"), Row("time", time_text)]
    rows += [Row("  training", line) for line in _training(probes)]
    if loaded.tune is not None and _may_prune(loaded.version, loaded.tune):
        rows.append(Row("", f"less where the {loaded.tune.pruner} pruner ends trials early"))
    rows.append(Row("  timing", f"{duration(timing)} at least" if timing else "none"))
    return [*rows, *_disk_rows(loaded, probes)]


def _may_prune(version: int, tune: Tune) -> bool:
    """Returns whether a trial may end early; the points that all arms share never do."""
    if tune.pruner == "none":
        return False
    num_trials = tune.at_most or tune.num_trials
    return version == 1 or (tune.sampler != "grid" and num_start_up(tune) < num_trials)


def _training(probes: list[Probe]) -> Iterator[str]:
    """Yields the time of training by where its estimate is from."""
    seconds: dict[str, float] = defaultdict(float)
    arms: dict[str, list[str]] = defaultdict(list)
    for probe in probes:
        seconds[probe.pace.source] += probe.seconds
        arms[probe.pace.source].append(probe.arm)
    for source, names in arms.items():
        whose = f": {', '.join(names)}" if len(arms) > 1 else ""
        yield f"{duration(seconds[source])} {source}{whose}"


def _timing_seconds(loaded: Study, probes: list[Probe]) -> float:
    phase = loaded.measure.runtime
    if phase is None:
        return 0.0
    num_sizes = sum(len({1, study_pack_size(loaded, probe.settings)}) for probe in probes)
    return phase.rounds * phase.seconds * len(MODES) * num_sizes


def _disk_rows(loaded: Study, probes: list[Probe]) -> list[Row]:
    room = disk(loaded, probes)
    total = _bytes(room.databases + room.artifacts + room.models)
    files = f"{_bytes(room.artifacts)} curves, samples and other files"
    parts = [f"{_bytes(room.databases)} databases", files]
    if room.models:
        parts.append(f"{_bytes(room.models)} models")
    return [
        Row("disk", f"about {total}, its reports on top"),
        Row("", ", ".join(parts)),
        Row("", f"checkpoints of up to {_bytes(room.checkpoints)} while it runs"),
    ]


def _print(console: Console, rows: Sequence[Row]) -> None:
    """Prints rows under one another, after an empty line.

    The values of successive rows stand in columns.
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
            digits = 4 if count >= 999.5 * size else 3
            return f"{count / size:.{digits}g}{unit}"
    return str(count)


def _bytes(count: int) -> str:
    """Returns a size to a tenth of a megabyte, or of a gigabyte."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Returns a duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "<1 s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
