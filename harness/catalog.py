"""What the registry and the books hold, listed: cells, status, report, export."""

import inspect
import re
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

import cells
from cells.registry import PRESETS
from harness import engine, study
from harness.bench.classes import cell_class
from harness.engine.cpu import compiler
from harness.engine.tracing.trace import untraceable
from harness.model.network import single_layer
from harness.report import arm_results
from harness.runner import scheduler
from harness.store.locations import Locations
from harness.store.tracker import Tracker, experiments, sqlite_path


class NothingError(ValueError):
    """There is nothing yet to list."""


def cells_table(files: list[str], hidden_size: int, num_tokens: int) -> Table:
    """Returns the registry with costs at one size, of a language model with one bias a gate."""
    for path in files:
        cells.load_file(path)
    caption = (
        f"H = {hidden_size}, V = {num_tokens}, biases 1; kFLOPs: thousands, forward, per token. Class: a pointwise "
        "after one round of products, ar the same with a reduction over H, b products that wait for others, e no "
        f"recurrent product, c none and linear in the state. {engines_line()} "
        f"Also: {'; '.join(map(preset_line, PRESETS))}"
    )
    table = Table(
        box=None, caption=caption, caption_justify="left", padding=(0, 1, 0, 0), header_style="bold"
    )
    for column in ("cell", "class", "gates", "params", "kFLOPs", "source"):
        is_number = column in ("gates", "params", "kFLOPs")
        table.add_column(
            column, justify="right" if is_number else "left", no_wrap=column != "source"
        )
    for name in cells.names():
        cell = cells.find(name)
        arch = single_layer(cell, num_tokens, hidden_size)
        counts = (len(cell.gates), arch.num_parameters(), round(arch.flops_per_token() / 1000))
        source = citation(cell) + (f" = nn.{cell.reference[0]}" if cell.reference else "")
        table.add_row(name, cell_class(cell), *(f"{count:,}" for count in counts), source)
    return table


def preset_line(name: str) -> str:
    """Returns what a preset stands for, as ``irnn = rnn-relu with initialization: identity``."""
    cell, settings = PRESETS[name]
    return f"{name} = {cell}" + "".join(
        f" with {field}: {value}" for field, value in settings.items()
    )


def engines_line() -> str:
    """Returns which engines run which cells on a CPU; nothing is compiled."""
    found = [cells.find(name) for name in cells.names()]
    others = [c.name for c in found if untraceable(c)]
    scanned = [c.name for c in found if engine.get("scan").refusal(c, "cpu", "float32") is None]
    cpu = (
        f"the engine cpu runs all but {', '.join(others)}"
        if others
        else "the engine cpu runs all of them"
    )
    cpu += "" if compiler.find() else ", once there is a C++ compiler"
    return f"On a CPU {cpu}; scan runs {', '.join(scanned)}; reference runs all."


def citation(cell: type[cells.Cell]) -> str:
    """Returns who published a cell and when, shortly, from the entry ``Source:`` of its
    docstring.
    """
    source = " ".join(
        (cell.__doc__ or "").partition("Source:")[2].partition("Reference:")[0].split()
    )
    authors, _, rest = source.partition(', "')
    year = re.search(r'", (\d{4})', f'"{rest}')
    first = re.split(r",| &| et al", authors)[0]
    return f"{first} {year.group(1)}" if year else ""


def cell_page(name: str, files: list[str], hidden_size: int, num_tokens: int) -> str:
    """Returns a cell's equations and declarations, its costs at one size, and the engine that runs
    it on a CPU.

    Raises:
        UnknownCell: There is none of that name.
    """
    for path in files:
        cells.load_file(path)
    cell = cells.find(PRESETS[name][0] if name in PRESETS else name)
    arch = single_layer(cell, num_tokens, hidden_size)
    chosen, notes = engine.resolve([cell], "cpu", "float32")
    lines = {
        "class": cell_class(cell),
        "gates": " ".join(cell.gates),
        "state": " ".join(cell.state),
        "input": "read by the step itself: embedding_size must be hidden_size"
        if cell.reads_input
        else "multiplied",
        "products": "; ".join(
            f"{product} -> {' '.join(fed)}" for product, fed in cell.recurrent_products().items()
        ),
        "vectors": " ".join(cell.vectors),
        "forget gates": " ".join(cell.forget_gates),
        "parameters": f"{arch.num_parameters():,} at H = {hidden_size}, V = {num_tokens}, one bias a gate",
        "FLOPs": f"{arch.flops_per_token():,} forward, per token",
        "engine": "; ".join([f"{chosen} on a CPU in float32", *notes]),
    }
    width = max(map(len, lines))
    listed = [f"{key:<{width}}  {value or 'none'}" for key, value in lines.items()]
    title = preset_line(name) if name in PRESETS else name
    return "\n".join([title, "", inspect.cleandoc(cell.__doc__ or ""), "", *listed])


def open_books(
    path: str, overrides: tuple[str, ...], locations: Locations
) -> tuple[study.Study, Tracker]:
    """Returns a study and its books.

    Raises:
        NothingError: The study was never run there.
        IdentityError: What was run there under this name is another study.
    """
    loaded = study.load(path, overrides)
    file = sqlite_path(locations.tracking_uri)
    if (file is not None and not file.exists()) or loaded.name not in experiments(
        locations.tracking_uri
    ):
        raise NothingError(
            f"study: must have been run, but {loaded.name!r} is not in {locations.tracking_uri}. "
            f"Run it: harness run {path}"
        )
    tracker = Tracker(locations.tracking_uri, loaded.name, locations.artifacts)
    scheduler.check_identity(loaded, tracker, locations)
    return loaded, tracker


def status_table(path: str, overrides: tuple[str, ...], locations: Locations) -> Table:
    """Returns how many runs of each arm and phase have ended, and how."""
    loaded, tracker = open_books(path, overrides, locations)
    runs = tracker.runs()
    table = Table(
        box=box.SIMPLE_HEAD,
        title=loaded.name,
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    has_conditions = any(loaded.conditions)
    if has_conditions:
        table.add_column("condition")
    for column in (
        "arm",
        "phase",
        "wanted",
        "finished",
        "diverged",
        "pruned",
        "failed",
        "unfinished",
    ):
        table.add_column(column, justify="left" if column in ("arm", "phase") else "right")
    repeats = arm_results.num_repeats(loaded)
    for arm in loaded.arms:
        own = runs[(runs["arm"] == arm.name) & (runs["condition"] == arm.condition)]
        num_seeds = arm_results.num_seeds(
            loaded.under(arm.condition), runs[runs["condition"] == arm.condition]
        )
        wanted = {"trial": loaded.tune.num_trials if loaded.tune else 0, "replicate": num_seeds}
        for phase, count in wanted.items():
            states = own.loc[own["phase"] == phase, "state"].value_counts()
            counts = [
                int(states.get(state, 0))
                for state in ("finished", "diverged", "pruned", "failed", "running")
            ]
            texts = (arm.name, phase, str(repeats * count), *(str(n) if n else "" for n in counts))
            table.add_row(*([arm.condition] if has_conditions else []), *texts)
    return table


def report(
    path: str, overrides: tuple[str, ...], locations: Locations, out: Path | None, console: Console
) -> None:
    """Prints the report, and writes its files where a folder is given."""
    loaded, tracker = open_books(path, overrides, locations)
    warnings = scheduler.warnings_of(loaded, tracker)
    made = scheduler.build_report(
        loaded, tracker.runs(), tracker.curves(), tracker.timings(), warnings
    )
    made.terminal(console)
    if out is not None:
        for written in made.write(out):
            console.print(f"{written}", highlight=False)
