"""Which executor a launch takes."""

from pathlib import Path

from harness.runner.executor import Executor, Inline
from harness.store.patience import Say


def open_executor(kind: str, address: str, checkpoints: Path, say: Say) -> Executor:
    """Returns what trains.

    Args:
        kind: ``inline`` or ``ray``, as :func:`harness.store.configuration.executor` tells.
        address: Of the cluster: ``auto``, ``local`` or HOST:PORT.
        checkpoints: The folder of the study's unfinished runs.
        say: Told what a person should know.

    Raises:
        ExecutorError: Its cluster cannot be used.
    """
    if kind == "inline":
        return Inline()
    from harness.runner.ray_executor import RayExecutor  # late: most launches are inline

    return RayExecutor(address, checkpoints, say)
