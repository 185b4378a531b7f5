"""A worker in a process of its own, on this machine or another: it is given a pack and its text.

It imports nothing that calls it there: whoever can start a Python class far away can use it.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cells import registry
from harness import data, provenance
from harness.cache import cache_folder
from harness.training.files import write_whole
from harness.training.messages import Message
from harness.training.plan import Plan
from harness.training.steps import Steps, steps


@dataclass(frozen=True)
class SharedFolder:
    """A file that shows whether a machine sees the driver's disk: it has this content there."""

    file: str
    content: str

    def is_seen(self) -> bool:
        """Returns whether this machine sees it."""
        try:
            return Path(self.file).read_text(encoding="ascii") == self.content
        except (OSError, ValueError):
            return False


class Worker:
    """Trains one pack after the other, a step a call."""

    def __init__(self) -> None:
        self._steps: Steps | None = None

    def versions(self) -> dict[str, str]:
        """Returns what must be the same where numbers are to be: packages, and the bench's code."""
        return versions()

    def begin(
        self,
        plan: Plan,
        text: data.Data,
        cell_files: Mapping[str, bytes],
        shared: SharedFolder | None,
    ) -> list[Message] | None:
        """Begins a pack and returns what its first step says.

        Args:
            plan: The pack; its checkpoints are left out where this machine does not see them.
            text: What its settings name, as the driver read it.
            cell_files: The content of every file of cells, by its path in the plan.
            shared: How to tell whether the folder of checkpoints is seen here.
        """
        if shared is None or not shared.is_seen():
            plan = replace(plan, checkpoint_folder=None)
        for path, content in cell_files.items():
            registry.read_from(path, _kept(Path(path).name, content))
        data.provide(plan.settings, text)
        if self._steps is not None:
            self._steps.close()  # with its threads: its last step may have been its end
        self._steps = steps([plan])
        return next(self._steps, None)

    def advance(self, pruned: set[str]) -> list[Message] | None:
        """Prunes runs, goes on, and returns what the next step says; None at the pack's end."""
        assert self._steps is not None
        try:
            return self._steps.send(pruned)
        except StopIteration:
            return None


def _kept(name: str, content: bytes) -> Path:
    """Returns a file of this content, which stays: a worker that is killed removes nothing."""
    folder = cache_folder() / "cells" / hashlib.sha256(content).hexdigest()[:32]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = folder / name
    write_whole(copy, content)
    return copy


@functools.cache
def versions() -> dict[str, str]:
    """Returns the versions that numbers depend on, without what says for which device torch is."""
    found: dict[str, Any] = {
        name: version.partition("+")[0]
        for name, version in provenance.versions().items()
        if name in ("python", "torch", "numpy")
    }
    return {**found, "recurrent-bench": _code()}


def _code() -> str:
    """Returns a digest of the files that a worker's numbers come from."""
    digest = hashlib.sha256()
    for file in code_files():
        digest.update(f"{file.relative_to(_ROOT).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def code_files() -> list[Path]:
    """Returns the files of all that a worker loads, draws and defaults among it."""
    parts = ("data", "engine", "model", "settings", "tasks", "training")
    folders = [_ROOT / "cells", *(_ROOT / "harness" / part for part in parts)]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in _CODE]
    return sorted([*files, *(_ROOT / "harness").glob("*.py")])


_ROOT = Path(__file__).resolve().parent.parent.parent
_CODE = (".py", ".h", ".cpp")
