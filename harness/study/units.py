"""What a study's runs are keyed by: an arm's unit, and a run's place in it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

FAILURES_IN_A_ROW = 3
"""So many failed runs in a row stop a unit: its trouble is no accident."""


class Unit(NamedTuple):
    """An arm, under one of the study's conditions, in one repeat of tuning and replicating.

    Its runs are one search and its replicates; its text is the key that every store knows it by.

    >>> str(Unit("lstm")), str(Unit("lstm", "docs", 2)), Unit.parse("docs/lstm@2")
    ('lstm', 'docs/lstm@2', Unit(arm='lstm', condition='docs', repeat=2))
    """

    arm: str
    condition: str = ""
    repeat: int = 0

    def __str__(self) -> str:
        start = f"{self.condition}/" if self.condition else ""
        return f"{start}{self.arm}" + (f"@{self.repeat}" if self.repeat else "")

    @property
    def first_repeat(self) -> "Unit":
        """The unit of the first repeat; its text is the arm's key, ``ARM`` or ``CONDITION/ARM``."""
        return self._replace(repeat=0)

    @staticmethod
    def parse(key: str) -> "Unit":
        """Returns the unit of a key; names of arms and conditions hold neither ``/`` nor ``@``.

        Raises:
            ValueError: What follows ``@`` is no number.
        """
        condition, _, rest = key.rpartition("/")
        arm, _, repeat = rest.partition("@")
        return Unit(arm, condition, int(repeat or 0))


class Phase(StrEnum):
    """What a run is for.

    It tries a setting, it tries one of the best settings again, or it repeats the chosen one with a
    fresh seed.
    """

    TRIAL = "trial"
    FINALIST = "finalist"
    REPLICATE = "replicate"


@dataclass(frozen=True)
class RunKey:
    """Where a run belongs, for ever.

    Its text is the run's id in plans and messages.

    Attributes:
        unit: Whose run it is.
        phase: What it is for.
        index: The number of the trial, also of a finalist's; of a replicate, its place among the
            seeds.
        draw: Which of the setting's seeds, in a trial or a finalist that has several.

    >>> str(RunKey(Unit("lstm"), Phase.TRIAL, 3)), RunKey.parse("docs/lstm@2/replicate/0").unit
    ('lstm/trial/3', Unit(arm='lstm', condition='docs', repeat=2))
    >>> str(RunKey(Unit("lstm"), Phase.FINALIST, 3, 1)), RunKey.parse("lstm/trial/3.1").draw
    ('lstm/finalist/3.1', 1)
    """

    unit: Unit
    phase: Phase
    index: int
    draw: int = 0

    def __str__(self) -> str:
        return f"{self.unit}/{self.phase}/{self.index}" + (f".{self.draw}" if self.draw else "")

    @staticmethod
    def parse(run_id: str) -> "RunKey":
        """Returns the key of a run's id.

        Raises:
            ValueError: It is no such id.
        """
        key, phase, place = run_id.rsplit("/", 2)
        index, _, draw = place.partition(".")
        return RunKey(Unit.parse(key), Phase(phase), int(index), int(draw or 0))
