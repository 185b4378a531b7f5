"""The worker under its public name: ``python -m harness.train PLAN.json > RECORDS.jsonl``."""

import importlib
import signal
import sys
from pathlib import Path
from typing import NoReturn


def run(module: str) -> NoReturn:
    """Ends the process with the code that a module's ``main`` returns for the words given.

    The module is loaded here, since torch takes seconds, in which Ctrl-C may come.
    """
    exit_code = 130
    try:
        exit_code = importlib.import_module(module).main(sys.argv[1:])
    except (KeyboardInterrupt, RuntimeError) as error:  # where main itself does not hear it
        # Where a class is made, Python 3.11 raises another error from it.
        if not isinstance(error.__cause__ or error, KeyboardInterrupt):
            raise
        print("interrupted", file=sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.default_int_handler:  # and not ignored
            signal.signal(number, signal.SIG_DFL)  # else it strikes the interpreter's clean-up
    if ending := sys.modules.get("harness.engine.ending"):
        ending.leave(exit_code)
    sys.exit(exit_code)


if __name__ == "__main__":
    if not sys.flags.safe_path:
        # Python looks into the working directory first, where a person may keep a folder ``cells``.
        if Path(sys.path[0]).resolve() != Path(__file__).resolve().parent.parent:
            del sys.path[0]
    run("harness.training.worker")
