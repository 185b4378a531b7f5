"""The unit of a study's runs: an arm, under one of the study's conditions, in one repeat of tuning
and replicating.
"""

from typing import NamedTuple

FAILURES_IN_A_ROW = 3
"""So many failed runs in a row stop a unit: its trouble is no accident."""


class Unit(NamedTuple):
    """Runs of one unit are one search and its replicates; its text is the key that all books know
    it by.

    >>> str(Unit("lstm")), str(Unit("lstm", "docs", 2)), Unit.parse("docs/lstm@2")
    ('lstm', 'docs/lstm@2', Unit(arm='lstm', condition='docs', repeat=2))
    """

    arm: str
    condition: str = ""
    repeat: int = 0

    def __str__(self) -> str:
        start = f"{self.condition}/" if self.condition else ""
        return f"{start}{self.arm}" + (f"@{self.repeat}" if self.repeat else "")

    @staticmethod
    def parse(key: str) -> "Unit":
        """Returns the unit of a key; names of arms and conditions hold neither ``/`` nor ``@``.

        Raises:
            ValueError: What follows ``@`` is no number.
        """
        condition, _, rest = key.rpartition("/")
        arm, _, repeat = rest.partition("@")
        return Unit(arm, condition, int(repeat or 0))
