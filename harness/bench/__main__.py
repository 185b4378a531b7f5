"""``python -m harness.bench``: the bench where nothing but torch and numpy is installed."""

import sys

from harness.bench.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
