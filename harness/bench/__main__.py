"""``python -m harness.bench``: the bench where nothing but torch and numpy is installed."""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends as Ctrl-C does
    exit_code = 130
    try:
        from harness.bench.command import main

        exit_code = main(sys.argv[1:])
    except KeyboardInterrupt:  # where the command itself does not hear it
        sys.stderr.write("interrupted\n")
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.default_int_handler:  # and not ignored
            signal.signal(number, signal.SIG_DFL)  # else it strikes the interpreter's clean-up
    if ending := sys.modules.get("harness.engine.ending"):
        ending.leave(exit_code)
    sys.exit(exit_code)
