"""The report of a study as far as it has come, from the store alone."""

import dataclasses
from pathlib import Path

from rich.console import Console

from harness.report import Report, headline
from harness.report.assemble import stored_report, warnings_of
from harness.results.open import open_study
from harness.results.standing import standing
from harness.store.folders import take_files
from harness.store.kept import told_of_cells
from harness.store.locations import Locations
from harness.store.missing import missing_artifacts
from harness.store.reader import StudyReader


def print_report(
    study: str,
    overrides: tuple[str, ...],
    locations: Locations,
    out: Path | None,
    console: Console,
    verbose: bool = False,
) -> None:
    """Prints a study's report, and writes its files where a folder is given.

    Args:
        study: Its YAML file, or its name in the store.
        overrides: As ``harness run`` was given them.
        locations: Where it is stored.
        out: The folder of the files, made where it is not there; None: nothing is written.
        console: Where the report is printed, and where its files are.
        verbose: Print the whole report, not the verdicts alone, and the path of every file.

    Raises:
        FolderError: No file can be made in ``out``.
        ValueError: As :func:`harness.results.open.open_study`.
    """
    loaded, reader = open_study(study, overrides, locations)
    if out is not None:
        take_files(out, "out", "Name another with --out.")
    if (lost := missing_artifacts(reader)) is not None:
        console.print(lost, style="yellow", markup=False, highlight=False)
    warnings = [*warnings_of(loaded, reader.notes()), *told_of_cells(loaded)]
    report = _with_standing(stored_report(loaded, reader, warnings), reader, locations)
    if out is not None:
        write(report, out, console, verbose)
    report.terminal(console, verbose)


def write(report: Report, out: Path, console: Console, verbose: bool) -> None:
    """Writes a report's files into a folder, and prints where they are: all where ``verbose``."""
    paths = report.write(out)
    num_more = len(paths) - 1
    noun = "file" if num_more == 1 else "files"
    shown = paths if verbose else [f"{paths[0]}  is written, with {num_more} more {noun}"]
    for path in shown:
        console.print(f"{path}", markup=False, highlight=False, soft_wrap=True)


def _with_standing(report: Report, reader: StudyReader, locations: Locations) -> Report:
    """Returns a report that says whether what is missing is being trained."""
    if not report.missing:
        return report
    is_running, told = standing(reader, locations)
    answer = headline.while_running(report.answer) if is_running else report.answer
    return dataclasses.replace(report, answer=answer, standing=told)
