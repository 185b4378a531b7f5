"""How runs end, and what they are worth: finished, not learned, diverged, failed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_packs import ended, kept, losses_of, plan_of, records_of
from wire import info_of

from harness.settings import Budget
from harness.timing import out_of_memory
from harness.training.pack import Pack
from harness.training.shard import Shard


def test_a_run_that_raises_fails_and_its_neighbours_go_on(settings, monkeypatch):
    whole = Shard.advance

    def advance(self, to_update):
        whole(self, to_update)
        if self.runs[0].id == "r1" and to_update == 10:
            raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(Shard, "advance", advance)
    records = records_of(plan_of(settings, {}, {}, {}))
    (end,) = kept(records, "end", "r1")
    assert (end.update, set(end.metrics)) == (10, {"tokens", "seconds"})
    expected = {
        "state": "failed",
        "message": "RuntimeError: the disk is on fire",
        "out_of_memory": False,
        "refused": False,
    }
    assert info_of(end) == expected
    assert len(kept(records, "evaluation", "r1")) == 1
    for run in ("r0", "r2"):
        assert len(kept(records, "evaluation", run)) == 4
        assert info_of(kept(records, "end", run)[0])["state"] == "finished"


@pytest.mark.parametrize(
    "error, memory",
    [
        (MemoryError("m"), True),
        (torch.OutOfMemoryError("m"), True),
        (
            RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (torch.AcceleratorError("CUDA error: out of memory\nSearch for ..."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("shape"), False),
    ],
)
@pytest.mark.parametrize("method", ["advance", "evaluate", "samples"])
def test_a_failure_anywhere_says_whether_memory_was_the_cause(
    settings, monkeypatch, method, error, memory
):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(Shard, method, fail)
    (end,) = kept(records_of(plan_of(settings)), "end")
    assert info_of(end)["state"] == "failed" and info_of(end)["out_of_memory"] is memory
    assert info_of(end)["message"] == f"{type(error).__name__}: {error}"


def test_memory_that_a_processor_cannot_give_is_told_as_such():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)


WILD = {"learning_rate": 1e4, "clip_norm": None}
"""Losses stay finite and far above that of guessing."""


@pytest.fixture
def drawn_letters(tmp_path, settings):
    """Settings that learn how often each letter is drawn, and then the training text by heart."""
    letters = np.random.default_rng(0).choice(list("abcdefgh"), 600, p=[0.3] + [0.1] * 7)
    path = tmp_path / "letters.txt"
    path.write_text("".join(letters))
    shape = {"path": str(path), "hidden_size": 32, "batch_size": 4, "bptt_length": 16}
    rates = {"optimizer": "adam", "learning_rate": 0.05, "precision": "float32"}
    return replace(settings, **shape, **rates, budget=Budget(updates=120), evaluations=12)


def test_in_version_1_a_final_validation_loss_above_that_of_guessing_is_a_divergence(settings):
    records = records_of(plan_of(settings, {}, WILD))
    end = ended(records, "r1")
    vocabulary = Pack(plan_of(settings)).task.num_outputs
    assert losses_of(records, run="r1")[-1] > math.log(vocabulary)
    assert info_of(end)["state"] == "diverged" and end.metrics["objective"] == math.log(vocabulary)
    assert set(end.metrics) == {"objective", "tokens", "seconds"}
    assert info_of(end)["message"] == "final validation loss above that of guessing"
    assert info_of(end)["diverged_at"] == 20 and "not_learned" not in info_of(end)
    neighbour = info_of(ended(records, "r0"))
    assert neighbour["state"] == "finished" and "not_learned" not in neighbour


def test_a_run_that_overfits_is_worth_its_best_evaluation(drawn_letters):
    records = records_of(plan_of(drawn_letters, version=2, keep_models=True))
    end, losses = ended(records), losses_of(records)
    assert min(losses) < math.log(8) < losses[-1]
    assert (end.state, end.not_learned, end.message) == ("finished", False, None)
    assert end.metrics["objective"] == end.metrics["validation/loss"] == min(losses)
    assert end.metrics["final/loss"] == losses[-1]
    assert end.metrics["best_update"] == 10 * (1 + losses.index(min(losses)))
    assert end.metrics["test/loss"] < math.log(8) and end.model is not None
    assert ended(records_of(plan_of(drawn_letters))).state == "diverged"


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_run_that_never_does_better_than_guessing_is_worth_a_guess(settings, precision):
    settings = replace(settings, precision=precision)
    records = records_of(plan_of(settings, WILD, {}, version=2))
    end, losses = ended(records), losses_of(records)
    chance = math.log(Pack(plan_of(settings)).task.num_outputs)
    assert min(losses) > chance and all(map(math.isfinite, losses))
    assert (end.state, end.not_learned, end.diverged_at) == ("finished", True, None)
    assert end.metrics["objective"] == end.metrics["validation/loss"] == chance
    assert end.metrics["test/loss"] == chance
    assert end.metrics["test/perplexity"] == pytest.approx(math.exp(chance), rel=1e-15)
    assert end.metrics["final/loss"] == losses[-1]
    assert end.message == (
        f"not learned: no evaluation had a validation loss below that of guessing, {chance:.3f} "
        "nats"
    )
    assert ended(records, "r1").not_learned is False


def test_an_evaluation_adds_up_in_float64(settings):
    pack = Pack(plan_of(replace(settings, precision="float32")))
    (shard,) = pack.shards
    pack.close()
    terms, task = [], shard.task
    kept = task.sums
    task.sums = lambda *given: terms.append(kept(*given)) or terms[-1]
    ((mean,),) = shard.evaluate("validation")
    assert len(terms) > 2
    total = sum(float(each) for each in terms)  # Python's numbers are of double precision
    assert mean == total / task.num_targets("validation")


def evaluating_to(monkeypatch, values):
    """Makes the validation losses of the evaluations that follow ``values``."""
    measured, values = Shard.evaluate, iter(values)

    def evaluate(self, split, **which):
        return [[next(values)]] if split == "validation" else measured(self, split, **which)

    monkeypatch.setattr(Shard, "evaluate", evaluate)


@pytest.mark.parametrize("strange", [math.nan, math.inf])
def test_an_evaluation_that_is_no_number_is_one_that_is_not_better_than_guessing(
    settings, monkeypatch, strange
):
    """A run diverges in training. What an evaluation shows of parameters that are all finite is how
    good they are, and an overflow is the worst of it.
    """
    evaluating_to(monkeypatch, [2.0, strange, 1.5, strange])
    end = ended(records_of(plan_of(settings, version=2)))
    assert (end.state, end.not_learned) == ("finished", False)
    assert (end.metrics["objective"], end.metrics["best_update"]) == (1.5, 15)
    assert not math.isfinite(end.metrics["final/loss"])
    evaluating_to(monkeypatch, [strange] * 4)
    end = ended(records_of(plan_of(settings, version=2)))
    assert (end.state, end.not_learned) == ("finished", True)
    assert math.isfinite(end.metrics["objective"])


def test_a_loss_of_exactly_a_guess_is_not_learned(settings, monkeypatch):
    chance = math.log(Pack(plan_of(settings)).task.num_outputs)
    evaluating_to(monkeypatch, [chance] * 4)
    end = ended(records_of(plan_of(settings, version=2)))
    assert end.not_learned and end.metrics["objective"] == chance


def test_a_norm_that_is_not_finite_is_a_divergence_in_every_version(settings, monkeypatch):
    def advance(self, to_update, whole=Shard.advance):
        whole(self, to_update)
        if to_update == 15:
            losses, norms = self._noted[-1]
            self._noted[-1] = losses, norms * math.inf

    monkeypatch.setattr(Shard, "advance", advance)
    for version in (1, 2):
        end = ended(records_of(plan_of(settings, version=version)))
        assert (end.state, end.diverged_at, end.not_learned) == ("diverged", 14, None)
        assert end.message == "loss or gradient norm not finite"


@pytest.mark.parametrize("split", ["none", "holdout"])
def test_with_a_training_objective_the_last_training_loss_is_held_against_guessing(settings, split):
    plan = {"objective": "train/perplexity", "version": 2}
    settings = replace(settings, split=split)
    records = records_of(plan_of(settings, WILD, {}, **plan))
    chance = math.log(Pack(plan_of(settings, objective="train/perplexity")).task.num_outputs)
    end, losses = ended(records), losses_of(records, "train")
    assert losses[-1] > chance
    assert (end.state, end.not_learned) == ("finished", True)
    assert end.metrics["objective"] == chance and end.metrics["final/loss"] == losses[-1]
    assert end.message == (
        f"not learned: the last training loss was not below that of guessing, {chance:.3f} nats"
    )
    assert end.metrics.get("test/loss") == (chance if split == "holdout" else None)
    neighbour = ended(records, "r1")
    assert neighbour.not_learned is False
    last = losses_of(records, "train", "r1")[-1]
    assert neighbour.metrics["objective"] == neighbour.metrics["final/loss"] == last


def test_a_training_objective_asks_nothing_of_the_validation_loss(drawn_letters):
    """Parameters that know the training text by heart are what was asked for."""
    records = records_of(plan_of(drawn_letters, objective="train/perplexity", version=2))
    assert losses_of(records)[-1] > math.log(8)
    end = ended(records)
    assert (end.state, end.not_learned) == ("finished", False)
    assert end.metrics["objective"] == losses_of(records, "train")[-1]
