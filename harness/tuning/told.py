"""What a storage holds of searches, as plain values, for whoever compares it with the runs."""

from dataclasses import dataclass

from optuna.trial import TrialState

from harness.tuning.storage import opened

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class StoredTrial:
    """A trial: its number, one of STATES, and its value in nats where it is complete."""

    number: int
    state: str
    nats: float | None


def stored_trials(url: str, start: str, end: str) -> dict[str, list[StoredTrial]]:
    """Returns the trials of all searches by what stands between ``start`` and ``end`` in a name.

    Args:
        url: The storage's, which must exist.
        start: How the names of the searches begin.
        end: How they end.

    Raises:
        SearchError: The storage cannot be reached.
        StoreError: Its server does not answer.
        OSError: The disk or a right on it lacks.
    """
    trials = {}
    with opened(url) as storage:
        for study in storage.get_all_studies():
            name = study.study_name
            if name.startswith(start) and name.endswith(end):
                stored = storage.get_all_trials(study._study_id, deepcopy=False)
                trials[name.removeprefix(start).removesuffix(end)] = [
                    StoredTrial(t.number, STATES[t.state], t.values[0] if t.values else None)
                    for t in stored
                ]
    return trials
