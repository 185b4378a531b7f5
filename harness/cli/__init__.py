"""Commands and exit codes, no logic.

What a command needs is imported when it runs: ``--help`` loads no torch. The modules: options and
completion (what commands have in common), writing, cells, running, looking and sharing (the
commands), app (all of them, in the groups of the help).
"""

import gc
import signal
import sys

import typer

from harness.cli.app import app

__all__ = ["app", "main"]

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it; typer ends with it."""
OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""Imports make hundreds of thousands of objects that stay; to search them slows every start."""


def main() -> None:
    """Runs a command; the exit code is 2 for what a person can mend, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    try:
        app(prog_name="harness")
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
