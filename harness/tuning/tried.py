"""What is known of a setting that a search has tried."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

TrialEnd = Literal["finished", "diverged", "pruned"]


@dataclass(frozen=True)
class TriedSetting:
    """An ended trial of one arm.

    Attributes:
        number: Of the trial.
        values: Tuned field -> its value; None: none.
        nats: The mean over its seeds, a seed that diverged or did not learn at what guessing is
            worth. Of a pruned trial it is the mean at its last evaluation.
        seed_nats: One value a seed, in the order of the seeds; empty for a pruned trial.
        end: ``diverged`` where every seed was lost: it diverged, or did not learn.
        lead: Of a pruned trial: how far its mean lay above that of the best trial at the same
            evaluation, in nats; None where that is not known.
        num_lost: Seeds that diverged or did not learn.
    """

    number: int
    values: Mapping[str, Any]
    nats: float
    seed_nats: tuple[float, ...]
    end: TrialEnd = "finished"
    lead: float | None = None
    num_lost: int = 0
