"""The command that says what cells cost."""

import sys
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.options import OwnCells, argument, option


def cost(
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
            help="File to which every repeat is written as JSON. (default: none is written)",
        ),
    ] = None,
    plot: Annotated[
        str | None,
        option(
            metavar="FILE",
            help="File of a figure over the hidden size, with this machine's roofline: .svg, .png "
            "or .pdf. (default: none is drawn)",
        ),
    ] = None,
) -> None:
    """Measure and count what cells cost at given hidden sizes.

    An update and a forward pass, the time from one token to the next, tokens a second in a large
    batch, parameters, FLOPs and bytes, memory, and energy where the machine reports it.
    """
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
