"""Where a study's results live."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from harness.store.address import JOURNAL, SQLITE, StoreError, without_passwords

TRACKING = "sqlite:///mlflow.db"
"""MLflow's store unless said otherwise: a file in the study's folder."""
STORAGE = "sqlite:///optuna.db"
"""Optuna's storage unless said otherwise: a file in the study's folder."""
_READ_OTHERWISE = re.compile(r"\?|%[0-9A-Fa-f]{2}")
"""What SQLAlchemy takes for the begin of options, or decodes: the file would lie elsewhere."""
FILE_SCHEMES = (SQLITE, JOURNAL)
"""What stands before the path of a store that is a file."""


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
        return self._in_folder(self.tracking)

    @property
    def storage_url(self) -> str:
        """Optuna's address; likewise."""
        return self._in_folder(self.storage)

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

    def _in_folder(self, uri: str) -> str:
        for scheme in FILE_SCHEMES:
            if uri.startswith(scheme):
                if scheme == SQLITE and _READ_OTHERWISE.search(str(self.folder.resolve())):
                    raise StoreError(
                        "folder: must have a path without `?` or a code such as `%20`, which mean "
                        "something else in a database's address, but got "
                        f"folder={str(self.folder.resolve())!r}. Rename it, or choose another "
                        "with --folder."
                    )
                return f"{scheme}{(self.folder / uri.removeprefix(scheme)).resolve()}"
        return uri


def _option(name: str, value: str) -> str:
    return f" --{name} {shlex.quote(without_passwords(value))}"
