"""Commands and exit codes, no logic.

What a command needs is imported when it runs: ``--help`` loads no torch.
"""

import gc
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.store.locations import STORAGE, TRACKING, Locations

app = typer.Typer(
    help="Compare recurrent cells in perplexity and speed. A study file asks a question; "
    "`harness run STUDY` tunes, replicates and times its arms, and prints a verdict for each. "
    "`harness COMMAND --help` describes a command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # click's plain text: twice as wide at 80 columns, twice as fast
)


def _option(*names: str, help: str, **rest: Any) -> Any:
    """Returns an option whose help text states its default itself, in parentheses."""
    return typer.Option(*names, help=help, show_default=False, **rest)


def _argument(metavar: str, help: str) -> Any:
    """Returns an argument that help and errors call ``metavar``."""
    return typer.Argument(metavar=metavar, help=help, show_default=False)


REPEATED = "The option may be repeated."
StudyFile = Annotated[str, _argument("STUDY", "Path of the study file (YAML).")]
StoredStudy = Annotated[
    str, _argument("STUDY", "Path of the study file (YAML), or name of the study in MLflow.")
]
Set = Annotated[
    list[str] | None,
    _option(
        "--set",
        metavar="FIELD=VALUE",
        help="Value of a field that overrides the study file, such as fix.hidden_size=128. "
        f"{REPEATED} (default: the study as it is in the file)",
    ),
]
Folder = Annotated[
    Path,
    _option(
        metavar="FOLDER",
        help="Folder that holds mlflow.db, optuna.db, artifacts/ and checkpoints/. "
        "(default: the working directory)",
    ),
]
Tracking = Annotated[
    str,
    _option(
        metavar="URI",
        help="Address of the MLflow store: a SQLite file in the folder, or a server "
        f"(http://...). (default: {TRACKING})",
    ),
]
Storage = Annotated[
    str,
    _option(
        metavar="URL",
        help="Address of the Optuna storage: a SQLite file in the folder, or any SQLAlchemy "
        f"URL. (default: {STORAGE})",
    ),
]
Force = Annotated[
    bool,
    _option(
        "--force",
        help="Accept a design that cannot reach its own significance threshold. "
        "(default: such a design is refused)",
    ),
]

Verbose = Annotated[
    bool,
    _option(
        "--verbose",
        help="Print everything that the report tells: sentences, costs, tuning, whole warnings. "
        "(default: the verdicts, a line for each warning, and the answer)",
    ),
]

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it; typer ends with it."""
OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""Imports make hundreds of thousands of objects that stay; to search them slows every start."""
HERE = Path(".")


class Format(StrEnum):
    """The file format of an export."""

    csv = "csv"
    parquet = "parquet"


def _read(study: str, set_: list[str] | None) -> tuple[str, ...]:
    """Returns the overrides of a study, whose file is right if there is one.

    The file is read before a command imports what it works with, which takes seconds, so that
    whatever is wrong with it is said at once.

    Raises:
        StudyError: The file or an override is wrong.
    """
    from harness import study as studies

    overrides = tuple(set_ or ())
    if studies.is_file(study):
        studies.load(study, overrides)
    return overrides


@app.command()
def run(
    study: StudyFile,
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
    force: Force = False,
    new: Annotated[
        bool,
        _option(
            "--new",
            help="Rename an earlier study of this name, and start afresh. "
            "(default: continue the earlier study)",
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Tune, replicate and time the arms of a study; print a verdict.

    Only what the study still lacks is trained: a study that was interrupted goes on where it
    was, and a finished study trains nothing. The exit code is 1 if something is still missing
    at the end, because runs failed.
    """
    import psutil

    from harness.runner import launch

    report = launch.run(
        study,
        overrides=tuple(set_ or ()),
        locations=Locations(folder, tracking, storage),
        force=force,
        new=new,
        started=psutil.Process().create_time(),
        verbose=verbose,
    )
    if report.missing:
        raise typer.Exit(1)


@app.command()
def check(
    study: StudyFile,
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    pilot: Annotated[
        bool,
        _option(
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
    overrides = _read(study, set_)
    from rich.console import Console

    from harness.preflight import check

    locations = Locations(folder, tracking)
    check.check(
        study,
        overrides,
        locations=locations,
        trains=pilot,
        force=force,
        console=Console(),
    )


@app.command()
def resolve(study: StudyFile, set_: Set = None) -> None:
    """Print a study file with every default filled in."""
    from harness import study as studies

    resolved = studies.load(study, tuple(set_ or ())).resolved()
    typer.echo(studies.dump(resolved), nl=False)


@app.command()
def plan(
    study: StudyFile,
    file: Annotated[Path, _argument("FILE", "Path of the plan, which is written.")],
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
    force: Force = False,
) -> None:
    """Write the next runs of a study to a file, to train elsewhere.

    The other machine needs only torch and NumPy. Run `python -m harness.train FILE > RECORDS`
    there and `harness ingest STUDY RECORDS` here, and repeat until nothing is missing.
    """
    overrides = _read(study, set_)
    from harness.runner import exchange

    locations = Locations(folder, tracking, storage)
    typer.echo(
        exchange.write_plan(study, file, overrides=overrides, locations=locations, force=force)
    )


@app.command()
def ingest(
    study: StudyFile,
    file: Annotated[Path, _argument("RECORDS", "Path of the records that a worker wrote.")],
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
) -> None:
    """Store the records of runs that were trained elsewhere.

    `harness plan --help` describes how these records come about.
    """
    overrides = _read(study, set_)
    from harness.runner import exchange

    locations = Locations(folder, tracking, storage)
    typer.echo(exchange.ingest_records(study, file, overrides=overrides, locations=locations))


@app.command()
def status(
    study: StoredStudy,
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
) -> None:
    """Print how many runs of each arm have ended, and how they ended."""
    overrides = _read(study, set_)
    from rich.console import Console

    from harness.results import status

    locations = Locations(folder, tracking, storage)
    Console().print(status.status_table(study, overrides, locations))


@app.command()
def report(
    study: StoredStudy,
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
    out: Annotated[
        Path | None,
        _option(
            metavar="FOLDER",
            help="Folder for the whole report: HTML, Markdown, LaTeX, CSV and figures. "
            "(default: the report is printed and not written)",
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Print the tables and the verdict of a study, finished or not."""
    overrides = _read(study, set_)
    from rich.console import Console

    from harness.results import reports

    locations = Locations(folder, tracking, storage)
    reports.print_report(study, overrides, locations, out, Console(), verbose)


@app.command()
def compare(
    names: Annotated[
        list[str],
        _argument(
            "NAME",
            "Names of arms: STUDY:ARM or STUDY:CONDITION/ARM. Names of single runs: the same "
            "with :SEED at the end, or the id of an MLflow run. ARM@1 means the second repeat "
            "of an arm's search; the first repeat has no mark.",
        ),
    ],
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    verbose: Verbose = False,
) -> None:
    """Compare arms or runs in MLflow, also of different studies.

    The first name is the baseline. The tests are those of a study, and every setting in which
    the others differ from the baseline is listed.
    """
    from rich.console import Console

    from harness.results import compare

    compare.compare(names, Locations(folder, tracking)).terminal(Console(), verbose)


@app.command()
def export(
    study: StoredStudy,
    out: Annotated[Path, _argument("FOLDER", "Folder to which the tables are written.")],
    set_: Set = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
    format_: Annotated[
        Format | None,
        _option("--format", help="Format of the tables. (default: both formats)"),
    ] = None,
) -> None:
    """Write runs, curves, timings and verdict of a study as tables."""
    overrides = _read(study, set_)
    from harness.results import export

    locations = Locations(folder, tracking, storage)
    formats = export.FORMATS if format_ is None else (format_.value,)
    for path in export.export(study, overrides, locations, out, formats):
        typer.echo(path)


OwnCells = Annotated[
    list[Path] | None,
    _option(
        "--file",
        metavar="FILE",
        help=f"Path of a Python file with cells of your own. {REPEATED} (default: no file)",
    ),
]


@app.command()
def sample(
    run: Annotated[
        str,
        _argument(
            "RUN",
            "Name of a run: STUDY:ARM:SEED or STUDY:CONDITION/ARM:SEED, or the id of an MLflow "
            "run. ARM@1 means the second repeat of an arm's search; the first repeat has no "
            "mark.",
        ),
    ],
    prefix: Annotated[list[str], _option(metavar="TEXT", help=f"Text to continue. {REPEATED}")],
    length: Annotated[
        int, _option(metavar="N", help="Number of tokens to append. (default: 50)")
    ] = 50,
    temperature: Annotated[
        float | None,
        _option(
            metavar="T", help="Temperature of the draws. (default: always the likeliest token)"
        ),
    ] = None,
    seed: Annotated[int, _option(metavar="N", help="Seed of the draws. (default: 0)")] = 0,
    file: OwnCells = None,
    changed_cell: Annotated[
        bool,
        _option(
            "--changed-cell",
            help="Accept a cell whose definition has changed since the run. "
            "(default: such a cell is refused)",
        ),
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
def clean(
    study: Annotated[str, _argument("STUDY", "Name of the study in MLflow.")],
    arm: Annotated[
        str | None,
        _option(
            metavar="ARM",
            help="Arm to which the removal is confined: ARM or CONDITION/ARM. (default: all arms)",
        ),
    ] = None,
    superseded: Annotated[
        bool,
        _option(
            "--superseded",
            help="Remove replicates of settings that a longer search has replaced.",
        ),
    ] = False,
    models: Annotated[
        bool, _option("--models", help="Remove the best parameters that runs have kept.")
    ] = False,
    checkpoints: Annotated[
        bool, _option("--checkpoints", help="Remove checkpoints of unfinished runs.")
    ] = False,
    failed: Annotated[
        bool,
        _option(
            "--failed",
            help="Remove replicates that failed; the next `harness run` trains them again.",
        ),
    ] = False,
    yes: Annotated[
        bool,
        _option("--yes", help="Remove what is listed. (default: list it and remove nothing)"),
    ] = False,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    storage: Storage = STORAGE,
) -> None:
    """Remove a study, one of its arms, or only parts of them.

    What would be removed is listed, and is removed only with --yes. With --superseded, --models,
    --checkpoints or --failed only these parts are removed, otherwise the whole study or arm.
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


@app.command()
def ui(
    study: Annotated[
        str | None,
        _argument(
            "STUDY", "Name of a study in MLflow, whose page is shown. (default: all studies)"
        ),
    ] = None,
    folder: Folder = HERE,
    tracking: Tracking = TRACKING,
    port: Annotated[
        int | None, _option(metavar="N", help="Port of the server. (default: a free port)")
    ] = None,
) -> None:
    """Serve MLflow's pages on this machine until Ctrl-C."""
    from harness.store import server as user_interface

    locations = Locations(folder, tracking)
    user_interface.serve(locations.tracking_uri, locations.artifacts, study, port, typer.echo)


cells_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
app.add_typer(cells_app, name="cells")
HiddenSize = Annotated[
    int,
    _option(
        min=1,
        metavar="H",
        help="Hidden size for which parameters and FLOPs are counted. (default: 256)",
    ),
]
NumTokens = Annotated[
    int,
    _option(
        min=1,
        metavar="V",
        help="Vocabulary size for which parameters and FLOPs are counted. (default: 28)",
    ),
]


@cells_app.callback()
def cells(
    context: typer.Context,
    file: OwnCells = None,
    hidden_size: HiddenSize = 256,
    num_tokens: NumTokens = 28,
) -> None:
    """List all cells with their costs; show one cell; test your own."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from harness import catalog

    Console().print(catalog.cells_table([str(f) for f in file or ()], hidden_size, num_tokens))


@cells_app.command()
def show(
    name: Annotated[str, _argument("CELL", "Name of the cell.")],
    file: OwnCells = None,
    hidden_size: HiddenSize = 256,
    num_tokens: NumTokens = 28,
) -> None:
    """Show the equations, the source and the costs of a cell.

    The page also says in what the cell differs from its parent, and which engine runs it.
    """
    from harness import catalog

    typer.echo(catalog.cell_page(name, [str(f) for f in file or ()], hidden_size, num_tokens))


@cells_app.command()
def test(
    file: Annotated[Path, _argument("FILE", "Path of a Python file with cells of your own.")],
) -> None:
    """Test the cells of a file against the contract of all cells.

    The exit code is 1 if a cell fails.
    """
    import cells as registry
    from harness import contract

    has_failed = False
    for name in registry.load_file(file):
        violations = contract.check(registry.find(name))
        has_failed |= bool(violations)
        outcome = f"fails {len(violations)} of its checks" if violations else "passes the contract"
        typer.echo(f"{name}: {outcome}")
        for violation in violations:
            typer.echo(f"  {violation.check}: {violation.message}")
    if has_failed:
        raise typer.Exit(1)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)  # harness.bench reads the options itself, --help too
def bench(context: typer.Context) -> None:
    """Measure what cells cost beside torch.nn and a published loop."""
    from harness.bench import command

    typer.echo(command.run(context.args))


@app.command()
def schema() -> None:
    """Print the JSON schema of study files, for editors."""
    import json

    from harness import study

    typer.echo(json.dumps(study.json_schema(), indent=2))


def main() -> None:
    """Runs a command; the exit code is 2 for what a person can mend, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
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
    """Returns whether an error is written for the person.

    It is where its class is one of this project's, or the system's for a file.
    """
    from harness.training.messages import is_ours

    return isinstance(error, OSError) or is_ours(error)


if __name__ == "__main__":
    main()
