"""A study's runs, files and experiment, removed from MLflow."""

import shutil
from dataclasses import replace
from pathlib import Path

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path

from harness.store.address import absolute_uri
from harness.store.connection import connect
from harness.store.notes import load_notes, save_notes
from harness.training.messages import RunState


class StudyRemover:
    """Removes what it is told of one study. The study's lock must be held."""

    def __init__(self, uri: str, experiment_id: str) -> None:
        self.uri, self.experiment_id = absolute_uri(uri), experiment_id
        self._client = connect(self.uri)

    def remove_file(self, run_id: str, path: str) -> None:
        """Removes one artifact of a run."""
        self._artifacts(run_id).delete_artifacts(path)

    def remove_run(self, run_id: str) -> None:
        """Deletes a run and its artifacts; MLflow keeps its row, marked, until ``mlflow gc``."""
        uri = self._client.get_run(run_id).info.artifact_uri
        self._artifacts(run_id).delete_artifacts()
        if uri.startswith("file:"):
            folder = Path(local_file_uri_to_path(uri)).parent
            if folder.name == run_id:
                shutil.rmtree(folder, ignore_errors=True)
        self._client.delete_run(run_id)

    def end_killed(self, run_id: str) -> None:
        """Notes of a run without a driver that it was killed; the next launch goes on with it."""
        self._client.set_tag(run_id, "state", str(RunState.KILLED))
        self._client.set_terminated(run_id, "KILLED")

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

    def _artifacts(self, run_id: str) -> ArtifactRepository:
        uri = self._client.get_run(run_id).info.artifact_uri
        return get_artifact_repository(uri, tracking_uri=self.uri)
