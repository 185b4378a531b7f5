"""The worker under its public name: ``python -m harness.train PLAN.json > RECORDS.jsonl``."""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # Python looks into the working directory first, where a person may keep a folder ``cells``.
        if Path(sys.path[0]).resolve() != Path(__file__).resolve().parent.parent:
            del sys.path[0]
    exit_code = 130
    try:
        from harness.training.worker import main  # late: it loads torch, for seconds

        exit_code = main(sys.argv[1:])
    except (KeyboardInterrupt, RuntimeError) as error:  # where the worker itself does not hear it
        # Where a class is made, Python 3.11 raises another error from it.
        if not isinstance(error.__cause__ or error, KeyboardInterrupt):
            raise
        print("interrupted", file=sys.stderr)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # else it strikes the interpreter's clean-up
    if ending := sys.modules.get("harness.engine.ending"):
        ending.leave(exit_code)
    sys.exit(exit_code)
