"""A connection to MLflow's store: its address, its client, the experiments in it."""

import functools
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

# MLflow reads the first when it is imported: a bench reports to nobody. The second keeps its links
# out of stdout.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

# Else it says "Creating initial MLflow database tables..."
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)


class StoreError(ValueError):
    """The store cannot be used as asked; the message says what to do."""


def absolute_uri(uri: str) -> str:
    """Returns a SQLite URI with its path made absolute, any other URI as it is."""
    path, (_, mark, options) = sqlite_path(uri), uri.partition("?")
    return uri if path is None else f"sqlite:///{path.resolve()}{mark}{options}"


def sqlite_path(uri: str) -> Path | None:
    """Returns the file of a SQLite URI, None for any other."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def connect(uri: str) -> MlflowClient:
    """Returns a client of the store, which is made where a SQLite file is not there yet.

    Raises:
        StoreError: The store cannot be reached or is of another MLflow version.
    """
    path = sqlite_path(uri)
    try:
        if path is not None and not path.exists():
            _make(path)
        client = open_client(uri)
    except MlflowException as error:
        raise StoreError(
            f"tracking: MLflow's store must be reachable and of this version, but got uri={uri!r}: "
            f"{error}. Start the server, correct the URI, or run `mlflow db upgrade URI` on a copy "
            "of the database."
        ) from error
    return client


def open_client(uri: str) -> MlflowClient:
    """Returns a client that has reached its store: MLflow's own constructor opens nothing."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.search_experiments(max_results=1)
    return client


def _make(path: Path) -> None:
    """Makes a store whole or not at all: MLflow opens no store whose making was killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{path.stem}.new")
    with FileLock(path.with_name(f".{path.stem}.new.lock")):
        if path.exists():  # another process was faster
            return
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        open_client(f"sqlite:///{making / path.name}")
        os.replace(making / path.name, path)
        making.rmdir()


def experiment_ids(uri: str) -> dict[str, str]:
    """Returns the ids of all experiments by study name."""
    search = functools.partial(connect(uri).search_experiments, max_results=1000)
    return {experiment.name: experiment.experiment_id for experiment in all_pages(search)}


def holds_study(uri: str, study_name: str) -> bool:
    """Returns whether the store has a study of that name; no missing SQLite file is made."""
    path = sqlite_path(uri)
    return (path is None or path.exists()) and study_name in experiment_ids(uri)


def study_of(uri: str, run_id: str) -> str | None:
    """Returns the study that an MLflow run belongs to, None where there is no such run."""
    client = connect(uri)
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        # The second code is MLflow's for a text that cannot be an id.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    if run.info.lifecycle_stage != "active":
        return None
    return client.get_experiment(run.info.experiment_id).name


def rename_study(uri: str, study_name: str, new_name: str) -> None:
    """Gives a study's experiment another name; does nothing where there is none."""
    ids = experiment_ids(uri)
    if study_name in ids:
        connect(uri).rename_experiment(ids[study_name], new_name)


def all_pages(query: Callable[..., Any]) -> list[Any]:
    """Returns the items of all pages of a query of MLflow's."""
    page = query()
    items = list(page)
    while page.token:
        page = query(page_token=page.token)
        items += page
    return items


class Timed(Protocol):
    """An object that counts the wall seconds spent in it."""

    seconds: float


P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=Timed)


def timed(method: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[T, P], R]:
    """Adds a public method's seconds to its object's; public methods do not call one another."""

    @functools.wraps(method)
    def counted(self: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
        start = perf_counter()
        try:
            return method(self, *args, **kwargs)
        finally:
            self.seconds += perf_counter() - start

    return counted
