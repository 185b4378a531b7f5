"""The arguments and options that several commands have in common."""

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli import completion
from harness.store import configuration
from harness.store.locations import STORAGE, TRACKING

HERE = Path(".")
REPEATED = "The option may be repeated."


def option(*names: str, help: str, **rest: Any) -> Any:
    """Returns an option whose help text states its default itself, in parentheses."""
    return typer.Option(*names, help=help, show_default=False, **rest)


def argument(metavar: str, help: str, **rest: Any) -> Any:
    """Returns an argument that help and errors call ``metavar``."""
    return typer.Argument(metavar=metavar, help=help, show_default=False, **rest)


def places(key: str) -> str:
    """Returns where a value is looked for that no option says, in words."""
    return f"{configuration.variable(key)}, else {configuration.FILE}, else"


StudyName = Annotated[
    str,
    argument(
        "STUDY",
        "Path of the study file (YAML), or name of the study in MLflow.",
        autocompletion=completion.studies,
    ),
]
StudyOrAll = Annotated[
    str | None,
    argument(
        "STUDY",
        "Path of the study file (YAML), or name of the study in MLflow. (default: all studies)",
        autocompletion=completion.studies,
    ),
]
Set = Annotated[
    list[str] | None,
    option(
        "--set",
        metavar="FIELD=VALUE",
        help="Value of a field that overrides the study file, such as fix.hidden_size=128. "
        f"{REPEATED} (default: the study as it is in the file)",
    ),
]
Folder = Annotated[
    Path | None,
    option(
        metavar="FOLDER",
        help="Folder that holds mlflow.db, optuna.db, artifacts/ and checkpoints/. "
        f"(default: {places('folder')} the working directory)",
    ),
]
Tracking = Annotated[
    str | None,
    option(
        metavar="URI",
        help="Address of the MLflow store: a SQLite file in the folder, a server (http://...) or "
        f"a database (postgresql://...). (default: {places('tracking')} {TRACKING})",
    ),
]
Storage = Annotated[
    str | None,
    option(
        metavar="URL",
        help="Address of the Optuna storage: a SQLite file in the folder, any SQLAlchemy URL, or "
        f"a journal (journal:///FILE). (default: {places('storage')} {STORAGE})",
    ),
]
Force = Annotated[
    bool,
    option(
        "--force",
        help="Accept a design that cannot reach its own significance threshold. "
        "(default: such a design is refused)",
    ),
]
ReportFolder = Annotated[
    Path | None,
    option(
        "--out",
        metavar="FOLDER",
        help="Folder for the whole report: HTML, Markdown, LaTeX, CSV and figures. "
        "(default: the report is printed and not written)",
    ),
]
Verbose = Annotated[
    bool,
    option(
        "--verbose",
        help="Print everything that the report tells: sentences, costs, tuning. "
        "(default: the verdicts, the warnings, and the answer)",
    ),
]
OwnCells = Annotated[
    list[Path] | None,
    option(
        "--file",
        metavar="FILE",
        help=f"Path of a Python file with cells of your own. {REPEATED} (default: no file)",
    ),
]
Run = Annotated[
    str,
    argument(
        "RUN",
        "Name of a run: STUDY:ARM:SEED or STUDY:CONDITION/ARM:SEED, or the id of an MLflow "
        "run. ARM@1 means the second repeat of an arm's search; the first repeat has no "
        "mark.",
    ),
]
RunCells = Annotated[
    list[Path] | None,
    option(
        "--file",
        metavar="FILE",
        help=f"Path of a Python file with cells of your own. {REPEATED} "
        "(default: the files that the study named)",
    ),
]
ChangedCell = Annotated[
    bool,
    option(
        "--changed-cell",
        help="Accept a cell whose definition has changed since the run. "
        "(default: such a cell is refused)",
    ),
]
