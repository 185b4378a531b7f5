"""The command that says what cells cost."""

import sys
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.options import (
    Folder,
    OwnCells,
    Set,
    Storage,
    Tracking,
    argument,
    option,
)
from harness.cli.reading import read
from harness.store.configuration import locate
from harness.store.locations import Locations

OF_STUDY = {"study", "set_", "folder", "tracking", "storage", "target"}
"""The parameters that belong to a study's costs."""
OF_BOTH = {"json", "plot"}


class CostError(ValueError):
    """Options that do not belong together."""


def cost(
    context: typer.Context,
    cells: Annotated[
        list[str] | None,
        argument("CELL", "Names of cells. (default: none)", autocompletion=completion.cells),
    ] = None,
    hidden: Annotated[
        str,
        option(metavar="SIZES", help="Hidden sizes, separated by commas. (default: 64,128,256)"),
    ] = "64,128,256",
    engine: Annotated[
        str, option(metavar="NAME", help="Engine that trains the cells. (default: auto)")
    ] = "auto",
    batch_size: Annotated[
        str, option(metavar="B", help="Streams of an update and of a forward pass. (default: 32)")
    ] = "32",
    bptt_length: Annotated[
        str, option(metavar="T", help="Time steps of an update and of a pass. (default: 35)")
    ] = "35",
    num_tokens: Annotated[
        str, option(metavar="V", help="Size of the vocabulary. (default: 28)")
    ] = "28",
    large_batch: Annotated[
        str, option(metavar="B", help="Streams of the large batch. (default: 512)")
    ] = "512",
    rounds: Annotated[
        str, option(metavar="COUNT", help="Number of rounds over everything. (default: 7)")
    ] = "7",
    seconds: Annotated[
        str, option(metavar="SECONDS", help="Least length of one measurement. (default: 0.1)")
    ] = "0.1",
    threads: Annotated[
        str | None,
        option(metavar="COUNT", help="Number of CPU threads. (default: one for each core)"),
    ] = None,
    device: Annotated[
        str, option(metavar="NAME", help="Device: auto, cpu or cuda. (default: auto)")
    ] = "auto",
    file: OwnCells = None,
    json: Annotated[
        str | None,
        option(
            metavar="FILE",
            help="File to which everything is written as JSON. (default: none is written)",
        ),
    ] = None,
    plot: Annotated[
        str | None,
        option(
            metavar="FILE",
            help="File of a figure, over the hidden size with this machine's roofline, or over "
            "seconds: .svg, .png or .pdf. (default: none is drawn)",
        ),
    ] = None,
    study: Annotated[
        str | None,
        option(
            metavar="STUDY",
            help="Path of a study file (YAML), or name of a study in MLflow, of whose arms the "
            "cheapest at an equal perplexity is told. (default: cells are measured)",
            autocompletion=completion.studies,
        ),
    ] = None,
    target: Annotated[
        float | None,
        option(
            metavar="NUMBER",
            help="Perplexity that the arms of the study are to reach. "
            "(default: the one that the worst arm comes down to)",
        ),
    ] = None,
    set_: Set = None,
    folder: Folder = None,
    tracking: Tracking = None,
    storage: Storage = None,
) -> None:
    """Tell what cells cost at given sizes, or at equal perplexity.

    Of cells, all is measured: an update and a forward pass, the time from one token to the next,
    tokens a second in a large batch, memory, and energy where the machine reports it; parameters,
    FLOPs and bytes are counted. Of a study that was run, nothing is.
    """
    _check_together(context, study)
    if study is not None:
        locations = locate(study, folder, tracking, storage)
        _cost_of_study(study, read(study, set_, locations), locations, target, json, plot)
        return
    from harness.bench.cost import measure, request, table

    asked = request.Asked(
        cells=cells or (),
        hidden=hidden,
        engine=engine,
        batch_size=batch_size,
        bptt_length=bptt_length,
        num_tokens=num_tokens,
        large_batch=large_batch,
        rounds=rounds,
        seconds=seconds,
        threads=threads,
        device=device,
        files=[str(path) for path in file or ()],
        json=json,
        plot=plot,
    )
    wanted = request.checked(asked)
    costs = measure.measure(wanted, sys.argv[1:])
    typer.echo(table.text(costs), nl=False)
    if wanted.plot is not None:
        from harness.bench.cost import figure  # late: a machine that measures may lack what draws

        typer.echo(f"\n{figure.draw(costs, wanted.plot)}")


def _check_together(context: typer.Context, study: str | None) -> None:
    """Checks that all options are of cells, or all of a study.

    Raises:
        CostError: Some are of the other.
    """
    given = {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }
    strange = given - OF_STUDY - OF_BOTH if study is not None else given & OF_STUDY
    if strange:
        words = ", ".join(
            "CELL" if name == "cells" else f"--{name.strip('_').replace('_', '-')}"
            for name in sorted(strange)
        )
        beside = "stand beside --study" if study is not None else "stand without --study"
        raise CostError(f"cost: {words} must not {beside}. Leave out one or the other.")


def _cost_of_study(
    study: str,
    overrides: tuple[str, ...],
    locations: Locations,
    target: float | None,
    json: str | None,
    plot: str | None,
) -> None:
    from rich.console import Console

    from harness.bench.values import drawable, writable
    from harness.report import forms
    from harness.results import equal_cost

    json_file = None if json is None else writable("json")(json)
    plot_file = None if plot is None else drawable(plot)
    costs, reports = equal_cost.equal_costs(study, overrides, locations, target)
    console = Console()
    for each in costs:
        console.print(each.section.title, style="bold", markup=False, highlight=False)
        console.print(forms.terminal_section(each.section, console.width))
        console.print(each.answer, markup=False, highlight=False, soft_wrap=False)
        console.print()
    if json_file is not None:
        equal_cost.write_json(costs, json_file)
    if plot_file is not None:
        for path in equal_cost.draw(costs, reports, plot_file):
            console.print(f"{path}", highlight=False, soft_wrap=True)
