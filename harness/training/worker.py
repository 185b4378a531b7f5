"""The worker: a file of plans in, records out, with nothing but torch and NumPy.

``python -m harness.train PLAN.json`` is its public name.
"""

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from cells.registry import InvalidCell, UnknownCell
from harness import data, engine
from harness.data.regular_files import check_regular
from harness.model.architecture import SizeError
from harness.settings import BudgetError
from harness.training import runtime
from harness.training.logs import write_log
from harness.training.plan import PlanError, plans_from_json
from harness.training.steps import train

INPUT_ERRORS = (
    OSError,
    PlanError,
    BudgetError,
    data.DataError,
    UnknownCell,
    InvalidCell,
    engine.EngineError,
    SizeError,
)
"""What a plan or the machine can be wrong about; each message is written for the person who
asked.
"""


def work(text: str) -> Iterator[str]:
    """Yields the lines that answer a file of ``harness plan``.

    They are the records of packs, or the measurements of a runtime phase.
    """
    if runtime.is_phase(text):
        yield from runtime.answer(text)
        return
    for plan in plans_from_json(text):
        for messages in train(plan):
            yield from (message.to_json() for message in messages)


def _read(path: Path) -> str:
    remedy = "Write it in shares with `harness plan --shard I/N`"
    check_regular(path.stat(), "plan", path, held="its runs are", remedy=remedy)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PlanError(
            f"plan: {path} must be UTF-8, but got byte={error.object[error.start]:#04x}."
        ) from error


def main(arguments: list[str]) -> int:
    """Answers the file of plans that ``arguments`` name and returns the exit code.

    The answer is printed as lines of JSON. The code is 2 for what a person can mend, 1 for a fault
    of the worker, 130 after Ctrl-C.
    """
    if len(arguments) != 1:
        print("usage: python -m harness.train PLAN.json", file=sys.stderr)
        return 2
    try:
        for line in work(_read(Path(arguments[0]))):
            print(line, flush=True)
    except INPUT_ERRORS as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was printed is whole, and can be ingested", file=sys.stderr)
        return 130
    except Exception as error:
        print(_of_the_worker(error), file=sys.stderr)
        return 1
    return 0


def _of_the_worker(error: Exception) -> str:
    """Returns what is said of an error that nobody foresaw; its traceback goes to a file."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    path = write_log("".join(traceback.format_exception(error)))
    where = "could not be written anywhere" if path is None else f"is in {path}"
    return (
        f"harness.train: a fault of the worker itself, {type(error).__name__}: "
        f"{first.rstrip('.')}. What was printed is whole, and can be ingested; please report it "
        f"with the traceback, which {where}."
    )
