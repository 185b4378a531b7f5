import pytest

from harness.data import corpora, published


@pytest.fixture
def time_machine():
    """The book as published."""
    return published.read_shipped(corpora.TIME_MACHINE)


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """An empty folder that HARNESS_DATA names."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("HARNESS_DATA", str(folder))
    return folder
