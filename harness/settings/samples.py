"""Which texts are written, and when: no setting of a run, and nothing that it learns from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SampleRequest:
    """The texts that a finished run continues, and a training one at every ``every``-th evaluation.

    Attributes:
        prefixes: What is continued.
        length: Tokens to append.
        temperature: Of the draws; None: the likeliest token each time.
        every: Evaluation points between two samples on the way; None: samples at the end alone.
        temperatures: Each prefix is continued at all of these, 0 for the likeliest token each time;
            empty: at ``temperature`` alone.
    """

    prefixes: tuple[str, ...] = ()
    length: int = 50
    temperature: float | None = None
    every: int | None = None
    temperatures: tuple[float, ...] = ()

    @property
    def ways(self) -> tuple[float | None, ...]:
        """The temperatures that each prefix is continued at; None: the likeliest token each time.

        >>> SampleRequest(temperatures=(0, 0.7)).ways, SampleRequest().ways
        ((None, 0.7), (None,))
        """
        return tuple(each or None for each in self.temperatures) or (self.temperature,)

    def to_dict(self) -> dict[str, Any]:
        """Returns the request as JSON has it.

        Temperatures are there only where they are asked for: a plan and a study's identity without
        them are those of versions that knew none.
        """
        values: dict[str, Any] = {
            "prefixes": list(self.prefixes),
            "length": self.length,
            "temperature": self.temperature,
            "every": self.every,
        }
        return values | ({"temperatures": list(self.temperatures)} if self.temperatures else {})

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "SampleRequest":
        """Returns the request that :meth:`to_dict`, or a study file, describes."""
        given = dict(values)
        given |= {
            name: tuple(given[name]) for name in ("prefixes", "temperatures") if name in given
        }
        return SampleRequest(**given)
