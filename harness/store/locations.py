"""Where a study's results live."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from harness.store.address import without_passwords

TRACKING = "sqlite:///mlflow.db"
"""MLflow's store unless said otherwise: a file in the study's folder."""
STORAGE = "sqlite:///optuna.db"
"""Optuna's storage unless said otherwise: a file in the study's folder."""


@dataclass(frozen=True)
class Locations:
    """Where a study's results live: side by side in one folder unless said otherwise."""

    folder: Path
    tracking: str = TRACKING
    storage: str = STORAGE

    @property
    def tracking_uri(self) -> str:
        """MLflow's address; a SQLite file without a folder lies in ``folder``."""
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
        is_default = self.storage == STORAGE
        return self.reading_options + ("" if is_default else _option("storage", self.storage))

    @property
    def reading_options(self) -> str:
        """Those of the options that a command takes which looks into MLflow alone."""
        is_here = self.folder.resolve() == Path.cwd()
        options = "" if is_here else _option("folder", str(self.folder))
        is_default = self.tracking == TRACKING
        return options + ("" if is_default else _option("tracking", self.tracking))

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

    def _in_folder(self, uri: str) -> str:
        scheme, separator, path = uri.partition("sqlite:///")
        if not separator or scheme:
            return uri
        return f"sqlite:///{(self.folder / path).resolve()}"


def _option(name: str, value: str) -> str:
    return f" --{name} {shlex.quote(without_passwords(value))}"
