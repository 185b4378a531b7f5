"""Sequences in, a class or values out: against plain loops of torch and other libraries."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sequence_training import copy_lstm, trained
from sklearn import metrics as sklearn_metrics
from torch.testing import assert_close

from harness import data
from harness.model.readout import Readout
from harness.settings import Budget, Options, SampleRequest, Settings
from harness.tasks.scoring import ClassScoring, ValueScoring
from harness.tasks.sequence_prediction import SequencePrediction
from harness.training.pack import Pack
from harness.training.plan import Plan, PlanError, Run

CPU = torch.device("cpu")
UPDATES = 6


def settings(corpus="adding", **changed):
    """A small memory task in double precision, which engines and loops agree in to many digits."""
    fields = {
        "cell": "lstm",
        "corpus": corpus,
        "task": "memory",
        "num_held_out": 11,
        "batch_size": 4,
        "bptt_length": 24,
        "hidden_size": 7,
        "precision": "float64",
        "engine": "reference",
        "learning_rate": 0.3,
        "budget": Budget(updates=UPDATES),
        "evaluations": 2,
        "threads": 1,
    }
    return Settings(**fields | changed)


def plan_of(*all_settings, objective="validation/mse", **fields):
    runs = [Run(f"r{i}", (i,), each) for i, each in enumerate(all_settings)]
    return Plan(tuple(runs), objective=objective, version=2, **fields)


def end_of(messages, run="r0"):
    return [m for m in messages if m.run == run][-1]


def mean_loss(scores, batch):
    """The mean loss of the targets that count, as torch has it; scores are (T, B, O)."""
    counted, targets = batch.weights[:, 0] > 0, batch.targets[:, 0]
    if targets.is_floating_point():
        return torch.nn.functional.mse_loss(scores[counted], targets[counted])
    return torch.nn.functional.cross_entropy(scores[counted], targets[counted])


@pytest.mark.parametrize("corpus, key", [("adding", "mse"), ("copy", "cross_entropy")])
@pytest.mark.parametrize("num_sequences", [None, 9])
def test_training_follows_a_plain_loop_of_torch(corpus, key, num_sequences):
    own = settings(corpus, num_sequences=num_sequences)
    plan = plan_of(own, objective=f"validation/{key}")
    task = SequencePrediction(own, CPU, plan.objective)
    pack = Pack(plan)
    start = {name: p[0].clone() for name, p in pack.shards[0].parameters.items()}
    pack.close()
    layer = torch.nn.LSTM(task.num_inputs, 7, dtype=torch.float64)
    readout = torch.nn.Linear(7, task.num_outputs, dtype=torch.float64)
    leaves = copy_lstm(start, layer, readout)

    def scores_of(batch):
        inputs = batch.inputs[:, 0]
        if task.reads_tokens:
            inputs = torch.nn.functional.one_hot(inputs, task.num_inputs).double()
        return readout(layer(inputs)[0])

    for update in range(UPDATES):
        epoch, index = divmod(update, task.updates_per_epoch)
        batch = task.batch(*(part[index] for part in task.epoch([(0,)], epoch)))
        gradients = torch.autograd.grad(mean_loss(scores_of(batch), batch), leaves)
        norm = float(torch.sqrt(sum((g * g).sum() for g in gradients)))
        with torch.no_grad():
            for p, g in zip(leaves, gradients, strict=True):
                p -= 0.3 * g * min(1.0, 1.0 / norm)
    parameters, messages = trained(plan)
    assert_close(parameters["r0"]["readout.W"].T, readout.weight.detach(), rtol=1e-8, atol=1e-11)
    assert_close(parameters["r0"]["layer0.R"].T, layer.weight_hh_l0.detach(), rtol=1e-8, atol=1e-11)
    # And the last evaluation is the mean over the whole validation set, read in any minibatches.
    part = task.dataset.splits["validation"]
    inputs = torch.from_numpy(part.inputs).transpose(0, 1)
    if task.reads_tokens:
        inputs = torch.nn.functional.one_hot(inputs, task.num_inputs).double()
    with torch.no_grad():
        scores = readout(layer(inputs)[0])
    counted = torch.from_numpy(part.weights).T > 0
    targets = torch.from_numpy(part.targets).transpose(0, 1)[counted]
    last = [m for m in messages if hasattr(m, "metrics")][-2].metrics
    if corpus == "adding":
        expected = torch.nn.functional.mse_loss(scores[counted], targets)
        assert last["validation/loss"] == pytest.approx(math.log(expected), rel=1e-8)
    else:
        expected = torch.nn.functional.cross_entropy(scores[counted], targets)
        right = (scores[counted].argmax(1) == targets).double().mean()
        assert last["validation/accuracy"] == pytest.approx(float(right))
    assert last[f"validation/{key}"] == pytest.approx(float(expected), rel=1e-8)


@pytest.mark.parametrize("engine", ["cpu", "scan", "native"])
@pytest.mark.parametrize("corpus", ["adding", "copy"])
def test_every_engine_trains_on_vectors_and_on_tokens(corpus, engine):
    cell = {"scan": "min-gru", "cpu": "gru-reset-before", "native": "lstm"}[engine]
    objective = "train/mse" if corpus == "adding" else "validation/accuracy"
    fields = {"cell": cell, "num_layers": 2, "biases": 2 if engine == "native" else 1}
    found, told = trained(plan_of(settings(corpus, **fields, engine=engine), objective=objective))
    wanted, _ = trained(plan_of(settings(corpus, **fields), objective=objective))
    for name, values in wanted["r0"].items():
        assert_close(found["r0"][name], values, rtol=1e-6, atol=1e-9)
    assert math.isfinite(end_of(told).metrics["objective"])


@pytest.mark.parametrize("num_sequences", [None, 30])
@pytest.mark.parametrize("corpus", ["adding", "copy"])
def test_a_pack_equals_its_runs_alone_and_a_resumed_one_goes_on(corpus, num_sequences, tmp_path):
    own = settings(corpus, num_sequences=num_sequences, engine="cpu", precision="float32")
    key = "validation/mse" if corpus == "adding" else "validation/accuracy"
    together, _ = trained(plan_of(own, own, own, objective=key))
    alone = Plan((Run("r1", (1,), own),), objective=key, version=2)
    found, messages = trained(alone)
    stopped = dataclasses.replace(alone, checkpoint_folder=str(tmp_path))
    pack = Pack(stopped)
    pack.advance()
    pack.save()
    pack.close()
    resumed, again = trained(stopped)
    for name, values in found["r1"].items():
        assert torch.equal(together["r1"][name], values), name
        assert torch.equal(resumed["r1"][name], values), name
    times = ("seconds",)
    first, second = (
        {k: v for k, v in end_of(each, "r1").metrics.items() if k not in times}
        for each in (messages, again)
    )
    assert first == second


def test_an_embedding_of_vectors_is_a_product():
    own = settings(embedding_size=5, cell="rnn-tanh", lookup_dropout=0.2, input_dropout=0.1)
    pack = Pack(plan_of(own))
    shard, task = pack.shards[0], pack.task
    leaves = {name: p.detach().clone().requires_grad_() for name, p in shard.parameters.items()}
    batch = task.batch(*(part[0] for part in task.epoch([(0,)], 0)))
    undropped = dataclasses.replace(own, lookup_dropout=0.0, input_dropout=0.0)
    model = pack.model.for_runs([undropped])
    rows, _ = model(leaves, batch.inputs, model.initial_states(leaves, 1, 4))
    scores = model.readout(leaves).scores(rows)[0].unflatten(0, (24, 4))
    mean_loss(scores, batch).backward()
    values = batch.inputs[:, 0] @ leaves["lookup.W"][0].detach()
    h = torch.zeros(4, 7, dtype=torch.float64)
    for step in values:
        h = torch.tanh(
            step @ leaves["layer0.W"][0] + h @ leaves["layer0.R"][0] + leaves["layer0.b"][0]
        ).detach()
    assert_close(rows.unflatten(1, (24, 4))[0, -1].detach(), h)
    gradients = {name: torch.zeros_like(p) for name, p in shard.parameters.items()}
    model.update(
        shard.parameters,
        gradients,
        batch.inputs,
        model.initial_states(shard.parameters, 1, 4),
        lambda readout, rows: task.mean_losses(readout, rows, batch),
    )
    for name, leaf in leaves.items():
        assert_close(gradients[name], leaf.grad, rtol=1e-8, atol=1e-12)
    flops = pack.model.arch.flops_per_token()
    assert flops == 2 * (2 * 5 + 5 * 7 + 7 * 7 + 7 * 1)
    pack.close()


def test_the_metrics_of_classes_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(1, 60, 4))
    targets, weights = generator.integers(0, 3, size=(1, 60)), generator.integers(0, 2, (1, 60))
    readout = Readout(torch.eye(4).double()[None], torch.zeros(1, 4).double(), "float64")
    scoring = ClassScoring(4)
    sums = scoring.sums(readout, *map(torch.from_numpy, (scores, targets, weights)))
    found = scoring.metrics((sums[0] / weights.sum()).tolist())
    kept = weights[0] == 1
    true, predicted = targets[0, kept], scores[0, kept].argmax(1)
    shares = np.exp(scores[0, kept]) / np.exp(scores[0, kept]).sum(1, keepdims=True)
    loss = sklearn_metrics.log_loss(true, shares, labels=range(4))
    assert found == pytest.approx(
        {
            "cross_entropy": loss,
            "accuracy": sklearn_metrics.accuracy_score(true, predicted),
            "macro_f1": sklearn_metrics.f1_score(true, predicted, average="macro"),
        }
    )


def test_the_metrics_of_values_are_those_of_scikit_learn():
    generator = np.random.default_rng(1)
    values, targets = generator.normal(size=(2, 1, 50, 3))
    weights = generator.integers(0, 2, (1, 50))
    readout = Readout(torch.eye(3).double()[None], torch.zeros(1, 3).double(), "float64")
    scoring = ValueScoring(3)
    sums = scoring.sums(readout, *map(torch.from_numpy, (values, targets, weights)))
    found = scoring.metrics((sums[0] / weights.sum()).tolist())
    kept = weights[0] == 1
    pair = targets[0, kept], values[0, kept]
    squares = sklearn_metrics.mean_squared_error(*pair)
    distances = sklearn_metrics.mean_absolute_error(*pair)
    assert found == pytest.approx({"mse": squares, "mae": distances, "rmse": math.sqrt(squares)})


def test_what_has_learned_nothing_is_worth_what_remembers_nothing():
    task = SequencePrediction(settings(), CPU, "validation/mse")
    assert task.chance_loss == pytest.approx(math.log(1 / 6))
    task = SequencePrediction(settings("copy"), CPU, "validation/cross_entropy")
    assert task.chance_loss == pytest.approx(10 * math.log(8) / 24)
    task = SequencePrediction(settings("markov"), CPU, "validation/accuracy")
    means = [0.0, 1.0] + [0.0] * (len(task.scoring.names) - 2)
    means[-1] = 1.0
    floor = task.dataset.floors["test"].loss
    assert task.evaluation_metrics("test", means)["test/excess"] == -floor


def told_of(end, split):
    """What a run's end tells of a split, by the metrics' keys."""
    return {k.partition("/")[2]: v for k, v in end.metrics.items() if k.startswith(f"{split}/")}


def test_a_run_that_has_learned_nothing_is_a_guess_in_every_metric_of_every_split():
    """Nothing that it did is told beside what a guess does: mse is the square of rmse, for one."""
    adding = settings(num_held_out=60, learning_rate=1e-9, test_lengths=(2,))
    plan = plan_of(adding)
    end = end_of(trained(plan)[1])
    for split in ("validation", "test", "test_2x"):
        told = told_of(end, split)
        assert end.not_learned and told["mse"] == pytest.approx(1 / 6)
        assert told["rmse"] ** 2 == pytest.approx(told["mse"])
        assert told["loss"] == pytest.approx(math.log(told["mse"]))
    copy = settings("copy", num_held_out=60, learning_rate=1e-9, test_lengths=(2,))
    end = end_of(trained(plan_of(copy, objective="validation/cross_entropy"))[1])
    for split, length in (("test", 24), ("test_2x", 48)):
        told = told_of(end, split)
        assert told["cross_entropy"] == told["loss"] == pytest.approx(10 * math.log(8) / length)
        assert told["excess"] == told["cross_entropy"]
        assert told["accuracy"] == pytest.approx(1 - 10 / length * 7 / 8)
        assert set(told) == {"loss", "cross_entropy", "accuracy", "excess"}


@pytest.mark.parametrize("head", ["value", "gaussian", "quantiles"])
def test_a_forecaster_that_has_learned_nothing_is_a_guess_in_every_column(head):
    options = Options.of({"length": 300, "horizon": 2, "head": head})
    own = settings("lorenz", task="forecasting", options=options, learning_rate=1e-9)
    plan = plan_of(own)
    end = end_of(trained(plan)[1])
    told = told_of(end, "test")
    assert end.not_learned and told["rmse"] ** 2 == pytest.approx(told["mse"])
    task = SequencePrediction(own, CPU, plan.objective)
    windows, part = task.dataset.windows, task.dataset.splits["test"]
    truth = part.targets[part.weights > 0].reshape(-1, 2, 3)  # scaled, by steps ahead and columns
    squares = ((truth - truth.mean(0)) ** 2).mean((0, 1))
    assert told["mse"] == pytest.approx(squares.mean())
    for index, column in enumerate(windows.series.columns):
        error = math.sqrt(squares[index]) * windows.scaling.deviation[index]
        assert told[f"rmse_{column}"] == pytest.approx(error)
    assert {f"validation/{name}" for name in told if "_" not in name} <= set(end.metrics)
    evaluated = set(task.evaluation_metrics("test", [1.0] * len(task.scoring.names)))
    assert {f"test/{name}" for name in told} == evaluated


def test_luck_is_not_called_learning():
    """All that is asked of a guess is what its own draw may do; a coin at every step has none."""
    for corpus, key in (("parity", "accuracy"), ("adding", "mse"), ("copy", "cross_entropy")):
        own = settings(corpus, num_held_out=400)
        task = SequencePrediction(own, CPU, f"validation/{key}")
        assert task.learned_below < task.chance_loss
    parity = SequencePrediction(settings("parity", num_held_out=400), CPU, "validation/accuracy")
    assert parity.learned_below == pytest.approx(0.5 - 3 * 0.5 / math.sqrt(400 * 24), rel=1e-3)
    series = SequencePrediction(settings("sunspots", task="forecasting"), CPU, "validation/mse")
    assert series.learned_below == series.chance_loss


@pytest.mark.parametrize("head", ["gaussian", "quantiles"])
def test_states_are_measured_of_what_is_said_of_each_value(head):
    own = settings(
        "lorenz",
        task="forecasting",
        bptt_length=10,
        options=Options.of({"length": 200, "head": head}),
    )
    _, messages = trained(plan_of(own, states=True))
    end = end_of(messages)
    assert end.message is None or "not learned" in end.message
    assert min(end.states.gradient_norms) > 0


def test_a_guess_on_test_is_that_of_the_test_split():
    own = settings("co2", task="forecasting", options=Options.of({"gaps": "linear"}))
    task = SequencePrediction(own, CPU, "validation/mse")
    part = task.dataset.splits["test"]
    values = part.targets[part.weights > 0]
    assert task.guess("test")["test/loss"] == pytest.approx(math.log(values.var()))
    assert task.guess("validation")["validation/loss"] == task.chance_loss
    assert task.chance_loss != task.guess("test")["test/loss"]


def test_sequences_that_take_too_much_room_or_have_no_target_are_refused_before_they_are_made():
    with pytest.raises(data.DataError, match=r"memory: sequences must be .* 16 GiB, but are"):
        Pack(plan_of(settings(num_held_out=10**9)))
    with pytest.raises(data.DataError, match="dyck: every set must have a target"):
        Pack(plan_of(settings("dyck", bptt_length=3, num_held_out=1)))


def test_wrong_requests_are_refused_before_training():
    with pytest.raises(data.DataError, match=r"batch_size: must be .* at most, 3, but got batch"):
        Pack(plan_of(settings(num_sequences=3)))
    with pytest.raises(data.DataError, match="samples: must be left out with task memory"):
        Pack(plan_of(settings(), samples=SampleRequest(("a",))))
    with pytest.raises(PlanError, match="must be train/mse, or validation/mse or validation/mae"):
        Pack(plan_of(settings(), objective="validation/perplexity"))
    with pytest.raises(PlanError, match="must be train/cross_entropy, or validation/accuracy"):
        Pack(plan_of(settings("copy"), objective="train/accuracy"))
    with pytest.raises(data.DataError, match="corpus: must be one of adding"):
        Pack(plan_of(settings("time-machine")))
    with pytest.raises(ValueError, match="tied: inputs and outputs must be the same tokens"):
        Pack(plan_of(settings(tied=True, embedding_size=7)))
    with pytest.raises(data.DataError, match="nonsense"):
        Pack(plan_of(settings("copy", options=Options.of({"nonsense": 3}))))
