"""Runs of other stores, copied into a study's experiment with their times, points and files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

from harness.store.address import StoreError
from harness.store.connection import connect
from harness.store.counting import PARENT_TAG
from harness.store.entries import Entry, write
from harness.store.experiment import store_files
from harness.store.kept import STUDY_FILE
from harness.store.notes import StudyNotes
from harness.store.reader import ARM_PHASE, StudyReader, phase_of, unit_of
from harness.store.rows import RunRow, StoredDataset, artifact_path
from harness.store.writer import StudyWriter
from harness.study.units import Unit
from harness.training.messages import RunState


class StudyCopy:
    """An experiment that is filled with runs of other stores, and gets its own name at the end.

    Attributes:
        birth: When the experiment was made, as :attr:`StudyReader.birth`.
    """

    def __init__(self, uri: str, name: str, artifact_root: Path) -> None:
        """Makes the experiment.

        Args:
            uri: MLflow's store, as :class:`StudyWriter` takes it; so is the next.
            name: The experiment's until it is whole.
            artifact_root: Folder of the artifacts where the store is no server.

        Raises:
            StoreError: The store cannot be used.
        """
        self._writer = StudyWriter(uri, name, artifact_root)
        self._client = connect(self._writer.uri)
        self._arm_runs: dict[Unit, str] = {}
        self._study_file: dict[str, str] = {}
        self.birth = self._writer.reader.birth

    def describe(
        self, identity: Mapping[str, Any], notes: StudyNotes, tags: Mapping[str, str]
    ) -> None:
        """Keeps what the study is, what it remembers, and other tags of the experiment."""
        self._writer.set_identity(identity)
        self._writer.save_notes(notes)
        for key, value in tags.items():
            self._client.set_experiment_tag(self._writer.experiment_id, key, value)

    def keep_study_file(self, text: str) -> None:
        """Keeps a study's file with every arm that is added from now on, instead of its own."""
        self._study_file = {STUDY_FILE: text}

    def add(self, reader: StudyReader, run: RunRow) -> None:
        """Copies a run that is over; an arm's own run comes before those of its arm.

        An arm's own run that is not over becomes one that was killed: nobody goes on with it here.

        Raises:
            StoreError: Its files are not on this machine.
        """
        is_arm, arm = phase_of(run) == ARM_PHASE, unit_of(run).first_repeat
        is_over = run.status in ("FINISHED", "FAILED")
        tags = dict(run.tags) if is_over else {**run.tags, "state": str(RunState.KILLED)}
        if not is_arm:
            tags[PARENT_TAG] = self._arm_runs[arm]
        made = self._client.create_run(
            self._writer.experiment_id,
            start_time=run.start_time,
            tags=tags,
            run_name=tags.get("mlflow.runName"),
        )
        run_id = made.info.run_id
        if is_arm:
            self._arm_runs[arm] = run_id
        records = [[Metric(p.metric, p.value, p.time_ms, p.update)] for p in reader.points(run)]
        params = [Param(name, value) for name, value in run.params.items()]
        write(self._client, Entry(run_id, "RUNNING", buffer=records, new_params=params))
        if datasets := reader.datasets(run):
            self._client.log_inputs(run_id, datasets=[_input(each) for each in datasets])
        if (folder := files_of(run)) is not None:
            self._client.log_artifacts(run_id, str(folder))
        if is_arm:
            store_files(self._client, run_id, self._study_file)
        status = run.status if is_over else "KILLED"
        self._client.set_terminated(run_id, status=status, end_time=run.end_time)

    def finish(self, name: str) -> None:
        """Gives the experiment its name: from now on it is the study."""
        self._client.rename_experiment(self._writer.experiment_id, name)

    def close(self) -> None:
        """Closes the connections."""
        self._writer.close()


def files_of(run: RunRow) -> Path | None:
    """Returns the folder of a run's files; None where it has none.

    Raises:
        StoreError: It is not on this machine.
    """
    folder = artifact_path(run.artifact_uri, "")
    if folder is None:
        raise StoreError(
            "artifacts: must lie in the folder that is merged, but a run's lie at "
            f"{run.artifact_uri}. Copy them there, as MLflow does: mlflow artifacts download."
        )
    return folder if folder.is_dir() and any(folder.iterdir()) else None


def _input(dataset: StoredDataset) -> DatasetInput:
    name, digest, source_type, source = dataset
    context = InputTag("mlflow.data.context", "training")
    return DatasetInput(Dataset(name, digest, source_type, source), [context])
