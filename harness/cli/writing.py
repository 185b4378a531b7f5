"""The commands that help to write a study: init, check, resolve, schema."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    HERE,
    Folder,
    Force,
    Set,
    StudyName,
    Tracking,
    argument,
    option,
)
from harness.cli.reading import read
from harness.store.configuration import decisions, locate


def init(
    name: Annotated[
        str | None,
        argument("NAME", "Name of the study or of the cell. (default: quickstart, or my-cell)"),
    ] = None,
    cell: Annotated[
        bool,
        option(
            "--cell",
            help="Write a file with a cell of your own and its test. (default: write a study)",
        ),
    ] = False,
    from_: Annotated[
        str | None,
        option(
            "--from",
            metavar="NAME",
            help="Write a copy of this shipped cell, to change an equation of it, and its test; or "
            "a copy of this shipped study. (default: a study with comments; with --cell, a small "
            "example)",
        ),
    ] = None,
    folder: Annotated[
        Path,
        option(
            metavar="FOLDER",
            help="Folder in which the files are written. (default: the working directory)",
        ),
    ] = HERE,
) -> None:
    """Write a study that runs, or a cell of your own.

    Every line of the study has a comment that says what it does, and what else could stand there.
    No file is overwritten.
    """
    from harness import scaffold
    from harness.study import absent

    is_study = not cell and (from_ is None or from_ in absent.shipped())
    write = scaffold.write_study if is_study else scaffold.write_cell
    for line in write(name, folder, from_):
        typer.echo(line)


def check(
    study: StudyName,
    set_: Set = None,
    folder: Folder = None,
    tracking: Tracking = None,
    pilot: Annotated[
        bool,
        option(
            "--pilot",
            help="Train every arm that has no earlier runs for two seconds, to estimate its "
            "time. (default: estimate from the updates of the check)",
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Report what is wrong with a study, what it costs and can show.

    All problems are reported at once. Two updates of every arm are then run, costs in time and
    on disk are estimated, and the smallest difference that the design can show is stated.
    """
    locations = locate(study, folder, tracking)
    overrides = read(study, set_, locations, trains=True)
    from rich.console import Console

    from harness.preflight import check

    for line in decisions(study, folder, tracking):
        typer.echo(line)
    check.check(
        study,
        overrides,
        locations=locations,
        trains=pilot,
        force=force,
        console=Console(),
    )


def resolve(
    study: StudyName, set_: Set = None, folder: Folder = None, tracking: Tracking = None
) -> None:
    """Print a study file with every default filled in."""
    from harness import study as studies
    from harness.store.kept import load_study

    loaded = load_study(study, tuple(set_ or ()), locate(study, folder, tracking))
    typer.echo(studies.dump(loaded.resolved()), nl=False)


def schema() -> None:
    """Print the JSON schema of study files, for editors."""
    import json

    from harness import study

    typer.echo(json.dumps(study.json_schema(), indent=2))
