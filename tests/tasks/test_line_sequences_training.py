"""Lines as sequences in training: padding changes no number, and each line is read alone."""

import dataclasses

import numpy as np
import pytest
import torch
from tolerances import assert_close
from wire import kind_of

from harness import data
from harness.engine import dtype_of, get
from harness.model.architecture import architecture
from harness.model.initialization import initial_parameters
from harness.model.loss_terms import LossTerms
from harness.model.masks import Masks
from harness.model.network import Model
from harness.settings import Budget, Paths, Settings
from harness.tasks.language_modelling import LanguageModelling
from harness.training import state_measurement
from harness.training.pack import Pack
from harness.training.plan import Plan, Run
from harness.training.steps import train

CPU = torch.device("cpu")
LINES = "abcabca bc cabcab ca bcabca a abca bca cabcab  cab ab b ca".split(" ")
"""Of all lengths up to seven, one of them empty."""


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines")
    for name, lines in (("train", LINES), ("validation", LINES[2:9]), ("test", LINES[4:])):
        (folder / name).write_text("\n".join(lines) + "\n")
    return Paths(**{name: str(folder / name) for name in ("train", "validation", "test")})


def settings(paths, **changes):
    fixed = {
        "cell": "gru",
        "corpus": "text",
        "paths": paths,
        "lines": "sequences",
        "hidden_size": 5,
        "batch_size": 4,
        "bptt_length": 7,
        "initial_scale": 0.7,
        "engine": "reference",
        "device": "cpu",
        "threads": 1,
        "learning_rate": 1.0,
        "budget": Budget(updates=15),
        "evaluations": 3,
    }
    return Settings(**{**fixed, **changes})


def parts_of(run, num_runs=2):
    """The task, the model and the parameters of some seeds."""
    task = LanguageModelling(run, CPU)
    arch = architecture(run, task.num_inputs, task.num_outputs)
    drawn = [initial_parameters(arch, run, (seed,)) for seed in range(num_runs)]
    dtype = dtype_of(run.precision)
    parameters = {name: torch.stack([d[name] for d in drawn]).to(dtype) for name in drawn[0]}
    return task, Model(arch, get(run.engine)), parameters


def loss_by_hand(model, parameters, vocabulary, line):
    """The summed cross-entropy of one line of a text, by itself, in torch's own operations."""
    tokens = torch.from_numpy(vocabulary.encode(f"{line}\n"))
    states = model.initial_states(parameters, 1, 1)
    rows, _ = model(parameters, tokens[:-1].view(-1, 1, 1), states)
    scores = model.readout(parameters).scores(rows)[0]
    return torch.nn.functional.cross_entropy(scores, tokens[1:], reduction="sum")


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [1, 4, 40])
def test_an_evaluation_is_that_of_every_line_by_itself(paths, batch_size):
    task, model, parameters = parts_of(settings(paths, precision="float64", batch_size=batch_size))
    for split, lines in (("validation", LINES[2:9]), ("test", LINES[4:])):
        total = torch.zeros(2, 1, dtype=torch.float64)
        for batch in task.evaluation(split, 2):
            states = model.initial_states(parameters, 2, batch_size)
            rows, _ = model(parameters, batch.inputs, states)
            total += task.sums(model.readout(parameters), rows, batch)
            assert batch.begins
        assert task.num_targets(split) == sum(map(len, lines))  # the end stands for the first
        for n in range(2):
            of_run = {name: values[n : n + 1] for name, values in parameters.items()}
            one_by_one = [
                loss_by_hand(model, of_run, task.vocabulary, line) for line in lines if line
            ]
            assert_close(total[n, 0], sum(one_by_one))


def update(run, num_runs=2, index=1):
    """The losses of an update and all gradients."""
    task, model, parameters = parts_of(run, num_runs)
    model = model.for_runs([run] * num_runs)
    batch = task.batch(*(part[index] for part in task.epoch([(n,) for n in range(num_runs)], 0)))
    gradients = {name: torch.zeros_like(values) for name, values in parameters.items()}
    dtype = dtype_of(run.precision)
    masks = Masks([(n,) for n in range(num_runs)], [run] * num_runs, CPU, model.engine.has_kernels)
    losses, _ = model.update(
        parameters,
        gradients,
        batch.inputs,
        model.initial_states(parameters, num_runs, run.batch_size),
        lambda readout, rows: task.mean_losses(readout, rows, batch),
        masks,
        torch.ones((), dtype=dtype),
        LossTerms([run] * num_runs, CPU, dtype),
        batch.weights,
    )
    return task, model, parameters, batch, losses, gradients


def test_training_follows_the_mean_over_the_targets_that_there_are(paths):
    """Losses and all gradients are those of each line alone, by autograd."""
    run = settings(paths, precision="float64", num_layers=2, learned_start=True)
    task, model, parameters, batch, losses, gradients = update(run, index=-1)
    starts, lengths = (part[-1] for part in task.epoch([(0,), (1,)], 0))
    assert (lengths == 0).any()  # the last minibatch is not full
    assert_close(batch.weights.sum((0, 2)), torch.ones(2, dtype=torch.float64))
    tokens = task.dataset.splits["train"]
    for n in range(2):
        of_run = {name: p[n : n + 1].clone().requires_grad_() for name, p in parameters.items()}
        total, count = 0.0, 0
        for start, length in zip(starts[n].tolist(), lengths[n].tolist(), strict=True):
            if length:
                line = task.vocabulary.decode(tokens[start : start + length])
                total += loss_by_hand(model, of_run, task.vocabulary, line)
                count += length
        assert_close(losses[n], (total / count).detach())
        expected = torch.autograd.grad(total / count, list(of_run.values()))
        for name, gradient in zip(of_run, expected, strict=True):
            assert_close(gradients[name][n], gradient[0])


@pytest.mark.parametrize(
    "cell, engine", [("lstm", "reference"), ("lstm", "cpu"), ("min-gru", "scan")]
)
def test_more_padding_changes_nothing(paths, cell, engine):
    """With every recipe that acts on time steps; `bptt_length` says how much is padded."""
    changes = {
        "cell": cell,
        "engine": engine,
        "num_layers": 2,
        "dropout": 0.3,
        "output_dropout": 0.2,
        "activation_regularization": 0.5,
        "temporal_activation_regularization": 0.7,
        "label_smoothing": 0.1,
    }
    found = [update(settings(paths, bptt_length=length, **changes)) for length in (7, 140)]
    (*_, batch, losses, gradients), (*_, longer, more_losses, more_gradients) = found
    assert len(longer.inputs) > 2 * len(batch.inputs)
    assert_close(losses, more_losses)
    assert torch.equal(losses, more_losses) or engine == "scan"
    for name, gradient in gradients.items():
        assert_close(gradient, more_gradients[name])
        assert gradient.abs().max() > 0


def trained(runs, **given):
    """The end of every run and all that was told on the way, without times."""
    told = {run.id: [] for run in runs}
    for messages in train(Plan(tuple(runs), keep_models=True, **given)):
        for message in messages:
            if kind_of(message) != "start":
                metrics = {
                    name: value
                    for name, value in message.metrics.items()
                    if not name.startswith(("seconds", "tokens_per", "update_seconds", "peak"))
                }
                model = getattr(message, "model", None)
                told[message.run].append((kind_of(message), message.update, metrics, model))
    return told


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_a_pack_is_its_runs_alone_and_goes_on_in_the_middle_of_an_epoch(paths, tmp_path, engine):
    base = settings(paths, engine=engine, dropout=0.2, num_layers=2)
    runs = [
        Run(f"r{n}", (n,), dataclasses.replace(base, learning_rate=rate))
        for n, rate in enumerate((1.0, 0.7))
    ]
    together = trained(runs)
    for run in runs:
        assert trained([run]) == {run.id: together[run.id]}
    plan = Plan(tuple(runs), keep_models=True, checkpoint_folder=str(tmp_path))
    pack = Pack(plan)
    pack.advance()
    assert pack.shards[0].update % pack.task.updates_per_epoch > 0
    pack.save()
    pack.advance()  # what the crash takes away
    pack.close()
    assert trained(runs, checkpoint_folder=str(tmp_path)) == together
    last = together["r0"][-1][2]
    assert last["tokens"] == pytest.approx(15 * pack.task.targets_per_update)
    assert last["test/perplexity"] < 4  # the number of symbols


def test_an_epoch_has_the_targets_of_all_lines(paths):
    task = LanguageModelling(settings(paths), CPU)
    assert task.targets_per_update * task.updates_per_epoch == sum(map(len, LINES))
    budget = Budget(tokens=2 * sum(map(len, LINES)))
    assert not task.carried and task.updates_per_epoch == 4
    updates = budget.num_updates(
        updates_per_epoch=task.updates_per_epoch, tokens_per_update=task.targets_per_update
    )
    assert updates == 8
    dataset = data.load(settings(paths))
    assert dataset.targets_per_update(settings(paths)) == task.targets_per_update


def test_one_line_is_enough(paths, tmp_path):
    (tmp_path / "one").write_text("abcab")
    one = dataclasses.replace(paths, train=str(tmp_path / "one"))
    (end,) = [told[-1] for told in trained([Run("r", (0,), settings(one))]).values()]
    assert end[0] == "end" and end[2]["objective"] < np.log(4)


def test_states_are_measured_on_the_longest_lines_alone(paths):
    packed = Pack(Plan((Run("r", (0,), settings(paths)),)))
    packed.close()
    (shard,) = packed.shards
    found = state_measurement.measure(packed.task, packed.model, shard.runs[0], shard.parameters)
    first = [len(line) for line in LINES[2:9] if line][:4]
    read = (found.num_steps, found.num_streams, found.num_windows)
    assert read == (max(first), first.count(max(first)), 1)
