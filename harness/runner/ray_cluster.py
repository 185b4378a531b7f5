"""Joining a Ray cluster: whether there is one is told soon, and which nodes are unlike this one."""

import os
import signal
import socket
import threading
from collections.abc import Mapping
from typing import Any

from harness.runner.executor import ExecutorError
from harness.training.remote import versions

CONNECT_SECONDS = 5.0
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a client of HTTP/2 begins, which Ray speaks: with the preface and an empty SETTINGS frame."""
FRAME_BYTES, FRAME_KIND, SETTINGS_KIND = 9, 3, 4
"""Of a frame's head: its length, the place of its kind, and the kind that a server answers with."""


def imported() -> Any:
    """Returns the package ray, which reports to nobody.

    Raises:
        ExecutorError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of its future
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ExecutorError(
            "executor: ray needs the package ray, which is not installed. "
            "Install it: pip install 'recurrent-bench[ray]'."
        ) from error
    return ray


def join(ray: Any, address: str) -> None:
    """Joins the cluster; signals are handled as before, and Ray prints nothing.

    Raises:
        ExecutorError: None answers at the address, or it does not let this machine in.
    """
    where = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    remedy = "Start one (ray start --head), or name its address with --executor-address."
    shown = where.rpartition("@")[2]  # what somebody wrote before it is a name and a password
    wrong = f"executor: a Ray cluster must answer at {shown}, but"
    if where not in ("auto", "local"):
        host, _, port = where.rpartition(":")
        try:
            _greet(host, int(port))
        except (OSError, ValueError, OverflowError) as error:
            raise ExecutorError(f"{wrong} got {str(error)!r}. {remedy}") from error
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    quiet |= {"include_dashboard": False} if where == "local" else {}
    try:
        ray.init(address=where, **quiet)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if _is_of_token(ray, error):
            wrong = f"executor: a Ray cluster must let this machine in at {shown}, but"
            remedy = (
                "Copy ~/.ray/auth_token of its head node to this one, and set RAY_AUTH_MODE=token; "
                "an address that is written out is shown no token otherwise."
            )
            raise ExecutorError(f"{wrong} asks for its token. {remedy}") from error
        raise ExecutorError(f"{wrong} got {first_line(error)!r}. {remedy}") from error
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def _greet(host: str, port: int) -> None:
    """Raises OSError where nobody listens, or one that does not speak Ray's protocol.

    Ray itself asks a port that is open for 81 s before it says so.
    """
    with socket.create_connection((host, port), CONNECT_SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            return  # what it would say is for those who have its certificate
        connection.settimeout(CONNECT_SECONDS)
        connection.sendall(GREETING)
        answer = connection.recv(FRAME_BYTES, socket.MSG_WAITALL)
        if len(answer) < FRAME_BYTES or answer[FRAME_KIND] != SETTINGS_KIND:
            raise OSError(f"an answer that is not Ray's: {answer!r}")


def _is_of_token(ray: Any, error: BaseException | None) -> bool:
    """Returns whether a cluster asks for a token that it was not shown, or that is not here."""
    if error is None:
        return False
    is_asked = isinstance(error, ray.exceptions.AuthenticationError)
    return is_asked or "InvalidAuthToken" in str(error) or _is_of_token(ray, error.__cause__)


def check_versions(theirs: Mapping[str, str]) -> None:
    """Raises ExecutorError where a worker would compute with something else."""
    ours = versions()
    other = [name for name in ours if theirs.get(name) != ours[name]]
    if other:
        differ = ", ".join(f"{name} {theirs.get(name)} (here {ours[name]})" for name in other)
        raise ExecutorError(
            f"executor: nodes must have the versions of this machine, but one has {differ}. "
            "Install the same on all."
        )


def first_line(error: Exception) -> str:
    """Returns the first line of an error that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
