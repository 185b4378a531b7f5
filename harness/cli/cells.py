"""``harness cells``: the registry, a cell's page, and the test of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.options import OwnCells, argument, option

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
HiddenSize = Annotated[
    int,
    option(
        min=1,
        metavar="H",
        help="Hidden size for which parameters and FLOPs are counted. (default: 256)",
    ),
]
NumTokens = Annotated[
    int,
    option(
        min=1,
        metavar="V",
        help="Vocabulary size for which parameters and FLOPs are counted. (default: 28)",
    ),
]


@app.callback()
def cells(
    context: typer.Context,
    file: OwnCells = None,
    hidden_size: HiddenSize = 256,
    num_tokens: NumTokens = 28,
) -> None:
    """List all cells with their costs; show one cell; test your own."""
    files = [str(each) for each in file or ()]
    if context.invoked_subcommand is not None:
        # What is said before `show` or `test` holds there, too.
        sizes = {"hidden_size": hidden_size, "num_tokens": num_tokens}
        context.default_map = {"show": {"file": files, **sizes}, "test": {"file": files}}
        return
    from rich.console import Console

    from cells import registry
    from harness import catalog

    Console().print(catalog.cells_table(files, hidden_size, num_tokens))
    for fault in registry.plugin_faults():
        typer.echo(fault, err=True)


@app.command()
def show(
    name: Annotated[str, argument("CELL", "Name of the cell.", autocompletion=completion.cells)],
    file: OwnCells = None,
    hidden_size: HiddenSize = 256,
    num_tokens: NumTokens = 28,
) -> None:
    """Show the equations, the source and the costs of a cell.

    The page also says in what the cell differs from its parent, and which engine runs it.
    """
    from harness import catalog

    typer.echo(catalog.cell_page(name, [str(f) for f in file or ()], hidden_size, num_tokens))


@app.command()
def test(
    file: Annotated[list[Path], argument("FILE", "Paths of Python files with cells of your own.")],
) -> None:
    """Test the cells of files against the contract of all cells.

    The exit code is 1 if a cell fails.
    """
    import cells as registry
    from harness import contract

    has_failed = False
    for name in (name for path in file for name in registry.load_file(path)):
        violations = contract.check(registry.find(name))
        has_failed |= bool(violations)
        typer.echo(f"{name}: {'breaks' if violations else 'passes'} the contract")
        lines, following = contract.causes(violations)
        for line in lines:
            typer.echo(f"  {line}")
        if following:
            fail = "fails with it" if len(following) == 1 else "fail with it"
            typer.echo(f"  {', '.join(following)}: {fail}; test again once it is mended")
    if has_failed:
        raise typer.Exit(1)
