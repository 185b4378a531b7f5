"""Bidirectional models in training: against a loop of torch, packs, resume, saved models."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sequence_training import trained
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from harness import data
from harness.results.trained_models import ModelError, TrainedModel
from harness.settings import Budget, Options, Settings
from harness.tasks.sequence_prediction import SequencePrediction
from harness.training.pack import Pack
from harness.training.plan import Plan, PlanError, Run
from harness.training.saved_model import SavedModel

CPU = torch.device("cpu")
STEPS, UPDATES, SIZE = 7, 5, 5


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Two tables of sequences of unequal lengths: a label each, and a label at each step."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("labelled")
    rows = {"sequence": ["sequence,step,label,a,b"], "step": ["sequence,step,label,a,b"]}
    for number in range(30):
        values = random.normal(size=(random.integers(1, STEPS + 1), 2))
        for step, (a, b) in enumerate(values.tolist()):
            labels = {"sequence": "xyz"[number % 3], "step": "up" if a > b else "down"}
            for kind, label in labels.items():
                rows[kind].append(f"s{number},{step},{label},{a},{b}")
    for kind, lines in rows.items():
        (folder / f"{kind}.csv").write_text("\n".join(lines) + "\n")
    return folder


def settings(tables, label_of, **changed):
    fields = {
        "cell": "lstm",
        "corpus": "labelled",
        "task": "classification",
        "path": str(tables / f"{label_of}.csv"),
        "options": Options.of({"label_of": label_of}),
        "batch_size": 4,
        "bptt_length": STEPS,
        "hidden_size": SIZE,
        "num_layers": 2,
        "bidirectional": True,
        "biases": 2,
        "precision": "float64",
        "engine": "reference",
        "learning_rate": 0.3,
        "budget": Budget(updates=UPDATES),
        "evaluations": 2,
        "threads": 1,
    }
    return Settings(**fields | changed)


def plan_of(*all_settings, **fields):
    runs = [Run(f"r{i}", (i,), each) for i, each in enumerate(all_settings)]
    return Plan(tuple(runs), objective="validation/accuracy", version=2, **fields)


class OfTorch(torch.nn.Module):
    """The same model of torch.nn, on packed sequences."""

    def __init__(self, parameters, num_outputs, has_one_answer):
        super().__init__()
        self.has_one_answer = has_one_answer
        self.lstm = torch.nn.LSTM(2, SIZE, 2, bidirectional=True, dtype=torch.float64)
        self.readout = torch.nn.Linear(2 * SIZE, num_outputs, dtype=torch.float64)
        kinds = {"weight_ih": "W", "weight_hh": "R", "bias_ih": "b", "bias_hh": "b_R"}
        self.ours = {
            "readout.weight": "readout.W",
            "readout.bias": "readout.b",
        }
        self.ours |= {
            f"lstm.{theirs}_l{k}{end}": f"layer{k}{end}.{own}"
            for theirs, own in kinds.items()
            for k in range(2)
            for end in ("", "_reverse")
        }
        self.load_state_dict({name: parameters[own].t() for name, own in self.ours.items()})

    def forward(self, inputs, targets, weights):
        """Returns the scores and the classes of all targets that count."""
        steps = torch.arange(1, STEPS + 1).unsqueeze(1)
        lengths = ((weights > 0) * steps).amax(0)
        packed = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
        outputs, (last, _) = self.lstm(packed)
        if self.has_one_answer:
            return self.readout(torch.cat([last[2], last[3]], 1)), targets.gather(
                0, lengths.unsqueeze(0) - 1
            )[0]
        seen = pad_packed_sequence(outputs, total_length=STEPS)[0]
        return self.readout(seen)[weights > 0], targets[weights > 0]


@pytest.mark.parametrize("label_of", ["sequence", "step"])
def test_training_and_what_is_kept_of_it_follow_a_loop_of_torch(tables, label_of):
    own = settings(tables, label_of)
    plan = plan_of(own, keep_models=True)
    task = SequencePrediction(own, CPU, plan.objective)
    pack = Pack(plan)
    start = {name: p[0].clone() for name, p in pack.shards[0].parameters.items()}
    pack.close()
    theirs = OfTorch(start, task.num_outputs, label_of == "sequence")
    for update in range(UPDATES):
        epoch, index = divmod(update, task.updates_per_epoch)
        batch = task.batch(*(part[index] for part in task.epoch([(0,)], epoch)))
        scores, truth = theirs(batch.inputs[:, 0], batch.targets[:, 0], batch.weights[:, 0])
        loss = torch.nn.functional.cross_entropy(scores, truth)
        theirs.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        with torch.no_grad():
            for p in theirs.parameters():
                p -= 0.3 * p.grad
    found, messages = trained(plan)
    for name, own_name in theirs.ours.items():
        wanted = theirs.state_dict()[name].t()
        torch.testing.assert_close(found["r0"][own_name], wanted, rtol=1e-6, atol=1e-9)
    # The whole validation set in one minibatch; ours are filled up.
    part = task.dataset.splits["validation"]
    arrays = [torch.from_numpy(each) for each in (part.inputs, part.targets, part.weights)]
    with torch.no_grad():
        scores, truth = theirs(*(each.transpose(0, 1) for each in arrays))
    last = [m for m in messages if hasattr(m, "metrics")][-2].metrics
    wanted = float(torch.nn.functional.cross_entropy(scores, truth))
    assert last["validation/cross_entropy"] == pytest.approx(wanted, rel=1e-6)
    _check_saved(messages[-1], own, task, part)


def _check_saved(end, own, task, part):
    """The model that is kept says of padded sequences what it says of each alone."""
    saved = SavedModel.from_bytes(end.model)
    assert saved.settings == own
    model = TrainedModel(saved)
    assert math.isfinite(model.evaluate("test"))
    lengths = ((part.weights > 0) * np.arange(1, STEPS + 1)).max(1)
    together = model.predict(part.inputs, lengths)
    for inputs, length, scores in zip(part.inputs, lengths, together, strict=True):
        alone = model.predict(inputs[None, :length])[0]
        np.testing.assert_allclose(scores[:length], alone, rtol=1e-12, atol=1e-12)
    counted = part.weights > 0
    scores, truth = torch.from_numpy(together[counted]), torch.from_numpy(part.targets[counted])
    loss = float(torch.nn.functional.cross_entropy(scores, truth))
    assert model.evaluate("validation") == pytest.approx(loss)
    with pytest.raises(ModelError, match="lengths: must be 3 numbers from 1 to 7, one for each"):
        model.predict(part.inputs, np.array([1, 0, 8]))


REGULARIZED = {
    "embedding_size": 3,
    "num_layers": 3,
    "residual": True,
    "learned_start": True,
    "dropout": 0.2,
    "input_dropout": 0.1,
    "state_dropout": 0.1,
    "recurrent_dropout": 0.1,
    "weight_dropout": 0.2,
    "zoneout_h": 0.1,
    "zoneout_c": 0.1,
    "output_dropout": 0.1,
    "lookup_dropout": 0.1,
    "activation_regularization": 0.5,
    "temporal_activation_regularization": 0.5,
    "label_smoothing": 0.1,
}


def test_a_pack_equals_its_runs_alone_and_a_resumed_one_goes_on(tables, tmp_path):
    own = settings(tables, "sequence", engine="cpu", biases=1, **REGULARIZED)
    together, _ = trained(plan_of(own, own))
    alone = Plan((Run("r1", (1,), own),), objective="validation/accuracy", version=2)
    found, _ = trained(alone)
    stopped = dataclasses.replace(alone, checkpoint_folder=str(tmp_path))
    pack = Pack(stopped)
    pack.advance()
    pack.save()
    pack.close()
    resumed, _ = trained(stopped)
    for name, values in found["r1"].items():
        assert torch.equal(together["r1"][name], values), name
        assert torch.equal(resumed["r1"][name], values), name


def test_what_would_be_read_before_it_is_predicted_is_refused(tables):
    memory = {"task": "memory", "options": None, "path": None, "num_held_out": 11}
    Pack(plan_of(settings(tables, "step", corpus="copy", **{**memory, "bptt_length": 24}))).close()
    with pytest.raises(data.DataError, match="bidirectional: must be false, since the next token"):
        Pack(plan_of(settings(tables, "step", corpus="markov", **memory)))
    with pytest.raises(data.DataError, match="the token that a language model is to predict"):
        Pack(plan_of(settings(tables, "step", corpus="genesis", task="language-modelling")))
    with pytest.raises(PlanError, match="states: must be false with bidirectional layers"):
        Pack(plan_of(settings(tables, "step"), states=True))
