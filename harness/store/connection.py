"""A connection to MLflow's store through MLflow's own client."""

import logging
import os
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

# MLflow reads the first when it is imported: a bench reports to nobody. The second keeps its links
# out of stdout, the third a bar for each file out of stderr. The fourth ends a call to a server
# that is away, which took 263 s. The last holds whatever the environment says: MLflow would repeat
# a request whose answer was lost, and a run be made twice. The driver asks again itself, says so,
# and looks first what was done.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from harness.store import patience
from harness.store.address import StoreError, sqlite_path
from harness.store.advisory_lock import made_by_one
from harness.store.making import copied, keep, kept_copy, make_whole
from harness.store.moved import mend
from harness.store.presence import await_tracking

OTHER_VERSION = "out-of-date database schema"
"""What MLflow says of tables that an older version made, or a newer one."""
OWN_EXPERIMENT = (
    "UPDATE experiments SET artifact_location = ?, creation_time = ?, last_update_time = ?"
)
"""What a copied store says of the only experiment that it has."""

# Else it says "Creating initial MLflow database tables...", and prints the traceback of every error
# that it raises besides.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def connect(uri: str) -> MlflowClient:
    """Returns a client of the store, which is made where a SQLite file is not there yet.

    Raises:
        StoreError: The store cannot be reached or is of another MLflow version.
        OSError: The disk, or a right on it, lacks.
    """
    path = sqlite_path(uri)
    await_tracking(uri)  # MLflow would try for minutes
    try:
        if path is not None and not path.exists():
            make_whole(path, _make_store)
        elif path is not None:
            mend(path)
        with made_by_one(uri):
            client = open_client(uri)
    except MlflowException as error:
        if patience.is_lasting(error):
            raise patience.lacking(error, path or uri) from error
        if patience.is_passing(error):
            raise patience.never(f"tracking: MLflow's store {path or uri}", error) from error
        if OTHER_VERSION in str(error):
            raise StoreError(
                f"tracking: MLflow's tables must be of the installed MLflow, {version('mlflow')}, "
                f"but those of {path or uri} are of another version. Where an older one made them, "
                f"copy the database and run: mlflow db upgrade {shlex.quote(uri)}. Where a "
                "newer one did, install that."
            ) from error
        reason = " ".join(str(error).split()).rstrip(".")
        raise StoreError(
            f"tracking: MLflow's store must be reachable and of this version, but got uri={uri!r}: "
            f"{reason}. Start the server, correct the URI, or run `mlflow db upgrade URI` on a "
            "copy of the database."
        ) from error
    return client


def open_client(uri: str) -> MlflowClient:
    """Returns a client that has reached its store: MLflow's own constructor opens nothing."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.search_experiments(max_results=1)
    return client


def close(client: MlflowClient) -> None:
    """Closes a client's connections to a database; the next call opens new ones.

    MLflow keeps a store for every address that a process has ever used, and with it connections and
    every statement that was compiled for them, 0.7 MB a study. No public name leads there: where a
    release has others, nothing is closed, which tests/store/test_background.py notices.
    """
    store = getattr(getattr(client, "_tracking_client", None), "store", None)
    engine = getattr(store, "engine", None)
    if engine is not None:
        engine.dispose()
        engine.clear_compiled_cache()


def _make_store(path: Path) -> None:
    """Makes an empty store, or copies one that was made before.

    MLflow's own experiment, which each store has, knows the working directory and the time; all
    else is the same for one version of MLflow.
    """
    copy, folder = kept_copy("mlflow", "sqlalchemy", "alembic"), str(Path.cwd() / "mlruns" / "0")
    if copied(copy, path):
        now = round(time.time() * 1000)
        _execute(path, OWN_EXPERIMENT, folder, now, now)
        return
    close(open_client(f"sqlite:///{path}"))
    if _execute(path, "SELECT artifact_location FROM experiments") == [(folder,)]:
        keep(path, copy)


def _execute(path: Path, statement: str, *values: str | int) -> list[tuple[str | int, ...]]:
    with closing(sqlite3.connect(path)) as file, file:
        return file.execute(statement, values).fetchall()


def rename_study(uri: str, study_name: str, new_name: str) -> None:
    """Gives a study's experiment another name; does nothing where there is none."""
    client = connect(uri)
    experiment = client.get_experiment_by_name(study_name)
    if experiment is not None and experiment.lifecycle_stage == "active":
        client.rename_experiment(experiment.experiment_id, new_name)


def all_pages(query: Callable[..., Any]) -> list[Any]:
    """Returns the items of all pages of a query of MLflow's."""
    page = query()
    items = list(page)
    while page.token:
        page = query(page_token=page.token)
        items += page
    return items


def file_sizes(uri: str, run_id: str) -> dict[str, int]:
    """Returns the sizes in bytes of a run's artifacts by their paths, wherever they lie."""
    return dict(_file_sizes(connect(uri), run_id, None))


def _file_sizes(client: MlflowClient, run_id: str, folder: str | None) -> Iterator[tuple[str, int]]:
    for file in client.list_artifacts(run_id, folder):
        if file.is_dir:
            yield from _file_sizes(client, run_id, file.path)
        else:
            yield file.path, file.file_size or 0
