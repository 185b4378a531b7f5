"""The settings of a small run."""

import pytest

from harness.settings import Budget, Settings


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
