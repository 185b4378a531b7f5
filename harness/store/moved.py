"""A store that was moved or copied together with its artifacts.

MLflow keeps the absolute path of every run's artifacts. They are looked for beside the database
first, since a folder of results is moved and copied as a whole.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from harness.store.rows import artifact_path

SECONDS_TO_WAIT = 1.0
"""How long another process may hold the file, unheard by Ctrl-C; it has opened and mended it."""


def artifact_uri_now(database: Path, run_id: str, artifact_uri: str) -> str:
    """Returns where the artifacts of a run lie now: as recorded, or beside the database.

    Args:
        database: MLflow's SQLite file.
        run_id: MLflow's.
        artifact_uri: As recorded; ``.../artifacts/RUN_ID/artifacts`` where this project made it.
    """
    path = artifact_path(artifact_uri, "")
    if path is None or path.parent.name != run_id:
        return artifact_uri
    recorded = path.parent.parent
    root = _root_now(database, recorded)
    if root == recorded:
        return artifact_uri
    here = root / run_id / path.name
    is_here = here.is_dir() or (root.is_dir() and not recorded.is_dir())
    return here.as_uri() if is_here else artifact_uri


def mend(database: Path) -> None:
    """Records where artifacts lie now, where that is not what the database says.

    A database that is not MLflow's, or that cannot be written, stays as it is.
    """
    try:
        with closing(sqlite3.connect(database, timeout=SECONDS_TO_WAIT)) as connection:
            runs = connection.execute("SELECT run_uuid, artifact_uri, experiment_id FROM runs")
            moved = {
                run_id: (uri, experiment)
                for run_id, recorded, experiment in runs.fetchall()
                if (uri := artifact_uri_now(database, run_id, recorded or "")) != recorded
            }
            locations = _locations_now(connection, database, {each for _, each in moved.values()})
            if not moved and not locations:
                return
            with connection:
                connection.executemany(
                    "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?",
                    [(uri, run_id) for run_id, (uri, _) in moved.items()],
                )
                connection.executemany(
                    "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                    [(uri, experiment) for experiment, uri in locations.items()],
                )
    except sqlite3.Error:
        return


def _locations_now(
    connection: sqlite3.Connection, database: Path, moved: set[int]
) -> dict[int, str]:
    """Returns the folders of the experiments whose folder is another now.

    ``moved`` are the experiments of which runs were found beside the database.
    """
    rows = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
    locations = {}
    for experiment, recorded in rows:
        root = artifact_path(recorded or "", "")
        if root is None:
            continue
        here = _root_now(database, root)
        if here != root and here.is_dir() and (experiment in moved or not root.is_dir()):
            locations[experiment] = here.as_uri()
    return locations


def _root_now(database: Path, root: Path) -> Path:
    return database.absolute().parent / root.name
