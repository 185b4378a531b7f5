"""What a store holds, through MLflow's client: every kind of store."""

import functools
from collections.abc import Mapping
from pathlib import Path

from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from harness.store.connection import all_pages, connect
from harness.store.rows import (
    MetricPoint,
    RunRow,
    StoredDataset,
    StoredExperiment,
    artifact_path,
)
from harness.store.scratch import scratch_folder


class MlflowSource:
    """Reads a store as :class:`harness.store.rows.Source` says."""

    def __init__(self, uri: str):
        """Connects to the store.

        Raises:
            StoreError: It cannot be reached or is of another MLflow version.
        """
        self._client = connect(uri)

    def experiments(self) -> list[StoredExperiment]:
        """Returns all experiments, the oldest first."""
        search = functools.partial(self._client.search_experiments, max_results=1000)
        experiments = sorted(all_pages(search), key=lambda each: int(each.experiment_id))
        return [
            StoredExperiment(e.experiment_id, e.name, str(e.creation_time)) for e in experiments
        ]

    def tags(self, experiment_id: str) -> Mapping[str, str]:
        """Returns what an experiment keeps beside its runs."""
        return dict(self._client.get_experiment(experiment_id).tags)

    def runs(self, experiment_id: str, phase: str | None = None) -> list[RunRow]:
        """Returns an experiment's runs, of one phase or all, first made first."""
        search = functools.partial(
            self._client.search_runs,
            [experiment_id],
            "" if phase is None else f"tags.phase = '{phase}'",
            order_by=["attribute.start_time ASC"],
        )
        return [_row(run) for run in all_pages(search)]

    def run(self, run_id: str) -> tuple[str, RunRow] | None:
        """Returns a run and the name of its experiment, None where there is no such run."""
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            # The second code is MLflow's for a text that cannot be an id.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        if run.info.lifecycle_stage != "active":
            return None
        return self._client.get_experiment(run.info.experiment_id).name, _row(run)

    def points(self, run_id: str) -> list[MetricPoint]:
        """Returns all that was ever stored of a run's metrics, by time, update and name."""
        metrics = self._client.get_run(run_id).data.metrics
        history = self._client.get_metric_history
        points = [point for name in metrics for point in history(run_id, name)]
        return sorted(MetricPoint(p.timestamp, p.step, p.key, p.value) for p in points)

    def datasets(self, run_id: str) -> list[StoredDataset]:
        """Returns the data sets of a run."""
        inputs = self._client.get_run(run_id).inputs
        datasets = [each.dataset for each in inputs.dataset_inputs] if inputs else []
        return sorted(StoredDataset(d.name, d.digest, d.source_type, d.source) for d in datasets)

    def artifact(self, run: RunRow, name: str) -> bytes | None:
        """Returns a file of a run, None where it has none of that name."""
        path = artifact_path(run.artifact_uri, name)
        if path is not None:
            return path.read_bytes() if path.exists() else None
        if name not in {file.path for file in self._client.list_artifacts(run.run_id)}:
            return None
        with scratch_folder() as folder:
            try:
                copy = self._client.download_artifacts(run.run_id, name, str(folder))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                # MLflow says so of any error on the way, and the server has just named the file.
                raise ConnectionError(f"{name} of run {run.run_id} was not sent") from error
            return Path(copy).read_bytes()


def _row(run: MlflowRun) -> RunRow:
    info, data = run.info, run.data
    return RunRow(
        info.run_id,
        info.status,
        info.artifact_uri,
        dict(data.tags),
        dict(data.params),
        dict(data.metrics),
        info.start_time,
        info.end_time,
    )
