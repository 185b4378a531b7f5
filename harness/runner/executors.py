"""Which executor a launch takes."""

from pathlib import Path

from harness.runner.executor import Executor, ExecutorError, Inline
from harness.store.patience import Say

KINDS = ("inline", "ray")


def open_executor(kind: str, address: str, checkpoints: Path, say: Say) -> Executor:
    """Returns what trains.

    Args:
        kind: One of KINDS.
        address: Of the cluster: ``auto``, ``local`` or HOST:PORT.
        checkpoints: The folder of the study's unfinished runs.
        say: Told what a person should know.

    Raises:
        ExecutorError: There is no such kind, or its cluster cannot be used.
    """
    if kind not in KINDS:
        raise ExecutorError(
            f"executor: must be one of {', '.join(KINDS)}, but got executor={kind!r}. "
            "Use one of these."
        )
    if kind == "inline":
        return Inline()
    from harness.runner.ray_executor import RayExecutor  # late: most launches are inline

    return RayExecutor(address, checkpoints, say)
