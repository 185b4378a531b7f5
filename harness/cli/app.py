"""The commands in the groups of the help, and what all of them have in common."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from harness.cli import cells, costing, exporting, looking, running, sharing, writing
from harness.cli.options import option

SECTIONS: dict[str, tuple[Any, ...]] = {
    "Write a study": (
        writing.init,
        cells.app,
        writing.check,
        writing.resolve,
        writing.schema,
    ),
    "Run it": (
        running.run,
        running.plan,
        running.ingest,
        running.merge,
        running.clean,
        running.doctor,
    ),
    "Look at what came out": (
        looking.status,
        looking.report,
        looking.compare,
        looking.sample,
        looking.ui,
        looking.bench,
        costing.cost,
    ),
    "Share it": (sharing.export, exporting.export_model),
}
"""Heading in the help -> its commands, in the order of their use."""


SHOWING = ("run", "status", "report", "compare")
"""The commands that show what is stored."""
FOR_PROGRAMS = "`harness export STUDY FOLDER` writes what is stored as tables that programs read."


class Sections(TyperGroup):
    """The group of all commands, whose help lists them under the headings of SECTIONS."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; one that is asked for JSON names the command that writes tables."""
        try:
            return super().invoke(ctx)
        except Exception as error:  # typer names the class of a missing option nowhere
            asked = getattr(error, "option_name", "")
            command = getattr(getattr(error, "ctx", None), "info_name", "")
            if asked == "--json" and command in SHOWING:
                message = getattr(error, "message", "")
                setattr(error, "message", f"{message}. {FOR_PROGRAMS}")  # noqa: B010  (any class)
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes a list of commands for every section."""
        name_width = max(map(len, self.commands))
        width = formatter.width - 4 - name_width  # the indent, and what is between
        rows: dict[str, list[tuple[str, str]]] = {heading: [] for heading in SECTIONS}
        for name, command in self.commands.items():
            heading = str(getattr(command, "rich_help_panel", ""))
            rows[heading].append((name.ljust(name_width), command.get_short_help_str(width)))
        for heading, section in rows.items():
            with formatter.section(heading):
                formatter.write_dl(section, col_spacing=2)


app = typer.Typer(
    cls=Sections,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # click's plain text: twice as wide at 80 columns, twice as fast
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": str.lower,  # names of commands and options are all in lower case
    },
)


def _say_version(is_asked: bool) -> None:
    if not is_asked:
        return
    import platform
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("recurrent-bench")
    except PackageNotFoundError:  # run from a tree that is not installed
        number = "of a tree that is not installed"
    typer.echo(f"recurrent-bench {number}, Python {platform.python_version()}")
    raise typer.Exit


@app.callback()
def harness(
    version: Annotated[
        bool,
        option(
            "--version",
            callback=_say_version,
            is_eager=True,
            help="Print the versions of the bench and of Python.",
        ),
    ] = False,
    debug: Annotated[
        bool,
        option("--debug", help="Print the traceback of an error. (default: it goes to a log file)"),
    ] = False,
) -> None:
    """Compare recurrent cells in perplexity and speed.

    A study file asks a question; `harness run STUDY` tunes, replicates and times its arms, and
    prints a verdict for each. `harness COMMAND --help` describes a command.
    """
    del debug  # harness.cli.main takes it out of the words, wherever it stands


def _add(command: Any, heading: str) -> None:
    if isinstance(command, typer.Typer):
        app.add_typer(command, name="cells", rich_help_panel=heading)
    elif command is looking.bench:
        settings = {"allow_extra_args": True, "ignore_unknown_options": True}
        register = app.command(
            cls=looking.BenchCommand, context_settings=settings, rich_help_panel=heading
        )
        register(command)
    else:
        app.command(rich_help_panel=heading)(command)


for _heading, _commands in SECTIONS.items():
    for _command in _commands:
        _add(_command, _heading)
