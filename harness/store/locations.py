"""Where a study's results live."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from harness.store.address import JOURNAL, SQLITE, StoreError, without_passwords

TRACKING = "sqlite:///mlflow.db"
"""MLflow's store unless said otherwise: a file in the study's folder."""
STORAGE = "sqlite:///optuna.db"
"""Optuna's storage unless said otherwise: a file in the study's folder."""


@dataclass(frozen=True)
class Locations:
    """Where a study's results live: side by side in one folder unless said otherwise.

    Attributes:
        folder: Of what lies in files.
        tracking: MLflow's address.
        storage: Optuna's address.
        found_here: What a command finds by itself, from the environment or a file in the working
            directory; None: the defaults.
        is_tracking_kept: Whether the environment or a file says ``tracking``, which is then the
            same in every command: a database that is not there is one that was lost.
    """

    folder: Path
    tracking: str = TRACKING
    storage: str = STORAGE
    found_here: "Locations | None" = field(default=None, compare=False)
    is_tracking_kept: bool = field(default=False, compare=False)

    @property
    def tracking_uri(self) -> str:
        """MLflow's address; a file without a folder lies in ``folder``.

        Raises:
            StoreError: It would lie elsewhere.
        """
        return self._in_folder("tracking", self.tracking)

    @property
    def storage_url(self) -> str:
        """Optuna's address; likewise."""
        return self._in_folder("storage", self.storage)

    @property
    def options(self) -> str:
        """The options by which a command finds these locations, each after a blank.

        A hint ends with them, so that it can be pasted; what is as a command takes it by itself is
        left out. A password is, too: hints are printed and kept.
        """
        is_found = self.storage == self._found.storage
        return self.reading_options + ("" if is_found else _option("storage", self.storage))

    @property
    def reading_options(self) -> str:
        """Those of the options that a command takes which looks into MLflow alone."""
        is_found = self.folder.resolve() == self._found.folder.resolve()
        options = "" if is_found else _option("folder", str(self.folder))
        is_found = self.tracking == self._found.tracking
        return options + ("" if is_found else _option("tracking", self.tracking))

    @property
    def artifacts(self) -> Path:
        """The folder of MLflow's artifacts."""
        return (self.folder / "artifacts").resolve()

    def checkpoints(self, study: str) -> Path:
        """The folder of a study's unfinished runs."""
        return (self.folder / "checkpoints" / study).resolve()

    def waiting_records(self, study: str) -> Path:
        """The file in which records wait for a store that does not answer."""
        return self.checkpoints(study).with_name(f"{study}.records")

    @property
    def _found(self) -> "Locations":
        return self.found_here or Locations(Path.cwd())

    def _in_folder(self, name: str, uri: str) -> str:
        if uri.startswith(JOURNAL):
            return f"{JOURNAL}{(self.folder / uri.removeprefix(JOURNAL)).resolve()}"
        if not uri.startswith(SQLITE):
            return uri
        relative, mark, options = uri.removeprefix(SQLITE).partition("?")
        path = str((self.folder / relative).resolve())
        address = f"{SQLITE}{path}{mark}{options}"
        if (read := _read(address)) != path:
            raise self._read_otherwise(name, uri, relative, read)
        return address

    def _read_otherwise(self, name: str, uri: str, relative: str, read: str) -> StoreError:
        """Returns the error of a file that would lie elsewhere, by the fault of folder or address.

        Args:
            name: ``tracking`` or ``storage``.
            uri: The address.
            relative: The path in it.
            read: Which file SQLAlchemy reads from the whole path.
        """
        if _read(f"{SQLITE}{relative}") != relative:
            return StoreError(
                f"{name}: must name the file that SQLAlchemy reads from it, but got "
                f"{name}={uri!r}, which it reads as {read!r}. Write its path without codes."
            )
        folder = str(self.folder.resolve())
        return StoreError(
            "folder: must have a path that a database's address can hold, where `?` and codes such "
            f"as `%20` mean something else, but got folder={folder!r}. Rename it, or choose "
            "another with --folder."
        )


def _read(address: str) -> str:
    """Returns which file SQLAlchemy reads from an address: its releases decode different codes."""
    path = address.removeprefix(SQLITE)
    if "%" not in path and "?" not in path:  # SQLAlchemy takes long to load
        return path
    import sqlalchemy

    return sqlalchemy.make_url(address).database or ""


def _option(name: str, value: str) -> str:
    return f" --{name} {shlex.quote(without_passwords(value))}"
