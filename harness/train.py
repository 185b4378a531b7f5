"""The worker under its public name: ``python -m harness.train PLAN.json > RECORDS.jsonl``."""

import sys

from harness.training.worker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
