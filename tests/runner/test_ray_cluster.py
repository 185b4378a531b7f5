"""A Ray cluster that does not let this machine in is told so, with what to do."""

from types import SimpleNamespace

import pytest

from harness.runner import ray_cluster
from harness.runner.executor import ExecutorError

exceptions = pytest.importorskip("ray.exceptions", reason="Ray is not installed")


def refused():
    """Raises as Ray does where a cluster was shown no token: its client says so in the cause."""
    said = "InvalidAuthToken: Authentication token is missing or incorrect"
    try:
        raise RuntimeError(f"Failed to connect to GCS. Last connection error: {said}")
    except RuntimeError as error:
        raise ConnectionError("Failed to connect to Ray cluster at head:6379") from error


def without_token():
    """Raises as Ray does where a token is asked for and none is here."""
    raise exceptions.AuthenticationError("Token authentication is enabled")


@pytest.mark.parametrize("init", [refused, without_token])
def test_a_cluster_that_asks_for_a_token_is_told_as_that(monkeypatch, init):
    monkeypatch.setattr(ray_cluster, "_greet", lambda host, port: None)
    ray = SimpleNamespace(init=lambda **_: init(), exceptions=exceptions)
    with pytest.raises(ExecutorError, match="asks for its token.*RAY_AUTH_MODE=token"):
        ray_cluster.join(ray, "head:6379")
