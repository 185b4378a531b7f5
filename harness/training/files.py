"""The names of the files that a run leaves: known without torch."""

import hashlib

MODEL_FILE = "model.npz"
"""The name of a run's model among its artifacts."""
STATES_FILE = "states.json"
"""The name of a run's :class:`harness.training.state_statistics.StateStatistics` there."""


def checkpoint_name(run_id: str) -> str:
    """Returns the name of a run's checkpoint, which is safe whatever the run's id is."""
    return f"{hashlib.sha256(run_id.encode()).hexdigest()[:24]}.checkpoint"
