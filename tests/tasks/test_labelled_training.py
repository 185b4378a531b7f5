"""Labelled sequences of several lengths in training: against packed sequences of torch."""

import csv

import numpy as np
import pytest
import torch
from sequence_training import copy_lstm
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from harness.settings import Budget, Options, Settings
from harness.tasks.sequence_prediction import SequencePrediction
from harness.training.messages import Evaluation
from harness.training.pack import Pack
from harness.training.plan import Plan, Run

UPDATES, RATE = 5, 0.3
CLASSES = ("p", "q", "r")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A file of 30 sequences of 2, 3 and 5 steps: 15 of a class, 10 of another, 5 of the third."""
    values = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("labelled") / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "step", "x", "y", "label", "place"])
        for number in range(30):
            label = CLASSES[(0, 0, 0, 1, 1, 2)[number % 6]]
            for step in range((2, 3, 5)[number % 3]):
                place = CLASSES[(0, 0, 1, 1, 2)[(number + step) % 5]]
                writer.writerow([number, step, *values.normal(size=2).round(6), label, place])
    return path


def settings(table, label_of, length):
    label = "label" if label_of == "sequence" else "place"
    options = {"columns": "x,y", "label": label, "label_of": label_of, "balanced": True}
    return Settings(
        cell="lstm",
        task="classification",
        corpus="labelled",
        path=str(table),
        options=Options.of(options),
        bptt_length=length,
        batch_size=8,
        hidden_size=5,
        precision="float64",
        engine="reference",
        learning_rate=RATE,
        budget=Budget(updates=UPDATES),
        evaluations=1,
        threads=1,
    )


def test_a_task_names_the_columns_that_it_reads_and_its_classes_in_their_order(table):
    task = SequencePrediction(settings(table, "sequence", 5), torch.device("cpu"))
    assert task.meaning == {"columns": ["x", "y"], "classes": list(CLASSES)}


def trained(own):
    """Returns the parameters before and after training, and what its evaluation says."""
    plan = Plan((Run("r0", (0,), own),), objective="validation/cross_entropy", version=2)
    pack = Pack(plan)
    parameters = pack.shards[0].parameters
    start = {name: values[0].clone() for name, values in parameters.items()}
    messages = pack.advance()
    (metrics,) = [each.metrics for each in messages if isinstance(each, Evaluation)]
    pack.close()
    return start, {name: values[0] for name, values in parameters.items()}, metrics


def by_first_values(table, label_of):
    """Returns the first x of a sequence -> its values and its labels, as the file has them."""
    with table.open() as file:
        rows = list(csv.DictReader(file))
    found = {}
    for number in dict.fromkeys(row["sequence"] for row in rows):
        own = [row for row in rows if row["sequence"] == number]
        values = torch.tensor([[float(r["x"]), float(r["y"])] for r in own], dtype=torch.float64)
        places = [CLASSES.index(row["place"]) for row in own]
        labels = places if label_of == "step" else [CLASSES.index(own[0]["label"])]
        found[round(float(own[0]["x"]), 6)] = (values, torch.tensor(labels))
    return found


@pytest.mark.parametrize("label_of", ["sequence", "step"])
def test_training_follows_packed_sequences_with_weighted_classes(table, label_of):
    own = settings(table, label_of, 5)
    task, known = SequencePrediction(own, torch.device("cpu")), by_first_values(table, label_of)
    start, end, metrics = trained(own)
    layer = torch.nn.LSTM(2, 5, dtype=torch.float64)
    readout = torch.nn.Linear(5, 3, dtype=torch.float64)
    leaves = copy_lstm(start, layer, readout)
    firsts = task.dataset.splits["train"].inputs[:, 0, 0]
    train = [known[round(float(first), 6)] for first in firsts]
    labels = torch.cat([each for _, each in train]).numpy()
    weight = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert len(set(weight.round(6))) > 1
    loss_of = torch.nn.CrossEntropyLoss(weight=torch.from_numpy(weight))
    lengths_seen = set()
    for update in range(UPDATES):
        epoch, index = divmod(update, task.updates_per_epoch)
        (chosen,) = task.epoch([(0,)], epoch)
        batch = [train[i] for i in chosen[index, 0].tolist()]
        lengths = torch.tensor([len(values) for values, _ in batch])
        lengths_seen |= set(lengths.tolist())
        padded = torch.nn.utils.rnn.pad_sequence([values for values, _ in batch])
        packed = pack_padded_sequence(padded, lengths, enforce_sorted=False)
        rows, _ = pad_packed_sequence(layer(packed)[0], batch_first=True)
        taken = [
            row[:length] if label_of == "step" else row[length - 1 : length]
            for row, length in zip(rows, lengths.tolist(), strict=True)
        ]
        loss = loss_of(readout(torch.cat(taken)), torch.cat([each for _, each in batch]))
        gradients = torch.autograd.grad(loss, leaves)
        norm = float(torch.sqrt(sum((g * g).sum() for g in gradients)))
        with torch.no_grad():
            for p, g in zip(leaves, gradients, strict=True):
                p -= RATE * g * min(1.0, 1.0 / norm)
    assert lengths_seen == {2, 3, 5}
    assert_close(end["layer0.R"].T, layer.weight_hh_l0.detach(), rtol=1e-8, atol=1e-11)
    assert_close(end["readout.W"].T, readout.weight.detach(), rtol=1e-8, atol=1e-11)
    # What pads a sequence changes no number.
    _, longer, told = trained(settings(table, label_of, 10))
    for name, values in end.items():
        assert_close(longer[name], values, rtol=1e-10, atol=1e-13)
    for name in ("train/loss", "validation/cross_entropy", "validation/macro_f1"):
        assert told[name] == pytest.approx(metrics[name], rel=1e-9)
