"""Which run counts where a store holds several of one place, which ``harness doctor`` tells."""

from collections import Counter
from collections.abc import Sequence

from harness.store.rows import RunRow
from harness.training.messages import RESULTS, RunState

OPEN = ("RUNNING", "KILLED", "SCHEDULED")
"""The statuses of runs with which a launch goes on."""
PARENT_TAG = "mlflow.parentRunId"
STATUS = {
    RunState.FINISHED: "FINISHED",
    RunState.DIVERGED: "FINISHED",
    RunState.PRUNED: "FINISHED",
    RunState.FAILED: "FAILED",
}
"""MLflow's status of a run that ended so."""


def is_over(run: RunRow) -> bool:
    """Returns whether a run is neither under way nor killed."""
    return run.status not in OPEN


def has_result(run: RunRow) -> bool:
    """Returns whether a run has ended, and not by failing."""
    return is_over(run) and run.tags.get("state") in RESULTS


def counting(runs: Sequence[RunRow]) -> RunRow:
    """Returns which of a place's runs counts, the first made first: one with a result, else the
    last, which a driver went on with.
    """
    return next(filter(has_result, runs), runs[-1])


def counting_arm(own: Sequence[RunRow], runs: Sequence[RunRow]) -> RunRow:
    """Returns which of an arm's own runs counts: that under which most of the study's runs lie."""
    if len(own) == 1:
        return own[0]
    under = Counter(run.tags.get(PARENT_TAG) for run in runs)
    return max(own, key=lambda arm: under[arm.run_id])
