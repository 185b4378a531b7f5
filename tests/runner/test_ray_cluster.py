"""A Ray cluster that does not let this machine in is told so, with what to do."""

import mmap
from types import SimpleNamespace

import pytest

from harness.runner import ray_cluster
from harness.runner.executor import ExecutorError

exceptions = pytest.importorskip("ray.exceptions", reason="Ray is not installed")
raylet = pytest.importorskip("ray._raylet", reason="Ray is not installed")

SAID = "InvalidAuthToken: Authentication token is missing or incorrect"


def refused():
    """Raises as Ray does where a cluster was shown no token: its client says so in the cause."""
    try:
        raise RuntimeError(f"Failed to connect to GCS. Last connection error: {SAID}")
    except RuntimeError as error:
        raise ConnectionError("Failed to connect to Ray cluster at head:6379") from error


def without_token():
    """Raises as Ray does where a token is asked for and none is here."""
    raise exceptions.AuthenticationError("Token authentication is enabled")


def test_ray_says_a_refusal_in_these_words():
    """No page of its documentation and none of its Python files has them."""
    with open(raylet.__file__, "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            assert content.find(SAID.encode()) >= 0


@pytest.mark.parametrize("init", [refused, without_token])
def test_a_cluster_that_asks_for_a_token_is_told_as_that(monkeypatch, init):
    monkeypatch.setattr(ray_cluster, "_greet", lambda host, port: None)
    ray = SimpleNamespace(init=lambda **_: init(), exceptions=exceptions)
    with pytest.raises(ExecutorError, match="asks for its token.*RAY_AUTH_MODE=token"):
        ray_cluster.join(ray, "head:6379")
