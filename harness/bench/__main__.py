"""``python -m harness.bench``: the bench where nothing but torch and numpy is installed."""

import signal
import sys

from harness.bench.command import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends as Ctrl-C does
    sys.exit(main(sys.argv[1:]))
