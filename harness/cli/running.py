"""The commands that run a study, here or elsewhere, and remove what it left."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    REPEATED,
    Folder,
    Force,
    Set,
    Storage,
    StudyName,
    StudyOrAll,
    Tracking,
    Verbose,
    argument,
    option,
    places,
)
from harness.cli.reading import read
from harness.store import configuration
from harness.store.configuration import locate

CLOCK_SECONDS = 0.001
"""How exactly a process's age is known: a clock is read in a thousandth of that."""


def run(
    study: StudyName,
    set_: Set = None,
    folder: Folder = None,
    tracking: Tracking = None,
    storage: Storage = None,
    force: Force = False,
    new: Annotated[
        bool,
        option(
            "--new",
            help="Rename an earlier study of this name, and start afresh. "
            "(default: continue the earlier study)",
        ),
    ] = False,
    verbose: Verbose = False,
    executor: Annotated[
        str | None,
        option(
            "--executor",
            metavar="KIND",
            help="Where packs train: inline, on the threads of this process, or ray, on a "
            f"Ray cluster. (default: {places('executor')} inline)",
        ),
    ] = None,
    executor_address: Annotated[
        str | None,
        option(
            "--executor-address",
            metavar="ADDRESS",
            help="Address of the Ray cluster: HOST:PORT, local for one of this machine alone, or "
            "auto for the one that this machine is part of. "
            f"(default: {places('executor_address')} auto)",
        ),
    ] = None,
) -> None:
    """Tune, replicate and time the arms of a study; print a verdict.

    Only what the study still lacks is trained: a study that was interrupted goes on where it
    was, and a finished study trains nothing. The exit code is 1 if something is still missing
    at the end, because runs failed.
    """
    from harness.runner import launch

    kind, address = configuration.executor(study, executor, executor_address)
    report = launch.run(
        study,
        overrides=tuple(set_ or ()),
        locations=locate(study, folder, tracking, storage),
        force=force,
        new=new,
        begun=_began(),
        verbose=verbose,
        executor=kind,
        address=address,
    )
    if report.missing:
        raise typer.Exit(1)


def _began() -> float:
    """Returns when this process began, by ``time.monotonic``, which nobody sets back.

    Linux counts a process's age from the machine's own start, which psutil knows to a second only.
    """
    if not hasattr(time, "CLOCK_BOOTTIME"):
        import psutil

        return time.monotonic() - (time.time() - float(psutil.Process().create_time()))
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    after_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    while True:  # until both clocks are read at one moment: a pause between them counts twice
        now = time.monotonic()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - after_boot
        if time.monotonic() - now < CLOCK_SECONDS:
            return now - age


def plan(
    study: StudyName,
    file: Annotated[Path, argument("FILE", "Path of the plan, which is written.")],
    set_: Set = None,
    folder: Folder = None,
    tracking: Tracking = None,
    storage: Storage = None,
    force: Force = False,
    shard: Annotated[
        str,
        option(
            "--shard",
            metavar="I/N",
            help="Share of the runs that is written: that of machine I of N, such as 2/4. "
            "(default: 1/1)",
        ),
    ] = "1/1",
) -> None:
    """Write the next runs of a study to a file, to train elsewhere.

    The other machine needs only torch and NumPy. Run `python -m harness.train FILE > RECORDS`
    there and `harness ingest STUDY RECORDS` here, and repeat until nothing is missing. Several
    machines each train a share of a round: --shard 1/3, 2/3 and 3/3, one file each.
    """
    locations = locate(study, folder, tracking, storage)
    overrides = read(study, set_, locations, trains=True)
    from harness.runner import exchange

    said = exchange.write_plan(
        study,
        file,
        overrides=overrides,
        locations=locations,
        force=force,
        shard=exchange.Shard.parse(shard),
    )
    typer.echo(said)


def ingest(
    study: StudyName,
    file: Annotated[Path, argument("RECORDS", "Path of the records that a worker wrote.")],
    set_: Set = None,
    folder: Folder = None,
    tracking: Tracking = None,
    storage: Storage = None,
) -> None:
    """Store the records of runs that were trained elsewhere.

    `harness plan --help` describes how these records come about.
    """
    locations = locate(study, folder, tracking, storage)
    overrides = read(study, set_, locations, trains=True)
    from harness.runner import exchange

    typer.echo(exchange.ingest_records(study, file, overrides=overrides, locations=locations))


def merge(
    folders: Annotated[
        list[Path],
        argument("FOLDER", "Folders that hold mlflow.db, optuna.db and artifacts/ each."),
    ],
    study: Annotated[
        list[str] | None,
        option(
            "--study",
            metavar="STUDY",
            help=f"Name of a study that is brought. {REPEATED} (default: all studies)",
        ),
    ] = None,
    folder: Folder = None,
    tracking: Tracking = None,
    storage: Storage = None,
) -> None:
    """Bring the studies of several folders into one store.

    A study whose arms ran on several machines becomes one study; an arm that ran on two of them
    is refused. Its runs, searches and files are copied, and the folders stay as they are. Each
    study is there whole or not at all, and must be new where it is brought: `--folder` names
    that place.
    """
    from harness.results import merge

    locations = locate(None, folder, tracking, storage)
    merge.merge(folders, study or (), locations, typer.echo)


def clean(
    study: StudyName,
    arm: Annotated[
        str | None,
        option(
            metavar="ARM",
            help="Arm to which the removal is confined: ARM or CONDITION/ARM. (default: all arms)",
        ),
    ] = None,
    superseded: Annotated[
        bool,
        option(
            "--superseded",
            help="Remove replicates of settings that a longer search has replaced.",
        ),
    ] = False,
    models: Annotated[
        bool, option("--models", help="Remove the best parameters that runs have kept.")
    ] = False,
    checkpoints: Annotated[
        bool, option("--checkpoints", help="Remove checkpoints of unfinished runs.")
    ] = False,
    failed: Annotated[
        bool,
        option(
            "--failed",
            help="Remove replicates that failed; the next `harness run` trains them again.",
        ),
    ] = False,
    yes: Annotated[
        bool,
        option("--yes", help="Remove what is listed. (default: list it and remove nothing)"),
    ] = False,
    folder: Folder = None,
    tracking: Tracking = None,
    storage: Storage = None,
) -> None:
    """Remove a study, one of its arms, or only parts of them.

    What would be removed is listed, and is removed only with --yes. With --superseded, --models,
    --checkpoints or --failed only these parts are removed, otherwise the whole study or arm.
    """
    from harness.results import clean

    locations = locate(study, folder, tracking, storage)
    asked = {
        "superseded": superseded,
        "models": models,
        "checkpoints": checkpoints,
        "failed": failed,
    }
    kinds = [kind for kind in clean.KINDS if asked[kind]]
    for line in clean.clean(study, locations, arm, kinds, yes=yes):
        typer.echo(line)


def doctor(
    study: StudyOrAll = None,
    verify: Annotated[
        bool,
        option(
            "--verify",
            help="Read every database, curve, model and checkpoint whole. "
            "(default: only what is quick to see)",
        ),
    ] = False,
    repair: Annotated[
        bool,
        option(
            "--repair",
            help="Mend what can be mended without losing anything. (default: only tell it)",
        ),
    ] = False,
    folder: Folder = None,
    tracking: Tracking = None,
    storage: Storage = None,
) -> None:
    """Look whether what is stored is whole and agrees with itself.

    Every finished run must be there once, none may run without a process, Optuna and MLflow must
    agree, and files must be there. The exit code is 1 if something is left to put right.
    """
    from rich.console import Console

    from harness.results import doctor

    locations = locate(study, folder, tracking, storage)
    if not doctor.doctor(study, locations, Console(), verify=verify, repair=repair):
        raise typer.Exit(1)
