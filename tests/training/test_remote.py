"""A worker on a machine that has none of the driver's files trains the same numbers."""

from dataclasses import replace

import pytest

from cells import registry
from harness import data
from harness.settings import Budget, Settings
from harness.training.messages import Evaluation, RunEnded
from harness.training.plan import Plan, Run
from harness.training.remote import SharedFolder, Worker
from harness.training.steps import steps

CELL = '''
from torch import tanh

from cells import Cell


class Mine(Cell):
    """A network of one state.

        h' = tanh(W x + b + R h)

    Source: this test.
    Reference: none.
    Differs from rnn-tanh: in nothing.
    """

    name = "mine-of-a-node"
    gates = ("h",)
    state = ("h",)
    candidates = ("h",)

    def step(self, p, x, h):
        return (p.drop(tanh(x.h + p.R(h).h)),)
'''


@pytest.fixture
def plan(tmp_path, text, monkeypatch):
    """A pack of a cell in a file, with a text in a file, both of which only this machine has."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    for name in ("_cells", "_copies"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    path = tmp_path / "mine.py"
    path.write_text(CELL)
    settings = Settings(
        cell="mine-of-a-node",
        corpus="text",
        path=text,
        hidden_size=4,
        batch_size=2,
        bptt_length=8,
        budget=Budget(updates=3),
        evaluations=1,
        engine="reference",
        device="cpu",
    )
    folder = str(tmp_path / "checkpoints")
    return Plan(
        (Run("a/replicate/0", (0,), settings),), cell_files=(str(path),), checkpoint_folder=folder
    )


def trained(worker, plan, dataset, cell_files, shared):
    """Returns all that a worker says of a pack."""
    said, messages = worker.begin(plan, dataset, cell_files, shared), []
    while said is not None:
        messages += said
        said = worker.advance(set())
    return messages


def losses(messages):
    evaluations = [message for message in messages if isinstance(message, Evaluation)]
    return [each.metrics["validation/loss"] for each in evaluations]


def test_what_is_not_there_comes_with_the_pack(plan, tmp_path):
    here = [message for said in steps([plan]) for message in said]
    assert isinstance(here[-1], RunEnded) and here[-1].state == "finished", here[-1]
    dataset = data.load(plan.runs[0].settings)
    content = (tmp_path / "mine.py").read_bytes()
    (far,) = (
        replace(run, settings=replace(run.settings, path="/far/text.txt")) for run in plan.runs
    )
    elsewhere = replace(plan, runs=(far,), cell_files=("/far/mine.py",))
    worker = Worker()
    unseen = SharedFolder("/far/shared", "content")
    there = trained(worker, elsewhere, dataset, {"/far/mine.py": content}, unseen)
    assert losses(there) == losses(here) != []
    assert there[-1].state == "finished" and there[0].digest != here[0].digest  # of another path
