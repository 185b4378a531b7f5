"""The settings of a small run, and the recording of a shard's updates."""

import pytest
import torch
from recording import TapeRecorder

from harness.settings import Budget, Settings
from harness.training import cuda_graph


@pytest.fixture
def settings(text):
    return Settings(
        cell="lstm",
        corpus="text",
        path=text,
        hidden_size=7,
        batch_size=3,
        bptt_length=5,
        budget=Budget(updates=20),
        evaluations=4,
        engine="reference",
        device="cpu",
        threads=2,
        precision="float64",
    )


@pytest.fixture
def one_thread():
    """Small operations on several threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def recorders(monkeypatch):
    """Every shard on a CPU is recorded on tapes; the recorders in the order of their making."""
    made = []

    def recorder():
        made.append(TapeRecorder())
        return made[-1]

    monkeypatch.setitem(cuda_graph.GRAPH_RECORDERS, "cpu", recorder)
    return made
