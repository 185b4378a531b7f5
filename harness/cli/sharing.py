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
    out: Annotated[Path, argument("FOLDER", "Folder to which the tables are written.")],
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
    locations = locate(study, folder, tracking, storage)
    overrides = read(study, set_, locations)
    from harness.results import export

    formats = export.FORMATS if format_ is None else (format_.value,)
    for path in export.export(study, overrides, locations, out, formats):
        typer.echo(path)
