"""Which executor a launch takes."""

from pathlib import Path
from typing import assert_never

from harness.runner.executor import Executor, Inline
from harness.store.configuration import ExecutorKind
from harness.store.patience import Say


def open_executor(kind: ExecutorKind, address: str, checkpoints: Path, say: Say) -> Executor:
    """Returns what trains.

    Args:
        kind: As :func:`harness.store.configuration.executor` tells.
        address: Of the cluster: ``auto``, ``local`` or HOST:PORT.
        checkpoints: The folder of the study's unfinished runs.
        say: Told what a person should know.

    Raises:
        ExecutorError: Its cluster cannot be used.
    """
    if kind == "inline":
        return Inline()
    if kind == "ray":
        from harness.runner.ray_executor import RayExecutor  # late: most launches are inline

        return RayExecutor(address, checkpoints, say)
    assert_never(kind)
