"""The commands that look at what has been run, and at what cells cost."""

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from harness.cli.options import (
    REPEATED,
    ChangedCell,
    Folder,
    ReportFolder,
    Run,
    RunCells,
    Set,
    Storage,
    StudyName,
    StudyOrAll,
    Tracking,
    Verbose,
    argument,
    option,
)
from harness.cli.reading import read
from harness.store.configuration import decisions, locate


def status(
    study: StudyOrAll = None,
    set_: Set = None,
    folder: Folder = None,
    tracking: Tracking = None,
    storage: Storage = None,
) -> None:
    """Print how many runs have ended, of all studies or of one.

    Of one study it is told arm by arm, and in what way they ended. Below stands where the results
    live, and which place decided it, where that is not the default.
    """
    locations = locate(study, folder, tracking, storage)
    if study is None and set_:
        raise typer.BadParameter(
            "it must stand beside a study, but none is named. Name it.", param_hint="--set"
        )
    overrides = () if study is None else read(study, set_, locations)
    from rich.console import Console

    from harness.results import status, studies

    if study is None:
        for line in studies.status_lines(locations, Console().width):
            typer.echo(line)
    else:
        Console().print(status.status_table(study, overrides, locations))
    for line in decisions(study, folder, tracking, storage):
        typer.echo(line)


def report(
    study: StudyName,
    set_: Set = None,
    folder: Folder = None,
    tracking: Tracking = None,
    storage: Storage = None,
    out: ReportFolder = None,
    verbose: Verbose = False,
) -> None:
    """Print the tables and the verdict of a study, finished or not."""
    locations = locate(study, folder, tracking, storage)
    overrides = read(study, set_, locations)
    from rich.console import Console

    from harness.results import reports

    reports.print_report(study, overrides, locations, out, Console(), verbose)


def compare(
    names: Annotated[
        list[str],
        argument(
            "NAME",
            "Names of arms: STUDY:ARM or STUDY:CONDITION/ARM. Names of single runs: the same "
            "with :SEED at the end, or the id of an MLflow run. ARM@1 means the second repeat "
            "of an arm's search; the first repeat has no mark.",
        ),
    ],
    folder: Folder = None,
    tracking: Tracking = None,
    out: ReportFolder = None,
    verbose: Verbose = False,
) -> None:
    """Compare arms or runs in MLflow, also of different studies.

    The first name is the baseline. The tests are those of a study, and every setting in which
    the others differ from the baseline is listed.
    """
    from rich.console import Console

    from harness.results import compare

    of_first = names[0].partition(":")[0]
    locations = locate(of_first, folder, tracking)
    compare.print_comparison(names, locations, out, Console(), verbose)


def sample(
    run: Run,
    prefix: Annotated[list[str], option(metavar="TEXT", help=f"Text to continue. {REPEATED}")],
    length: Annotated[
        int, option(metavar="N", help="Number of tokens to append. (default: 50)")
    ] = 50,
    temperature: Annotated[
        float | None,
        option(metavar="T", help="Temperature of the draws. (default: always the likeliest token)"),
    ] = None,
    top_k: Annotated[
        int | None,
        option(
            metavar="K",
            help="Number of the likeliest tokens that are drawn from; needs a temperature. "
            "(default: all tokens)",
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        option(
            metavar="P",
            help="Probability of the nucleus that is drawn from, the fewest of the likeliest "
            "tokens that come to it; needs a temperature. (default: all tokens)",
        ),
    ] = None,
    seed: Annotated[int, option(metavar="N", help="Seed of the draws. (default: 0)")] = 0,
    file: RunCells = None,
    changed_cell: ChangedCell = False,
    folder: Folder = None,
    tracking: Tracking = None,
) -> None:
    """Continue texts with the best parameters of a finished run."""
    from harness.results import trained_models

    model = trained_models.load_model(
        run, folder, tracking, cell_files=file or (), changed_cell=changed_cell
    )
    for text in model.samples(prefix, length, temperature, seed, top_k=top_k, top_p=top_p):
        typer.echo(text)


def ui(
    study: StudyOrAll = None,
    folder: Folder = None,
    tracking: Tracking = None,
    port: Annotated[
        int | None, option(metavar="N", help="Port of the server. (default: a free port)")
    ] = None,
) -> None:
    """Serve MLflow's pages on this machine until Ctrl-C.

    They open where the study is that is named.
    """
    from harness.store import server as user_interface
    from harness.store.kept import name_of

    locations = locate(study, folder, tracking)
    name = None if study is None else name_of(study)
    user_interface.serve(
        locations.tracking_uri,
        locations.artifacts,
        name,
        port,
        typer.echo,
        lambda line: typer.echo(line, err=True),
    )


class BenchCommand(TyperCommand):
    """The command whose options harness.bench reads itself: it works without this package too."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the options as other commands' are written."""
        from harness.bench import words

        rows = [(f"{each.name} {each.metavar}".strip(), each.help) for each in words.OPTIONS]
        with formatter.section("Options"):
            formatter.write_dl([*rows, ("-h, --help", "Show this message and exit.")])


def bench(context: typer.Context) -> None:
    """Measure what cells cost beside torch.nn and a published loop.

    Training and forward passes are measured in turn, beside the plain products of this machine
    too, and compared by ratios with intervals.
    """
    from harness.bench import command

    try:
        command.run(context.args, typer.echo)
    except KeyboardInterrupt:
        typer.echo(command.INTERRUPTION, err=True, nl=False)
        raise
