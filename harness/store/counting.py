"""Which run counts where a store holds several of one place, which ``harness doctor`` tells."""

from collections.abc import Sequence

from harness.store.rows import RunRow
from harness.training.messages import RESULTS


def is_over(run: RunRow) -> bool:
    """Returns whether a run is neither under way nor killed."""
    return run.status not in ("RUNNING", "KILLED", "SCHEDULED")


def has_result(run: RunRow) -> bool:
    """Returns whether a run has ended, and not by failing."""
    return is_over(run) and run.tags.get("state") in RESULTS


def counting(runs: Sequence[RunRow]) -> RunRow:
    """Returns which of a place's runs counts, the first made first: one with a result, else the
    last, which a driver went on with.
    """
    return next(filter(has_result, runs), runs[-1])
