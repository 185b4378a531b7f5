"""What waits for the validation loss is the same alone, in a pack, resumed and in a shard of many.

A learning rate that falls at a plateau, an average of parameters, an early end.
"""

import dataclasses
import math

import pytest
import torch
from wire import info_of

from harness.settings import Budget, Settings
from harness.training.messages import Evaluation, RunEnded
from harness.training.pack import Pack
from harness.training.patience import Heard, averaging_begins, is_early_end, reductions
from harness.training.plan import Plan, PlanError, Run
from harness.training.shard import Shard
from harness.training.steps import train

TIMES = ("seconds", "tokens_per_second", "update_seconds", "peak_memory_bytes")
SORTS = {
    "sgd": [
        {"schedule": "plateau", "plateau_patience": 0, "plateau_factor": 0.5},
        {"schedule": "plateau", "plateau_patience": 1, "learning_rate": 4.0},
        {"learning_rate": 4.0},
    ],
    "asgd": [
        {"nonmonotone_interval": None},
        {"nonmonotone_interval": 0, "learning_rate": 4.0},
        {"nonmonotone_interval": 2, "learning_rate": 4.0},
    ],
}


def settings(**changes):
    return Settings(**{"cell": "lstm", "corpus": "text", **changes})


def runs_of(text, optimizer, **changes):
    base = settings(
        path=text,
        engine="reference",
        device="cpu",
        hidden_size=7,
        batch_size=3,
        bptt_length=5,
        learning_rate=1.5,
        optimizer=optimizer,
        budget=Budget(updates=40),
        evaluations=10,
        early_stopping_patience=2,
        **changes,
    )
    return [
        Run(f"r{n}", (n,), dataclasses.replace(base, **own))
        for n, own in enumerate(SORTS[optimizer])
    ]


def told(messages):
    """Returns run -> what was told of it, times left out and the trained model among it."""
    found = {}
    for message in messages:
        if isinstance(message, Evaluation | RunEnded):
            metrics = {k: v for k, v in message.metrics.items() if not k.startswith(TIMES)}
            model = getattr(message, "model", None)
            own = (message.update, metrics, info_of(message), model)
            found.setdefault(message.run, []).append(own)
    return found


def trained(runs, **plan):
    points = train(Plan(tuple(runs), keep_models=True, **plan))
    return told(message for messages in points for message in messages)


@pytest.mark.parametrize("optimizer", SORTS)
def test_packed_resumed_and_alone_a_run_waits_alike(text, tmp_path, optimizer):
    runs = runs_of(text, optimizer)
    alone = {run.id: trained([run])[run.id] for run in runs}
    assert trained(runs) == alone
    pack = Pack(Plan(tuple(runs), keep_models=True, checkpoint_folder=str(tmp_path)))
    for _ in range(4):
        pack.advance()
    pack.save()
    before = [shard.optimizer._waited for shard in pack.shards]
    pack.close()
    assert trained(runs[::-1], checkpoint_folder=str(tmp_path)) == alone
    assert any(own[0].reduced_after or own[0].averaged_after for own in before)
    ends = [own[-1] for own in alone.values()]
    assert min(update for update, *_ in ends) < 40
    for (update, metrics, _, _), run in zip(ends, runs, strict=True):
        assert metrics["tokens"] == update * 15 and "test/loss" in metrics
        losses = [m["validation/loss"] for _, m, *_ in alone[run.id][:-1]]
        assert update == 40 or min(losses[-2:]) > min(losses[:-2]) == metrics["objective"]
    assert len({own[1][1]["validation/loss"] for own in alone.values()}) == 3


@pytest.mark.parametrize("optimizer", SORTS)
def test_a_shard_of_many_runs_lets_each_end_by_itself(text, optimizer):
    """As an accelerator trains them; equal within rounding."""
    runs = runs_of(text, optimizer, precision="float64")
    alone = trained(runs)
    pack = Pack(Plan(tuple(runs)))
    pack.shards = [Shard(runs, pack.task, pack.model, pack.num_updates, pack.device)]
    messages = []
    while new := pack.advance():
        messages += new
    pack.close()
    for run, own in told(messages).items():
        assert [update for update, *_ in own] == [update for update, *_ in alone[run]]
        for (_, found, *_), (_, wanted, *_) in zip(own, alone[run], strict=True):
            assert found == pytest.approx(wanted, rel=1e-7)


def test_what_is_evaluated_and_kept_is_the_mean(text):
    (run, *_) = runs_of(text, "asgd")
    pack = Pack(Plan((run,)))
    pack.advance()
    (shard,) = pack.shards
    assert torch.equal(shard._flat_best, shard.optimizer.average)
    assert not torch.equal(shard._flat_best, shard._flat)
    assert shard.evaluate("validation") == shard.evaluate("validation", of_best=True)
    pack.close()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schedule": "plateau"}, "schedule"),
        ({"early_stopping_patience": 3}, "early_stopping_patience"),
        ({"optimizer": "asgd"}, "nonmonotone_interval"),
    ],
)
def test_without_a_validation_text_there_is_nothing_to_wait_for(text, changes, field):
    run = Run("r", (0,), settings(path=text, hidden_size=3, split="none", **changes))
    with pytest.raises(PlanError, match=rf"validation text with {field}, which waits .* holdout"):
        Pack(Plan((run,), objective="train/perplexity"))


@pytest.mark.parametrize(
    ("losses", "patience", "ends"),
    [
        ([3, 2, 1, 0.5], 1, [False] * 4),
        ([3, 3, 2, 2, 2], 1, [False, True, False, True, True]),
        ([3, 4, 2, 2.5, 2, 1], 2, [False, False, False, False, True, False]),
        ([math.nan, math.nan, 1], 3, [False] * 3),
        ([3, 4, 5], None, [False] * 3),
    ],
)
def test_a_run_ends_after_so_many_losses_in_a_row_that_are_not_the_lowest(losses, patience, ends):
    run = settings(early_stopping_patience=patience)
    heard = [Heard(index + 1, loss) for index, loss in enumerate(losses)]
    assert [is_early_end(run, heard[: index + 1]) for index in range(len(heard))] == ends


def test_averaging_begins_where_the_published_rule_says():
    losses = (
        5 - torch.rand(60, generator=torch.Generator().manual_seed(0)).cumsum(0) * 0.1
    ).tolist()
    losses[30:] = [loss + 0.5 for loss in losses[30:]]
    for interval in (0, 1, 5):
        run, logs, begins = settings(optimizer="asgd", nonmonotone_interval=interval), [], None
        for t, loss in enumerate(losses):
            if begins is None and t > interval and loss > min(logs[: t - interval]):
                begins = t + 1
            logs.append(loss)
        heard = [Heard(index + 1, loss) for index, loss in enumerate(losses)]
        assert averaging_begins(run, heard) == begins == 31
        assert averaging_begins(run, heard[:30]) is None


def test_a_likelihood_below_zero_that_stays_is_a_plateau():
    run = Settings(
        cell="lstm", corpus="sine", task="forecasting", schedule="plateau", plateau_patience=1
    )
    heard = [Heard(update, loss) for update, loss in enumerate((-1.0, -1.0, -1.00005, -1.1))]
    assert reductions(run, heard) == (2,)
