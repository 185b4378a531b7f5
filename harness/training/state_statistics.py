"""How large the states of a trained model are, and how far a loss reaches back through them.

A report reads them without torch; :mod:`harness.training.state_measurement` measures them.
"""

import json
from dataclasses import asdict, dataclass

from harness.training.fields import MAX_TEXT, FieldReader, MessageError

MOST_STEPS = 512
"""Most time steps that are read, and so most values of a ``gradient_norms``."""
SATURATION = 0.97
"""A tanh beyond this, on either side, counts as saturated: its slope is below 0.06 there."""


@dataclass(frozen=True)
class StateSummary:
    """One state of one layer, as it is after a time step: over all units, streams and time steps.

    Attributes:
        layer: 0 is the lowest.
        state: Its name in the cell, such as ``c``.
        rms: The root of the mean square.
        median: The value that half of the sizes |s| do not exceed.
        percentile_90: The value that 90 % of them do not exceed.
        percentile_99: Likewise.
        largest: Of the sizes.
        saturated: The share of values whose tanh is beyond ``SATURATION``.
        gradient_norms: As those of :class:`StateStatistics`, of this state alone.
    """

    layer: int
    state: str
    rms: float
    median: float
    percentile_90: float
    percentile_99: float
    largest: float
    saturated: float
    gradient_norms: tuple[float, ...]


@dataclass(frozen=True)
class StateStatistics:
    """What a run's states are like at its best parameters, without dropout.

    Attributes:
        split: The split that was read, from its beginning and a zero (or learned) state.
        num_streams: Streams side by side.
        num_windows: Windows of ``num_steps`` time steps, one after the other in each stream.
        num_steps: T.
        states: All states of all layers.
        gradient_norms: T values. Value k - 1 is the Euclidean norm of the gradient of the loss at a
            window's last time step (nats of one token) in what the step k - 1 earlier was given:
            all states of all layers, k steps before. It is the mean over streams and windows.
    """

    split: str
    num_streams: int
    num_windows: int
    num_steps: int
    states: tuple[StateSummary, ...]
    gradient_norms: tuple[float, ...]

    def to_json(self) -> str:
        """Returns the statistics as JSON; numbers may be NaN and Infinity."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> "StateStatistics":
        """Returns the statistics of a text that :meth:`to_json` wrote.

        Raises:
            MessageError: The text is none.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise MessageError(
                f"states: must be what a worker wrote, but got {text[:80]!r}."
            ) from error
        return read_statistics(FieldReader(values, ""))


def read_statistics(fields: FieldReader) -> StateStatistics:
    """Returns the statistics of an object that another process wrote.

    Raises:
        MessageError: It names the field that is wrong and its value.
    """
    num_steps = fields.count("num_steps")
    if not 1 <= num_steps <= MOST_STEPS:
        raise fields.wrong("num_steps", f"from 1 to {MOST_STEPS}", num_steps)
    statistics = StateStatistics(
        split=fields.text("split", MAX_TEXT),
        num_streams=fields.count("num_streams"),
        num_windows=fields.count("num_windows"),
        num_steps=num_steps,
        states=tuple(_read_summary(each, num_steps) for each in fields.objects("states")),
        gradient_norms=fields.series("gradient_norms", num_steps),
    )
    fields.check_all_read()
    return statistics


def _read_summary(fields: FieldReader, num_steps: int) -> StateSummary:
    summary = StateSummary(
        layer=fields.count("layer"),
        state=fields.text("state", MAX_TEXT),
        rms=fields.number("rms", finite=False),
        median=fields.number("median", finite=False),
        percentile_90=fields.number("percentile_90", finite=False),
        percentile_99=fields.number("percentile_99", finite=False),
        largest=fields.number("largest", finite=False),
        saturated=fields.number("saturated"),
        gradient_norms=fields.series("gradient_norms", num_steps),
    )
    fields.check_all_read()
    return summary
