"""Whether a database in a file is whole, is the one that it must be, and is not one that was lost.

What is wrong is one line each, with the way out. Nothing is ever made anew in place of what was
there, and nobody is told to delete what is only missing.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from harness.store import patience
from harness.store.address import SQLITE, StoreError, sqlite_path
from harness.store.locations import STORAGE, TRACKING, Locations

MAGIC = b"SQLite format 3\0"
MLFLOWS_TABLES = frozenset({"experiments", "runs", "tags", "params", "latest_metrics"})
OPTUNAS_TABLES = frozenset({"studies", "trials", "trial_params", "trial_values"})
SQLITE_SECONDS = 0.5
"""How long SQLite itself waits for another process: meanwhile it hears no Ctrl-C."""
_RUN_FOLDER = re.compile(r"[0-9a-f]{32}")
_PAGE_SIZE, _NUM_PAGES = slice(16, 18), slice(28, 32)
"""Where a SQLite file's header holds the size of a page, and how many there are."""
REMEDY = (
    "Put back a copy of the file, or move it away and name another folder with --folder; "
    "`sqlite3 FILE .recover` saves what can still be read."
)
JOURNAL_REMEDY = (
    "Put back a copy of the file, or move it away: the next launch restores the trials whose runs "
    "MLflow holds."
)

Answer = TypeVar("Answer")


def check_database(path: Path) -> None:
    """Raises StoreError where a SQLite file that exists is damaged; it costs next to nothing."""
    if fault := database_fault(path, whole=False):
        raise StoreError(f"{path}: must be a whole SQLite database, but {fault}. {REMEDY}")


def database_fault(path: Path, *, whole: bool) -> str | None:
    """Returns what is wrong with a SQLite file; None where nothing is, and for a missing one."""
    if path.is_dir():
        return "is a folder"
    try:
        with open(path, "rb") as file:
            header = file.read(100)
    except (FileNotFoundError, NotADirectoryError):  # whoever makes it says why it cannot
        return None
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not header:  # SQLite's own word for a database without tables; check_not_lost asks further
        return None
    if not header.startswith(MAGIC):
        return "holds something else"
    page_size = int.from_bytes(header[_PAGE_SIZE], "big")
    num_pages = int.from_bytes(header[_NUM_PAGES], "big")
    needed = (65536 if page_size == 1 else page_size) * num_pages
    # In this order: what another process is writing is whole once its journal is gone.
    if not _has_journal(path) and (size := path.stat().st_size) < needed:
        return f"is cut off after {size:,} bytes"
    try:
        connection = _connect(path)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
            if whole:
                (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
                return None if found == "ok" else f"is damaged ({found.splitlines()[-1]})"
        finally:  # as in ask
            connection.close()
    except sqlite3.OperationalError as error:
        # Whoever holds the file has opened it; what else cannot be opened is told by who needs it.
        return "is damaged" if "malformed" in str(error) else None
    except sqlite3.DatabaseError as error:
        return f"is damaged ({error})"
    return None


def _has_journal(path: Path) -> bool:
    """Returns whether SQLite will mend the file when it is opened: a process was killed."""
    return any(path.with_name(f"{path.name}{end}").exists() for end in ("-journal", "-wal"))


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=SQLITE_SECONDS)


def tables_of(path: Path) -> frozenset[str]:
    """Returns the names of a SQLite file's tables."""
    with closing(_connect(path)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return frozenset(name for (name,) in rows)


def doubled_points(path: Path) -> list[tuple[str, str, int]]:
    """Returns what was stored more than once: (run id, metric, update).

    At its last update a run has a metric twice, once as a point and once in its summary.
    """
    query = (
        "SELECT run_uuid, key, step FROM metrics "
        "JOIN (SELECT run_uuid, max(step) AS last FROM metrics GROUP BY run_uuid) USING (run_uuid) "
        "GROUP BY run_uuid, key, step HAVING count(*) > (CASE WHEN step = last THEN 2 ELSE 1 END)"
    )
    return ask(path, lambda connection: connection.execute(query).fetchall())


def ask(
    path: Path,
    question: Callable[[sqlite3.Connection], Answer],
    seconds_to_wait: float | None = None,
) -> Answer:
    """Returns what a question to MLflow's SQLite file returns; Ctrl-C ends the wait for it.

    Args:
        path: The file.
        question: Asks a connection that can only read; called again while the file is held.
        seconds_to_wait: How long another process may hold it; None: as a launch waits.

    Raises:
        StoreError: It is held for longer, or cannot be read: it is damaged, or there is none.
    """
    begun = time.monotonic()
    while True:
        try:
            connection = _connect(path)
            try:
                return question(connection)
            finally:  # a Ctrl-C in SQLite's wait is heard on the way into closing, which would not
                connection.close()
        except sqlite3.DatabaseError as error:
            if not patience.is_passing(error):
                raise StoreError(
                    f"{path}: must be MLflow's database, whole, but reading it says "
                    f"{str(error)!r}. {REMEDY} `harness doctor{_options(path)}` says more."
                ) from error
            limit = patience.START_SECONDS if seconds_to_wait is None else seconds_to_wait
            if (seconds := time.monotonic() - begun) >= limit:
                raise patience.never(str(path), error, seconds) from error
        patience.pause(patience.PAUSE_SECONDS, lambda: None)


def _options(path: Path) -> str:
    """Returns the options by which a command finds MLflow's file."""
    folder, is_usual = path.parent, sqlite_path(TRACKING) == Path(path.name)
    tracking = TRACKING if is_usual else f"{SQLITE}{path.name}"
    return Locations(folder, tracking).reading_options


def check_stores(locations: Locations, *, new: bool = False) -> None:
    """Raises StoreError where a database of a study is damaged, foreign, or was lost.

    It is asked before anything is opened, since MLflow and Optuna make what they do not find.

    Args:
        locations: Where the databases are.
        new: The person begins anew, whatever was lost.
    """
    for uri, name, wanted in (
        (locations.tracking_uri, "MLflow's", MLFLOWS_TABLES),
        (locations.storage_url, "Optuna's", OPTUNAS_TABLES),
    ):
        path = sqlite_path(uri)
        if path is None:
            continue
        check_database(path)
        if path.exists() and path.stat().st_size:
            _check_own(path, name, wanted)
    if not new:
        check_not_lost(locations)


def _check_own(path: Path, name: str, wanted: frozenset[str]) -> None:
    try:
        tables = tables_of(path)
    except sqlite3.OperationalError:  # another process holds it, and so has opened it
        return
    if tables and not wanted <= tables:
        raise StoreError(
            f"{path}: must be {name} database, but holds the tables of something else "
            f"({', '.join(sorted(tables)[:4])}). Name another file, or another folder with "
            "--folder."
        )


def check_not_lost(locations: Locations) -> None:
    """Raises StoreError where MLflow's database is gone from a folder that shows it had one.

    A database that a command names is one that may be new: the usual one is asked for, and one that
    a file or the environment names, unless the usual one is there and is what the traces are of.
    """
    path = sqlite_path(locations.tracking_uri)
    if path is None or _holds_anything(path):
        return
    if locations.tracking != TRACKING:
        usual = sqlite_path(Locations(locations.folder).tracking_uri)
        if not locations.is_tracking_kept or usual is None or _holds_anything(usual):
            return
    traces = list(_traces(locations))
    if not traces:
        return
    what = "is empty" if path.exists() else "is missing"
    raise StoreError(
        f"{path}: must be there, but {what}, while the folder shows that studies were run in it: "
        f"{', '.join(traces)}. Put the file back, or name its address with --tracking or its "
        "folder with --folder. To begin anew beside what is left, use --new."
    )


def _holds_anything(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _traces(locations: Locations) -> Iterator[str]:
    """Yields what studies have left in a folder, in words."""
    runs = _entries(locations.artifacts)
    if count := sum(_RUN_FOLDER.fullmatch(each.name) is not None for each in runs):
        yield f"artifacts of {count} run{'s' * (count > 1)}"
    storage = sqlite_path(locations.storage_url)
    if storage is not None and storage.is_file() and locations.storage == STORAGE:
        try:
            with closing(_connect(storage)) as connection:
                (count,) = connection.execute("SELECT count(*) FROM studies").fetchone()
        except sqlite3.Error:
            count = 0
        if count:
            yield f"{count} searches in {storage.name}"
    folders = _entries(locations.folder / "checkpoints")
    if any(path.suffix == ".checkpoint" for folder in folders for path in _entries(folder)):
        yield "checkpoints"


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
