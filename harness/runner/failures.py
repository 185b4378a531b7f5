"""Runs that failed in this launch, and the units whose failures are no accident."""

from collections import Counter
from collections.abc import Iterator

from harness.study.units import FAILURES_IN_A_ROW, RunKey, Unit
from harness.training.messages import cause_of

MAX_IN_A_ROW = 2 * FAILURES_IN_A_ROW
"""So many failures in a row stop a unit, whatever their causes."""


class Failures:
    """What failed, and why; a run that failed is trained again, by the next launch at the latest.

    Attributes:
        num_by_cause: Unit and cause -> failures of this launch.
    """

    def __init__(self) -> None:
        self._in_a_row: dict[Unit, list[str]] = {}
        self.num_by_cause: Counter[tuple[Unit, str]] = Counter()

    def add(self, key: RunKey, message: str, told: set[tuple[Unit, str]]) -> bool:
        """Counts a failure and returns whether it is the first of its unit with that cause.

        Args:
            key: Of the run.
            message: Why it failed.
            told: The units and causes of what failed at the same time, which is one failure in a
                row: a pack falls as a whole. It is added to.
        """
        cause = cause_of(message)
        if (key.unit, cause) not in told:
            self._in_a_row.setdefault(key.unit, []).append(cause)
            told.add((key.unit, cause))
        self.num_by_cause[key.unit, cause] += 1
        return self.num_by_cause[key.unit, cause] == 1

    def clear(self, unit: Unit) -> None:
        """Notes that a run of the unit had a result: its failures were an accident."""
        self._in_a_row.pop(unit, None)

    def stops(self, unit: Unit) -> bool:
        """Returns whether the unit is left alone for the rest of this launch.

        It is where so many failures in a row had one cause.
        """
        causes = self._in_a_row.get(unit, [])
        last = causes[-FAILURES_IN_A_ROW:]
        has_one_cause = len(last) == FAILURES_IN_A_ROW and len(set(last)) == 1
        return has_one_cause or len(causes) >= MAX_IN_A_ROW

    def lines(self, again: str) -> Iterator[str]:
        """Yields a sentence for every unit and cause; ``again`` is the command that runs them."""
        for (unit, cause), count in self.num_by_cause.items():
            runs = f"{count} run{'s' if count > 1 else ''}"
            rest = "no more is trained of it now" if self.stops(unit) else "training went on"
            yield f"{unit}: {runs} failed, {cause}; {rest}. `{again}` tries again."
