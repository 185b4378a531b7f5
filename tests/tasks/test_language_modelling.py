"""Language modelling is scored as its formula says: every target once, and text as a plain loop
writes it.
"""

import math

import numpy as np
import pytest
import torch
from tolerances import assert_close

from harness import data
from harness.engine import get
from harness.model.architecture import architecture
from harness.model.initialization import initial_parameters
from harness.model.network import Model
from harness.settings import SampleRequest, Settings
from harness.tasks.language_modelling import LanguageModelling
from harness.tasks.task import Batch

CPU = torch.device("cpu")


def settings(text, **changes):
    fixed = {
        "cell": "lstm",
        "corpus": "text",
        "path": text,
        "hidden_size": 7,
        "batch_size": 3,
        "bptt_length": 5,
    }
    return Settings(**{**fixed, "initial_scale": 0.7, "precision": "float64", **changes})


def task_and_model(run, num_runs=1):
    """Returns the task, the model and the parameters of ``num_runs`` seeds."""
    task = LanguageModelling(run, CPU)
    arch = architecture(run, task.num_inputs, task.num_outputs)
    drawn = [initial_parameters(arch, run, (seed,)) for seed in range(num_runs)]
    return (
        task,
        Model(arch, get("reference")),
        {n: torch.stack([d[n] for d in drawn]) for n in drawn[0]},
    )


@torch.no_grad()
def test_the_loss_is_the_cross_entropy_of_each_run(text):
    task, model, parameters = task_and_model(settings(text), num_runs=2)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 5 * 3, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(task.num_outputs, (5, 2, 3), generator=generator)
    weights = torch.rand(5, 2, 3, generator=generator) < 0.5
    readout = model.readout(parameters)
    for mask in (None, weights):
        losses = task.losses(readout, rows, Batch(targets, targets, mask))
        for n in range(2):
            scores = readout.scores(rows)[n].view(5, 3, -1)
            each = torch.nn.functional.cross_entropy(
                scores.permute(0, 2, 1), targets[:, n], reduction="none"
            )
            assert_close(losses[n], (each if mask is None else each[mask[:, n]]).sum())
    means, _ = task.mean_losses(readout, rows, Batch(targets, targets))
    assert_close(means, task.losses(readout, rows, Batch(targets, targets)) / 15)


def test_a_minibatch_holds_its_windows_and_the_targets_one_to_the_right(text):
    run = settings(text)
    task, _, _ = task_and_model(run)
    tokens = task.dataset.splits["train"]
    (starts,) = task.epoch([(0,), (1,)], 3)
    assert starts.shape == (task.updates_per_epoch, 2, 3)
    windows = data.training_windows(run, len(tokens))
    for n in range(2):
        assert np.array_equal(starts[:, n].numpy(), windows.starts((n,), 3))
    batch = task.batch(starts[4])
    for n in range(2):
        for b in range(3):
            at = int(starts[4, n, b])
            assert batch.inputs[:, n, b].tolist() == tokens[at : at + 5].tolist()
            assert batch.targets[:, n, b].tolist() == tokens[at + 1 : at + 6].tolist()
    assert task.targets_per_update == 15 and task.carried


@pytest.mark.parametrize("batch_size, bptt_length", [(1, 5), (3, 5), (4, 7), (200, 3), (3, 500)])
@pytest.mark.parametrize("split", ["validation", "test"])
@torch.no_grad()
def test_an_evaluation_scores_every_target_once_with_the_state_carried(
    text, split, batch_size, bptt_length
):
    # The windows of training are chosen small, so that an evaluation may be of any shape.
    task, model, parameters = task_and_model(settings(text), num_runs=2)
    task._settings = settings(text, batch_size=batch_size, bptt_length=bptt_length)
    task._steps = torch.arange(bptt_length + 1).view(-1, 1, 1)
    states = model.initial_states(parameters, 2, batch_size)
    total, counted = torch.zeros(2, dtype=torch.float64), 0
    for batch in task.evaluation(split, 2):
        rows, states = model(parameters, batch.inputs, states)
        total += task.losses(model.readout(parameters), rows, batch)
        counted += int(batch.weights[:, 0].sum())
    tokens = task.dataset.splits[split].astype(np.int64)
    assert counted == task.num_targets(split) == len(tokens) - 1
    ends = [b * (len(tokens) - 1) // batch_size for b in range(batch_size + 1)]
    for n in range(2):
        of_run = {name: p[n : n + 1] for name, p in parameters.items()}
        expected = 0.0
        for first, end in zip(
            ends, ends[1:], strict=False
        ):  # each stream by itself, in one piece, as batch 1
            if end > first:
                inputs = torch.from_numpy(tokens[first:end]).view(-1, 1, 1)
                rows, _ = model(of_run, inputs, model.initial_states(of_run, 1, 1))
                scores = model.readout(of_run).scores(rows)
                targets = torch.from_numpy(tokens[first + 1 : end + 1])
                expected += torch.nn.functional.cross_entropy(scores[0], targets, reduction="sum")
        assert_close(total[n], expected)


def test_metrics_name_their_token(text):
    nats = math.log(8)
    chars = task_and_model(settings(text))[0].metrics("validation", nats)
    assert chars == {
        "validation/loss": nats,
        "validation/perplexity": pytest.approx(8),
        "validation/bits_per_character": pytest.approx(3),
    }
    words = LanguageModelling(settings(text, token="word", batch_size=2), CPU)
    assert set(words.metrics("train", nats)) == {"train/loss", "train/perplexity"}
    assert words.chance_loss == math.log(words.num_outputs)


def test_a_text_without_splits_has_train_alone(text):
    assert LanguageModelling(settings(text, split="none"), CPU).splits == ("train",)


# SampleRequest.


def by_hand(task, parameters, prefix, length, choose):
    """Returns the text that torch.nn.LSTM writes with these parameters, a token at a time."""
    lstm = torch.nn.LSTM(task.num_inputs, 7).double()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(parameters["layer0.W"][0].t())
        lstm.weight_hh_l0.copy_(parameters["layer0.R"][0].t())
        lstm.bias_ih_l0.copy_(parameters["layer0.b"][0])
        lstm.bias_hh_l0.zero_()
        ids = task.dataset.vocabulary.encode(prefix).tolist()
        for _ in range(length):
            one_hot = torch.nn.functional.one_hot(torch.tensor(ids), task.num_inputs).double()
            outputs, _ = lstm(one_hot)  # from the start each time: no carried state to get wrong
            ids.append(
                choose(outputs[-1] @ parameters["readout.W"][0] + parameters["readout.b"][0])
            )
    return task.dataset.vocabulary.decode(ids)


@torch.no_grad()
def test_greedy_samples_are_those_of_a_plain_argmax_loop(text):
    task, model, parameters = task_and_model(settings(text))
    wanted = SampleRequest(("t", "time traveller"), 20)
    samples = task.samples(model, parameters, wanted, (0,))
    assert [each["prefix"] for each in samples] == ["t", "time traveller"]
    for each in samples:
        assert each["text"] == by_hand(
            task, parameters, each["prefix"], 20, lambda s: int(s.argmax())
        )
        assert len(each["text"]) == len(each["prefix"]) + 20
    assert task.samples(model, parameters, wanted, (1,)) == samples  # greedy text knows no seed


@torch.no_grad()
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_samples_follow_the_probabilities_of_their_temperature(text, temperature):
    task, model, parameters = task_and_model(settings(text))
    inputs = torch.tensor(task.dataset.vocabulary.encode("time")).view(-1, 1, 1)
    rows, _ = model(parameters, inputs, model.initial_states(parameters, 1, 1))
    scores = model.readout(parameters).scores(rows)
    expected = torch.softmax(scores[0, -1] / temperature, 0)
    count, counts = 400, torch.zeros(task.num_outputs)
    for seed in range(count):
        (sample,) = task.samples(
            model, parameters, SampleRequest(("time",), 1, temperature), (seed,)
        )
        counts[task.dataset.vocabulary.encode(sample["text"][-1])[0]] += 1
    chi_squared = float(((counts - count * expected) ** 2 / (count * expected)).sum())
    freedom = task.num_outputs - 1
    assert chi_squared < freedom + 5 * math.sqrt(2 * freedom)


@torch.no_grad()
def test_sampled_text_is_a_function_of_the_seed_and_the_prefix(text):
    task, model, parameters = task_and_model(settings(text))
    wanted = SampleRequest(("time", "the"), 30, 1.0)
    samples = task.samples(model, parameters, wanted, (0,))
    assert task.samples(model, parameters, wanted, (0,)) == samples
    assert task.samples(model, parameters, SampleRequest(("the",), 30, 1.0), (0,)) == samples[1:]
    assert task.samples(model, parameters, wanted, (1,)) != samples


@torch.no_grad()
def test_each_prefix_is_continued_at_every_temperature_as_at_that_one_alone(text):
    task, model, parameters = task_and_model(settings(text))

    def written(**wanted):
        return task.samples(model, parameters, SampleRequest(("time", "the"), 20, **wanted), (3,))

    together = written(temperatures=(0, 0.5, 2.0))
    assert [each.get("temperature") for each in together] == 2 * [None, 0.5, 2.0]
    assert together[::3] == written()
    assert together[1::3] == written(temperature=0.5) != written(temperature=2.0)
    assert together[2::3] == written(temperature=2.0)


@torch.no_grad()
@pytest.mark.parametrize("name", ["cpu", "native"])
def test_every_engine_draws_the_same_text(text, name):
    run = settings(text)
    task, model, parameters = task_and_model(run)
    wanted = SampleRequest(("time", "the"), 20, temperatures=(0, 0.7))
    other = Model(architecture(run, task.num_inputs, task.num_outputs), get(name))
    expected = task.samples(model, parameters, wanted, (3,))
    assert task.samples(other, parameters, wanted, (3,)) == expected


@torch.no_grad()
def test_words_are_sampled_as_words(text):
    task, model, parameters = task_and_model(settings(text, token="word", batch_size=2))
    (sample,) = task.samples(model, parameters, SampleRequest(("time unheard",), 5), (0,))
    assert sample["text"].startswith("time <unk> ") and len(sample["text"].split()) == 7


@pytest.mark.parametrize(
    "prefix, rule",
    [
        ("", "samples: a prefix must have one char at least, but got prefix=''"),
        ("TIME", "samples: 'TIME': text: every character must be among"),
    ],
)
def test_a_prefix_that_cannot_be_read_is_refused_beforehand(text, prefix, rule):
    task = task_and_model(settings(text))[0]
    task.check(SampleRequest(("time",)))
    with pytest.raises(data.DataError, match=rule):
        task.check(SampleRequest(("time", prefix)))
