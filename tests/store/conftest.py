"""A store of tests, and writers of a study of each test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from written_runs import Open

from harness.store.writer import StudyWriter


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def new(folder: Path, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Makes a fresh StudyWriter of the test's own study: another process would see the same."""
    made = []

    def make() -> StudyWriter:
        own = StudyWriter(f"sqlite:///{folder}/mlflow.db", request.node.name, folder / "artifacts")
        made.append((own, own._client))
        return own

    yield make
    for own, own._client in made:  # a test may have put another before it
        own.close()


@pytest.fixture
def by_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has MLflow's client write, as it does to a server."""
    monkeypatch.setattr("harness.store.writer.recording_client", lambda uri, client, _: client)


@pytest.fixture
def writer(new: Open) -> StudyWriter:
    return new()
