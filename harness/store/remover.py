"""A study's runs, files and experiment, removed from MLflow."""

import shutil
from dataclasses import replace
from pathlib import Path

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from harness.store.address import absolute_uri
from harness.store.connection import connect
from harness.store.notes import load_notes, save_notes
from harness.store.reader import SUPERSEDED_PHASE
from harness.store.rows import RunRow, artifact_path, is_own_folder
from harness.training.messages import RunState


class StudyRemover:
    """Removes what it is told of one study. The study's lock must be held.

    Files that lie elsewhere than where the bench puts them stay.
    """

    def __init__(self, uri: str, experiment_id: str, artifact_root: Path) -> None:
        self.uri, self.experiment_id = absolute_uri(uri), experiment_id
        self._artifact_root = artifact_root
        self._client = connect(self.uri)

    def remove_file(self, run_id: str, path: str) -> None:
        """Removes one artifact of a run."""
        if (artifacts := self._artifacts(run_id)) is not None:
            artifacts.delete_artifacts(path)

    def remove_run(self, run_id: str) -> None:
        """Deletes a run and its artifacts; MLflow keeps its row, marked, until ``mlflow gc``."""
        if (artifacts := self._artifacts(run_id)) is not None:
            artifacts.delete_artifacts()
            folder = artifact_path(artifacts.artifact_uri, "")
            if folder is not None:
                shutil.rmtree(folder.parent, ignore_errors=True)
        self._client.delete_run(run_id)

    def end_killed(self, run_id: str) -> None:
        """Notes of a run, or an arm's own, that it has no driver; the next launch goes on."""
        self._client.set_tag(run_id, "state", str(RunState.KILLED))
        self._client.set_terminated(run_id, "KILLED")

    def put_aside(self, run: RunRow) -> None:
        """Has a run count no more; it stays, as one of a setting that another has replaced."""
        if run.status == "RUNNING":
            self.end_killed(run.run_id)
        self._client.set_tag(run.run_id, "phase", SUPERSEDED_PHASE)

    def forget_report(self, *, timings: bool) -> None:
        """Notes that the study is no longer complete, and that the shown report does not hold.

        Where ``timings``, the stored timings do not hold either.
        """
        notes = load_notes(self._client.get_experiment(self.experiment_id).tags)
        notes = replace(notes, reported="", complete="")
        save_notes(self._client, self.experiment_id, replace(notes, timed="") if timings else notes)

    def remove_experiment(self, new_name: str) -> None:
        """Deletes the experiment under a new name, so that its own is free."""
        self._client.rename_experiment(self.experiment_id, new_name)
        self._client.delete_experiment(self.experiment_id)

    def _artifacts(self, run_id: str) -> ArtifactRepository | None:
        """Returns what removes a run's files; None where they are not known to be its own."""
        uri = self._client.get_run(run_id).info.artifact_uri
        if not is_own_folder(uri, run_id, self._artifact_root):
            return None
        return get_artifact_repository(uri, tracking_uri=self.uri)
