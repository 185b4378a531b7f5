"""What of a study's experiment is made: itself, its description, its runs and their files."""

import getpass
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlflow.entities import Dataset, DatasetInput, InputTag

from harness.store.address import StoreError
from harness.store.entries import Entry, texts_of
from harness.store.notes import DESCRIPTION_TAG, EXPERIMENT_TAG_LENGTH
from harness.store.scratch import scratch_folder
from harness.store.views import View
from harness.study.units import Unit
from harness.training.messages import RunState

if TYPE_CHECKING:
    from mlflow import MlflowClient

SOURCE_TAGS = {"mlflow.source.name": "harness", "mlflow.source.type": "LOCAL"}


def open_experiment(client: "MlflowClient", study_name: str, location: str | None) -> str:
    """Returns the id of a study's experiment, which is made where there is none.

    Args:
        client: MLflow's.
        study_name: The experiment's name.
        location: Where its artifacts will lie; None: where the server keeps them.

    Raises:
        StoreError: It was deleted.
    """
    experiment = client.get_experiment_by_name(study_name)
    if experiment is None:
        return client.create_experiment(study_name, artifact_location=location)
    if experiment.lifecycle_stage != "active":
        raise StoreError(
            "tracking: the study's experiment must not be deleted, but got "
            f"study={study_name!r}, deleted. Restore it (`mlflow experiments restore "
            f"-x {experiment.experiment_id}`) or rename the study."
        )
    return experiment.experiment_id


def describe(client: "MlflowClient", experiment_id: str, markdown: str) -> None:
    """Shows Markdown on the experiment's page, cut at a line where it is too long."""
    cut = "\n\n*(cut to the length that MLflow takes; `harness report` shows all of it)*\n"
    if len(markdown) > EXPERIMENT_TAG_LENGTH:
        markdown = markdown[: EXPERIMENT_TAG_LENGTH - len(cut)].rpartition("\n")[0] + cut
    client.set_experiment_tag(experiment_id, DESCRIPTION_TAG, markdown)


def set_view(client: "MlflowClient", experiment_id: str, view: View) -> None:
    """Keeps a view for the experiment's page, unless it is longer than MLflow takes."""
    if len(view.value) <= EXPERIMENT_TAG_LENGTH:
        client.set_experiment_tag(experiment_id, view.tag, view.value)


def create_run(
    client: "MlflowClient",
    experiment_id: str,
    name: str,
    unit: Unit,
    place: Mapping[str, Any],
    tags: Mapping[str, Any],
) -> Entry:
    """Makes a run and returns what is known of it.

    Args:
        client: MLflow's, or one that records.
        experiment_id: Of its experiment.
        name: Shown in the UI.
        unit: Whose run it is.
        place: Its phase, index and draw.
        tags: All others.
    """
    of_unit = {name: value for name, value in unit._asdict().items() if value}
    state = {"state": str(RunState.RUNNING)}
    texts = texts_of({**SOURCE_TAGS, "mlflow.user": _user(), **tags, **of_unit, **place, **state})
    run = client.create_run(experiment_id, run_name=name, tags=texts)
    return Entry(run.info.run_id, "RUNNING", is_loaded=True)


def log_dataset(
    client: "MlflowClient", run_id: str, name: str, fingerprint: str, source: str
) -> None:
    """Fills a run's dataset column: the corpus, the start of its fingerprint, its origin."""
    dataset = Dataset(name, fingerprint[:12], source_type="text", source=source)
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, datasets=[DatasetInput(dataset, [context])])


def store_files(client: "MlflowClient", run_id: str, artifacts: Mapping[str, str | bytes]) -> None:
    """Stores files of a run, content by path, at once."""
    if not artifacts:
        return
    with scratch_folder() as folder:
        for name, content in artifacts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        client.log_artifacts(run_id, str(folder))


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user without a name
        return "unknown"
