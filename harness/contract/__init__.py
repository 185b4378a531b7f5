"""What every cell must satisfy, built-in or a user's own.

The contract cannot know what a cell's paper says; a cell with a ``reference`` is compared with
torch.nn too.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cells.base import Cell
from cells.faults import place_of, words_of
from cells.registry import problems_of
from harness.contract.checks import CHECKS, FOLLOWING, returned_states


@dataclass(frozen=True)
class Finding:
    """One violation: the check that found it and, in words, what must hold and what was got."""

    check: str
    message: str


def check(cell: type[Cell]) -> list[Finding]:
    """Returns all violations of the contract; nothing where all is well. Takes about a second."""
    return list(findings(cell))


def findings(cell: type[Cell]) -> Iterator[Finding]:
    """Yields the violations one by one.

    There are no more after those of the declarations or of what a step returns.
    """
    first = [Finding("declarations", message) for message in problems_of(cell)]
    first = first or _findings_of(returned_states, cell)
    yield from first
    for function in () if first else CHECKS:
        yield from _findings_of(function, cell)


def _findings_of(
    function: Callable[[type[Cell]], Iterator[str]], cell: type[Cell]
) -> list[Finding]:
    violations = []
    try:
        for message in function(cell):
            violations.append(Finding(function.__name__, f"{cell.__name__}: {message}"))
    except Exception as error:  # a user's step may raise anything at all; its words are reported
        raised = f"{words_of(error)}{place_of(error, cell)}"
        words = f"{cell.__name__}: step must run, but raised {raised}"
        violations.append(Finding(function.__name__, words))
    return violations


def causes(found: Sequence[Finding]) -> tuple[list[str], list[str]]:
    """Returns what there is to say of violations, and the checks that fail with others.

    Of violations that differ in their numbers alone the first is told, with how many there are.
    """
    failing = list(dict.fromkeys(each.check for each in found))
    following = {name for check in failing for name in FOLLOWING.get(check, ())}
    alike: dict[tuple[str, str], list[Finding]] = {}
    for each in found:
        if each.check not in following:
            alike.setdefault((each.check, re.sub(r"[0-9][0-9.e+-]*", "", each.message)), []).append(
                each
            )
    lines = [
        f"{check}: {first.message}" + (f" ({len(rest)} more alike)" if rest else "")
        for (check, _), (first, *rest) in alike.items()
    ]
    return lines, [check for check in failing if check in following]
