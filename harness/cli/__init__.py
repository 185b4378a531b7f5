"""Commands and exit codes, no logic.

What a command needs is imported when it runs: ``--help`` loads no torch. The modules: options and
completion (what commands have in common), writing, cells, running, looking, costing, sharing and
exporting (the commands), app (all of them, in the groups of the help), faults (what is said of an
error), missing (what is said where nothing but the layer is installed).
"""

import sys

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it; typer ends with it."""

try:
    import atexit
    import gc
    import logging
    import os

    from harness.cli import missing
    from harness.store import signals, terminal

    try:
        from harness.cli import faults
        from harness.cli.app import app
    except ModuleNotFoundError as error:
        if (told := missing.told_of(error)) is None:
            raise
        print(told, file=sys.stderr)
        sys.exit(2)
except KeyboardInterrupt:  # before main hears signals
    print("interrupted", file=sys.stderr)
    sys.exit(INTERRUPTED)

__all__ = ["app", "main"]

OBJECTS_BETWEEN_COLLECTIONS = 1_000_000
"""Imports make hundreds of thousands of objects that stay; to search them slows every start."""


def main() -> None:
    """Runs a command.

    The exit code is 2 for what a person can mend, 1 for a fault of the machine or the bench, and
    130 after Ctrl-C.
    """
    try:
        code = faults.FAULT
        with signals.handled():
            _prepare()
            code = _run(*faults.arguments_and_debug(sys.argv[1:]))
    except KeyboardInterrupt:  # where typer does not hear it
        code = _interrupted(sys.argv[1:])
    finally:  # whatever ended it: the interpreter would wait for a thread that never ends
        if ending := sys.modules.get("harness.engine.ending"):  # what begins threads has loaded it
            ending.leave(code)
    sys.exit(code)


def _prepare() -> None:
    """Sets what holds for the whole process."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    # Where no folder of its own can be written it makes one for a while, and says so at length.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    atexit.register(gc.freeze)  # the interpreter's end would search all of them, for half a second


def _run(arguments: list[str], is_debugging: bool) -> int:
    """Runs a command, and returns the exit code; of what ended it, a person has been told."""
    try:
        app(arguments, prog_name="harness")
    except SystemExit as end:
        if faults.is_of_a_users_cell(end):  # a cell that ends the program has not done its work
            return faults.tell(end, debug=is_debugging)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        fault = _fault_of_output()
        if code == INTERRUPTED:
            return _interrupted(arguments)
        return code if fault is None else _told_of_output(fault)
    except Exception as error:
        fault = _fault_of_output(error)
        if signals.has_come():  # Python 3.11 makes another error of it where a class is made
            return _interrupted(arguments)
        if fault is not None:
            return _told_of_output(fault)
        return faults.tell(error, debug=is_debugging)
    return 0


def _interrupted(words: list[str]) -> int:
    """Says that a command was interrupted, and returns the exit code."""
    command = faults.arguments_and_debug(words)[0][:1]
    if command != ["bench"]:  # which says what it has measured by then
        goes_on = "; the same command, without --new, goes on from here"
        terminal.tell(f"interrupted{goes_on if command == ['run'] else ''}")
    return INTERRUPTED


def _fault_of_output(raised: Exception | None = None) -> OSError | None:
    """Writes what is left of standard output, and returns why it takes no more.

    That its terminal was closed is no fault of a command that has done its work.
    An error that names no file may have been ``raised`` by it, which only another write tells.
    """
    try:
        sys.stdout.flush()
        if isinstance(raised, OSError) and raised.filename is None:
            os.write(sys.stdout.fileno(), b"\n")
    except OSError as error:
        is_gone = terminal.is_gone(error, sys.stdout)
        terminal.silence(sys.stdout)
        return None if is_gone and raised is None else error
    return None


def _told_of_output(fault: OSError) -> int:
    """Says why standard output takes no more, and returns the exit code."""
    terminal.tell(
        f"standard output: must take what is printed, but got {fault.strerror!r}. Send it "
        "elsewhere; what is stored stays as it is."
    )
    return faults.FAULT
