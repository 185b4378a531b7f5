"""The commands that write what came out for others."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Folder, Set, Storage, StudyName, Tracking, argument, option
from harness.cli.reading import read
from harness.store.configuration import locate


class Format(StrEnum):
    """The file format of an export."""

    csv = "csv"
    parquet = "parquet"


def export(
    study: StudyName,
    place: Annotated[
        Path | None,
        argument("FOLDER", "The same as --out FOLDER. (default: what --out names)"),
    ] = None,
    out: Annotated[
        Path | None,
        option(metavar="FOLDER", help="Folder to which the tables are written. (default: FOLDER)"),
    ] = None,
    set_: Set = None,
    folder: Folder = None,
    tracking: Tracking = None,
    storage: Storage = None,
    format_: Annotated[
        Format | None,
        option("--format", help="Format of the tables. (default: both formats)"),
    ] = None,
) -> None:
    """Write runs, curves, timings and verdict of a study as tables."""
    if (out is None) == (place is None):
        got = "none" if out is None else "two"
        raise typer.BadParameter(
            f"one folder must be named, but got {got}. Write --out FOLDER.", param_hint="--out"
        )
    locations = locate(study, folder, tracking, storage)
    overrides = read(study, set_, locations)
    from harness.results import export

    place = out or place
    assert place is not None  # one of the two is given
    formats = export.FORMATS if format_ is None else (format_.value,)
    for path in export.export(study, overrides, locations, place, formats):
        typer.echo(path)
