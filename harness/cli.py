"""Commands and exit codes, no logic.

What a command needs is imported when it runs: ``--help`` loads no torch.
"""

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.store.locations import STORAGE, TRACKING, Locations

app = typer.Typer(
    help="A bench for ablating recurrent cells: perplexity and runtime of every arm, with a verdict that stands up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StudyFile = Annotated[str, typer.Argument(metavar="STUDY", help="The study's YAML file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Overrides a field: fix.hidden_size=128. Repeatable."),
]
Folder = Annotated[
    Path, typer.Option(help="Where mlflow.db, optuna.db, artifacts/ and checkpoints/ live.")
]
Tracking = Annotated[
    str, typer.Option(help="MLflow's store: a SQLite file in the folder, or a server's http://...")
]
Storage = Annotated[
    str, typer.Option(help="Optuna's storage: a SQLite file in the folder, or any SQLAlchemy URL.")
]

Force = Annotated[
    bool, typer.Option(help="Accept a design that cannot reach its own threshold.")
]

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it; typer ends with it."""
HERE = Path(".")


class Format(StrEnum):
    """Of an export."""

    csv = "csv"
    parquet = "parquet"


@app.command()
def run(
    study: StudyFile,
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
    force: Force = False,
    new: Annotated[
        bool, typer.Option(help="Put an earlier study of this name aside and start afresh.")
    ] = False,
) -> None:
    """Run what a study still lacks: tune, replicate, measure runtime; print the verdict."""
    import psutil

    from harness.runner import launch

    launch.run(
        study,
        overrides=tuple(set_ or ()),
        locations=Locations(folder, tracking, storage),
        force=force,
        new=new,
        started=psutil.Process().create_time(),
    )


@app.command()
def plan(
    study: StudyFile,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
    force: Force = False,
) -> None:
    """Write what a study lacks next as a file for `python -m harness.train` on another machine."""
    from harness.runner import exchange

    locations, overrides = Locations(folder, tracking, storage), tuple(set_ or ())
    typer.echo(
        exchange.write_plan(study, file, overrides=overrides, locations=locations, force=force)
    )


@app.command()
def ingest(
    study: StudyFile,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The records of a worker.")],
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
) -> None:
    """Store the records that `python -m harness.train` wrote on another machine."""
    from harness.runner import exchange

    locations, overrides = Locations(folder, tracking, storage), tuple(set_ or ())
    typer.echo(exchange.ingest_records(study, file, overrides=overrides, locations=locations))


@app.command()
def resolve(study: StudyFile, set_: Set = None) -> None:
    """Print a study file with every default filled in."""
    from harness import study as studies

    resolved = studies.load(study, tuple(set_ or ())).resolved()
    typer.echo(studies.dump(resolved), nl=False)


@app.command()
def check(
    study: StudyFile,
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    pilot: Annotated[
        bool, typer.Option(help="Time arms without earlier runs by two seconds of training.")
    ] = False,
    force: Force = False,
) -> None:
    """Check a study: its problems, two updates of every arm, its costs, what it can show."""
    from rich.console import Console

    from harness.preflight import check

    locations = Locations(folder, tracking)
    check.check(
        study,
        tuple(set_ or ()),
        locations=locations,
        trains=pilot,
        force=force,
        console=Console(),
    )


cells_app = typer.Typer(
    help="List the cells; show one; test your own.", invoke_without_command=True
)
app.add_typer(cells_app, name="cells")
OwnCells = Annotated[
    list[Path] | None,
    typer.Option("--file", help="A Python file with cells of your own. Repeatable."),
]
HiddenSize = Annotated[int, typer.Option(min=1, help="H of the columns of parameters and FLOPs.")]
NumTokens = Annotated[int, typer.Option(min=1, help="V of the same.")]


@cells_app.callback()
def cells(
    context: typer.Context,
    file: OwnCells = None,
    hidden_size: HiddenSize = 256,
    num_tokens: NumTokens = 28,
) -> None:
    """List the cells; show one; test your own."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from harness import catalog

    Console().print(catalog.cells_table([str(f) for f in file or ()], hidden_size, num_tokens))


@cells_app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="CELL", help="The cell's name.")],
    file: OwnCells = None,
    hidden_size: HiddenSize = 256,
    num_tokens: NumTokens = 28,
) -> None:
    """Show a cell's equations, its source, what sets it apart, what it costs, and the engine that
    runs it.
    """
    from harness import catalog

    typer.echo(catalog.cell_page(name, [str(f) for f in file or ()], hidden_size, num_tokens))


@cells_app.command()
def test(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A Python file with cells of your own.")
    ],
) -> None:
    """Run the contract suite on the cells of a file, the same that the registry passes; exit code 1
    where one fails.
    """
    import cells as registry
    from harness import contract

    failed = False
    for name in registry.load_file(file):
        found = contract.check(registry.find(name))
        failed |= bool(found)
        typer.echo(
            f"{name}: " + (f"fails {len(found)} of its checks" if found else "passes the contract")
        )
        for finding in found:
            typer.echo(f"  {finding.check}: {finding.message}")
    if failed:
        raise typer.Exit(1)


@app.command()
def report(
    study: StudyFile,
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write it as HTML, Markdown, LaTeX and CSV into this folder, with its figures."
        ),
    ] = None,
) -> None:
    """Print a study's table and verdict as far as it has come."""
    from rich.console import Console

    from harness import catalog

    catalog.report(study, tuple(set_ or ()), Locations(folder, tracking, storage), out, Console())


@app.command()
def status(
    study: StudyFile,
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
) -> None:
    """Say how many trials and replicates of each arm have ended, and how."""
    from rich.console import Console

    from harness import catalog

    Console().print(
        catalog.status_table(study, tuple(set_ or ()), Locations(folder, tracking, storage))
    )


@app.command()
def export(
    study: StudyFile,
    out: Annotated[Path, typer.Argument(help="Folder of runs, curves, timings and verdict.")],
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="One of them; both by default.", show_default=False),
    ] = None,
) -> None:
    """Write a study's runs, curves, timings and verdict, for pandas."""
    from harness.results import export

    locations = Locations(folder, tracking, storage)
    formats = export.FORMATS if format_ is None else (format_.value,)
    for path in export.export(study, tuple(set_ or ()), locations, out, formats):
        typer.echo(path)


@app.command()
def ui(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="A study's name: opens its page.")
    ] = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    port: Annotated[int | None, typer.Option(help="A port; a free one by default.")] = None,
) -> None:
    """Open the MLflow UI on this machine; Ctrl-C ends it."""
    from harness.store import server as user_interface

    locations = Locations(folder, tracking)
    user_interface.serve(locations.tracking_uri, locations.artifacts, study, port, typer.echo)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)  # its words are read, --help too, where `python -m harness.bench` reads them
def bench(context: typer.Context) -> None:
    """Measure what cells cost beside torch.nn and the published loop; `harness bench --help`."""
    from harness.bench import command

    typer.echo(command.run(context.args))


@app.command()
def schema() -> None:
    """Print the JSON schema of a study file."""
    import json

    from harness import study

    typer.echo(json.dumps(study.json_schema(), indent=2))


@app.command()
def sample(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="STUDY:ARM:SEED, or the id of an MLflow run. ARM@1 is the second repeat; the first has no mark.",
        ),
    ],
    prefix: Annotated[list[str], typer.Option(help="A text to continue. Repeatable.")],
    length: Annotated[int, typer.Option(help="Tokens to append.")] = 50,
    temperature: Annotated[
        float | None, typer.Option(help="Of the draws; the likeliest token without.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    file: OwnCells = None,
    changed_cell: Annotated[
        bool, typer.Option(help="Take a cell whose source was changed since.")
    ] = False,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
) -> None:
    """Continue texts with the best parameters of a finished run."""
    from harness.results import trained_models

    model = trained_models.load_model(
        run, folder, tracking, cell_files=file or (), changed_cell=changed_cell
    )
    for text in model.samples(prefix, length, temperature, seed):
        typer.echo(text)


@app.command()
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="A B ...",
            help="STUDY:ARM or STUDY:CONDITION/ARM each; with :SEED, or as an MLflow id, a single run. ARM@1 is the "
            "second repeat of its search; the first has no mark.",
            show_default=False,
        ),
    ],
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
) -> None:
    """Compare arms or runs that are in MLflow, also of different studies; the first is the
    baseline.
    """
    from rich.console import Console

    from harness.results import compare

    compare.compare(names, Locations(folder, tracking)).terminal(Console())


@app.command()
def clean(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="The study's name in MLflow.")],
    arm: Annotated[
        str | None, typer.Option(help="Only what is of this arm: ARM or CONDITION/ARM.")
    ] = None,
    superseded: Annotated[
        bool, typer.Option(help="Replicates of settings that were replaced.")
    ] = False,
    models: Annotated[bool, typer.Option(help="The best parameters that runs kept.")] = False,
    checkpoints: Annotated[bool, typer.Option(help="Checkpoints of unfinished runs.")] = False,
    failed: Annotated[
        bool, typer.Option(help="Replicates that failed; the next run trains them again.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without, what would go is listed.")
    ] = False,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
) -> None:
    """Remove a study or an arm with all that is of it, or only what the options name; lists it
    first.
    """
    from harness.results import clean

    locations = Locations(folder, tracking, storage)
    asked = {
        "superseded": superseded,
        "models": models,
        "checkpoints": checkpoints,
        "failed": failed,
    }
    kinds = [kind for kind in clean.KINDS if asked[kind]]
    for line in clean.clean(study, locations, arm, kinds, yes=yes):
        typer.echo(line)


def main() -> None:
    """The program: exit code 0, 2 for what the person can mend, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED and sys.argv[1:2] == ["run"]:
            typer.echo("interrupted; the same command, without --new, goes on from here", err=True)
        raise
    except (ValueError, OSError, RuntimeError) as error:
        if not _is_ours(error):
            raise
        typer.echo(str(error), err=True)
        sys.exit(2)


def _is_ours(error: Exception) -> bool:
    """Whether an error is written for the person: one of this project's own classes, or the
    system's on a file.
    """
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in (
        "harness",
        "cells",
    )


if __name__ == "__main__":
    main()
