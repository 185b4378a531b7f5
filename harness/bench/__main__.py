"""``python -m harness.bench``: the bench where nothing but torch and numpy is installed."""

import signal

from harness.train import run

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends as Ctrl-C does
    run("harness.bench.command")
