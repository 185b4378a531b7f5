"""What a store holds, as plain values, and what a reader of a store must do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname


@dataclass(frozen=True)
class StoredExperiment:
    """An experiment: a study's, or anybody's. ``birth`` is when it was made, in milliseconds."""

    id: str
    name: str
    birth: str


@dataclass(frozen=True)
class RunRow:
    """A run as the store keeps it.

    ``metrics`` are the last values; an infinity is kept as the largest float. ``start_time`` and
    ``end_time`` are in Unix milliseconds.
    """

    run_id: str
    status: str
    artifact_uri: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    start_time: int | None = None
    end_time: int | None = None


class MetricPoint(NamedTuple):
    """A value of a metric at an update; ``time_ms`` is in Unix milliseconds."""

    time_ms: int
    update: int
    metric: str
    value: float


class StoredDataset(NamedTuple):
    """What the column of data sets shows of a run."""

    name: str
    digest: str
    source_type: str
    source: str


class Source(Protocol):
    """Reads a store; whatever was deleted is not there."""

    def experiments(self) -> list[StoredExperiment]:
        """Returns all experiments, the oldest first."""
        ...

    def tags(self, experiment_id: str) -> Mapping[str, str]:
        """Returns what an experiment keeps beside its runs."""
        ...

    def runs(self, experiment_id: str, phase: str | None = None) -> list[RunRow]:
        """Returns an experiment's runs, of one phase or all, first made first."""
        ...

    def run(self, run_id: str) -> tuple[str, RunRow] | None:
        """Returns a run and the name of its experiment, None where there is no such run."""
        ...

    def points(self, run_id: str) -> list[MetricPoint]:
        """Returns all that was ever stored of a run's metrics, by time, update and name."""
        ...

    def datasets(self, run_id: str) -> list[StoredDataset]:
        """Returns the data sets of a run."""
        ...

    def artifact(self, run: RunRow, name: str) -> bytes | None:
        """Returns a file of a run, None where it has none of that name."""
        ...


def artifact_path(artifact_uri: str, name: str) -> Path | None:
    """Returns the file of an artifact on this machine, None where artifacts lie elsewhere."""
    parts = urlsplit(artifact_uri)
    return Path(url2pathname(parts.path), name) if parts.scheme == "file" else None


def is_own_folder(artifact_uri: str, run_id: str, artifact_root: Path) -> bool:
    """Returns whether a folder of artifacts is one that was made for a run, which may be removed.

    What a database says of it may have been changed, or have come from elsewhere.

    Args:
        artifact_uri: As the database says it.
        run_id: MLflow's.
        artifact_root: The folder of the artifacts of all runs on this machine.
    """
    path = artifact_path(artifact_uri, "")
    if path is not None:
        return path.resolve() == artifact_root.resolve() / run_id / "artifacts"
    parts = urlsplit(artifact_uri)
    return bool(parts.scheme) and run_id in Path(parts.path).parts
