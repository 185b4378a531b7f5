"""What the books and the registry hold, listed: cells, status, report, export."""

import json
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

import cells
from harness import driver, study, track
from harness.model import Architecture
from harness.places import Places


class NothingError(ValueError):
    """There is nothing yet to list."""


def cells_table(files: list[str], hidden_size: int, num_tokens: int) -> Table:
    """Returns the registry with costs at one size, of a language model with one bias a gate."""
    for path in files:
        cells.load_file(path)
    caption = f"H = {hidden_size}, V = {num_tokens}, biases 1; FLOPs are forward, per token"
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", pad_edge=False)
    table.add_column("cell", no_wrap=True)
    for column in ("gates", "products", "parameters", "FLOPs"):
        table.add_column(column, justify="right")
    table.add_column("torch.nn")
    for name in cells.names():
        cell = cells.find(name)
        arch = Architecture(cell, num_tokens, num_tokens, hidden_size)
        counts = (len(cell.gates), len(cell.recurrent_products()), arch.num_parameters(), arch.flops_per_token())
        table.add_row(name, *(f"{count:,}" for count in counts), cell.reference[0] if cell.reference else "")
    return table


def open_books(path: str, overrides: tuple[str, ...], places: Places) -> tuple[study.Study, track.Tracker]:
    """Returns a study and its books.

    Raises:
        NothingError: The study was never run there.
        IdentityError: What was run there under this name is another study.
    """
    loaded = study.load(path, overrides)
    file = track.sqlite_path(places.tracking_uri)
    if (file is not None and not file.exists()) or loaded.name not in track.experiments(places.tracking_uri):
        raise NothingError(
            f"study: must have been run, but {loaded.name!r} is not in {places.tracking_uri}. "
            f"Run it: harness run {path}"
        )
    tracker = track.Tracker(places.tracking_uri, loaded.name, places.artifacts)
    driver.check_identity(loaded, tracker, places)
    return loaded, tracker


def status_table(path: str, overrides: tuple[str, ...], places: Places) -> Table:
    """Returns how many runs of each arm and phase have ended, and how."""
    loaded, tracker = open_books(path, overrides, places)
    runs = tracker.runs()
    table = Table(box=box.SIMPLE_HEAD, title=loaded.name, title_justify="left")
    for column in ("arm", "phase", "wanted", "finished", "diverged", "pruned", "failed", "unfinished"):
        table.add_column(column, justify="left" if column in ("arm", "phase") else "right")
    wanted = {"trial": loaded.tune.num_trials if loaded.tune else 0, "replicate": loaded.replicate.seeds}
    for arm in loaded.arms:
        for phase, count in wanted.items():
            states = runs.loc[(runs["arm"] == arm.name) & (runs["phase"] == phase), "state"].value_counts()
            counts = [int(states.get(state, 0)) for state in ("finished", "diverged", "pruned", "failed", "running")]
            table.add_row(arm.name, phase, str(count), *(str(n) if n else "" for n in counts))
    return table


def report(path: str, overrides: tuple[str, ...], places: Places, out: Path | None, console: Console) -> None:
    """Prints the report, and writes its files where a folder is given."""
    loaded, tracker = open_books(path, overrides, places)
    warnings = (tracker.note("warnings") or "").splitlines()
    made = driver.build_report(loaded, tracker.runs(), tracker.curves(), tracker.timings(), warnings)
    made.terminal(console)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in (("report.md", made.markdown()), ("report.html", made.html()), ("report.csv", made.csv())):
            (out / name).write_text(text, encoding="utf-8")
            console.print(f"{out / name}", highlight=False)


def export(path: str, overrides: tuple[str, ...], places: Places, out: Path) -> list[Path]:
    """Writes the books as CSV and returns the files; :func:`harness.frames.read_export` reads them.

    Parameters are columns ``params.NAME``, losses are in nats, samples JSON.
    """
    _, tracker = open_books(path, overrides, places)
    runs = tracker.runs()
    params = pd.json_normalize(runs.pop("params").tolist()).add_prefix("params.")
    runs["samples"] = [json.dumps(samples, ensure_ascii=False) for samples in runs["samples"]]
    out.mkdir(parents=True, exist_ok=True)
    tables = {"runs": pd.concat([runs, params], axis=1), "curves": tracker.curves(), "timings": tracker.timings()}
    for name, frame in tables.items():
        frame.to_csv(out / f"{name}.csv", index=False)
    (out / "warnings.txt").write_text(tracker.note("warnings") or "", encoding="utf-8")
    return [*(out / f"{name}.csv" for name in tables), out / "warnings.txt"]
