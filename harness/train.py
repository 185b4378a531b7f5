"""The worker under its public name: ``python -m harness.train PLAN.json > RECORDS.jsonl``."""

import sys
from pathlib import Path

if __name__ == "__main__" and not sys.flags.safe_path:
    # Python looks into the working directory first, where a person may keep a folder ``cells``.
    if Path(sys.path[0]).resolve() != Path(__file__).resolve().parent.parent:
        del sys.path[0]

from harness.training import threads
from harness.training.worker import main

if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    threads.leave(exit_code)
    sys.exit(exit_code)
