"""The studies of published figures, shortened, on a miniature text of ours; and one of their
recipes against a training loop that knows nothing of the bench.
"""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from harness import data, study
from harness.data.standard import STANDARD
from harness.model.architecture import architecture
from harness.model.initialization import initial_parameters
from harness.preflight.design import design_problem
from harness.preflight.resolve import resolve
from harness.training.messages import Evaluation, RunEnded, RunState
from harness.training.plan import Plan, Run
from harness.training.steps import train

FOLDER = Path(__file__).resolve().parents[2] / "studies" / "published"
WORDS = "the cell state gate opens and closes while time flows over hidden units".split()
SHORT = {
    "fix.corpus": "text",
    "fix.hidden_size": 6,
    "fix.embedding_size": 6,
    "fix.batch_size": 4,
    "fix.bptt_length": 7,
    "fix.device": "cpu",
    "fix.budget": "{updates: 24}",
    "fix.evaluations": 8,
}
LINES = {"fix.lines": "{end: <eos>}"}
"""As the Penn Treebank has them by itself."""
OWN = {
    "zaremba-small": {**LINES, "fix.step_first_updates": 8, "fix.step_updates": 4},
    "melis-10m": {**LINES, "fix.plateau_patience": 0, "fix.early_stopping_patience": 2},
    "awd-lstm": {**LINES, "fix.nonmonotone_interval": 0},
    "enwik8-48m": {},
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Three files of lines, as Penn Treebank has them."""
    folder, draw = tmp_path_factory.mktemp("miniature"), random.Random(0)
    for name, count in (("train", 90), ("validation", 20), ("test", 20)):
        lines = (" ".join(draw.choices([*WORDS, "<unk>", "N"], k=8)) for _ in range(count))
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    named = ", ".join(f"{n}: {folder / n}.txt" for n in ("train", "validation", "test"))
    return f"{{{named}}}"


def shortened(name, paths, **changes):
    overrides = {"fix.paths": paths, **SHORT, **OWN[name], **changes}
    return study.load(
        FOLDER / f"{name}.yaml", [f"{path}={value}" for path, value in overrides.items()]
    )


def test_no_published_study_is_forgotten():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(OWN)


@pytest.mark.parametrize("name", OWN)
def test_a_published_study_is_on_the_very_text_of_the_paper(name, monkeypatch, tmp_path):
    """Any other is refused by its checksum, so that no figure is beside that of another text."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    own = study.load(FOLDER / f"{name}.yaml").baseline.settings
    files = STANDARD[own.corpus].files
    for file in files:
        (tmp_path / file.name).write_text("another text\n" * 50)
    with pytest.raises(data.DataError, match=f"{files[0].algorithm} must be") as refused:
        data.load(own)
    assert all(file.checksum in str(refused.value) for file in files)


@pytest.mark.parametrize("name", OWN)
def test_a_published_study_can_answer_what_it_asks(name):
    """So that it runs as it stands, where its text is."""
    assert design_problem(study.load(FOLDER / f"{name}.yaml")) is None


@pytest.mark.parametrize("name", OWN)
def test_a_published_recipe_trains_to_its_end(name, paths):
    whole, loaded = study.load(FOLDER / f"{name}.yaml"), shortened(name, paths)
    settings, _ = resolve(loaded)
    # What was shortened is all that differs: the recipe is the published one.
    shortened_fields = {path.removeprefix("fix.") for path in ("fix.paths", *SHORT, *OWN[name])}
    for arm in whole.arms:
        own = vars(settings[arm.name])
        differs = {field for field, value in vars(arm.settings).items() if own[field] != value}
        assert differs <= {*shortened_fields, "engine"}
    runs = [Run(str(arm), (0,), own) for arm, own in settings.items()]
    ends = [
        message
        for run in runs
        for messages in train(Plan((run,), version=2))
        for message in messages
        if isinstance(message, RunEnded)
    ]
    assert [end.state for end in ends] == [RunState.FINISHED] * 2
    assert all("test/loss" in end.metrics and 0 < end.update <= 24 for end in ends)


def test_the_recipe_of_awd_lstm_without_its_dropouts_is_that_of_a_plain_loop(paths):
    """Tied layers, AR, TAR, clipping, decay and NT-ASGD of torch, epoch by epoch in float64."""
    none = dict.fromkeys(
        [f"fix.{name}dropout" for name in ("embedding_", "lookup_", "", "output_", "weight_")],
        0.0,
    )
    loaded = shortened(
        "awd-lstm",
        paths,
        **{
            **none,
            "fix.dropout_masks": "step",
            "fix.precision": "float64",
            "fix.budget": "{epochs: 4}",
            "fix.evaluations": "{each: epoch}",
        },
    )
    own = replace(loaded.baseline.settings, engine="cpu")
    run = Run("lstm", (0,), own)
    told = [m for messages in train(Plan((run,))) for m in messages if isinstance(m, Evaluation)]
    found = [m.metrics["validation/loss"] for m in told]
    losses, switched = plain_loop(own, run.seed)
    assert found == pytest.approx(losses, rel=1e-8)
    assert [m.metrics["train/gradient_norm"] > 0 for m in told] == [True] * 4
    assert 0 < switched < 3


def plain_loop(own, seed):
    """Returns the validation losses after every epoch, and after which averaging began."""
    dataset = data.load(own)
    splits = {name: torch.from_numpy(ids).long() for name, ids in dataset.splits.items()}
    size = len(dataset.vocabulary)
    arch = architecture(own, size, size)
    drawn = {name: p.double() for name, p in initial_parameters(arch, own, seed).items()}
    lstm = torch.nn.LSTM(6, 6, 3).double()
    table = torch.nn.Parameter(drawn["lookup.W"])
    bias = torch.nn.Parameter(drawn["readout.b"])
    with torch.no_grad():
        for layer in range(3):
            for ours, theirs in (("W", "weight_ih"), ("R", "weight_hh")):
                getattr(lstm, f"{theirs}_l{layer}").copy_(drawn[f"layer{layer}.{ours}"].t())
            getattr(lstm, f"bias_ih_l{layer}").copy_(drawn[f"layer{layer}.b"])
            getattr(lstm, f"bias_hh_l{layer}").copy_(drawn[f"layer{layer}.b_R"])
    parameters = [table, bias, *lstm.parameters()]
    common = {"lr": own.learning_rate, "weight_decay": own.weight_decay}
    optimizer, losses, switched = torch.optim.SGD(parameters, **common), [], -1
    for epoch in range(4):
        streams = columns(splits["train"], own.batch_size)
        state = None
        for start in range(0, len(streams) - 1, own.bptt_length):
            window = streams[start : start + own.bptt_length + 1]
            if len(window) <= own.bptt_length:
                break
            outputs, state = lstm(table[window[:-1]], state)
            state = tuple(each.detach() for each in state)
            scores = outputs @ table.t() + bias
            loss = functional.cross_entropy(scores.flatten(0, 1), window[1:].flatten())
            loss = loss + 2.0 * outputs.pow(2).mean()
            loss = loss + 1.0 * (outputs[1:] - outputs[:-1]).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            norm = torch.sqrt(sum(p.grad.pow(2).sum() for p in parameters))
            for p in parameters:
                p.grad *= min(1.0, own.clip_norm / float(norm))
            optimizer.step()
        means = [optimizer.state[p]["ax"] if switched >= 0 else p for p in parameters]
        losses.append(validated(lstm, parameters, means, streams_of(splits["validation"], 10)))
        if switched < 0 and len(losses) > 1 and losses[-1] > min(losses[:-1]):
            optimizer, switched = torch.optim.ASGD(parameters, t0=0, lambd=0.0, **common), epoch
    return losses, switched


def columns(ids, batch_size):
    """Returns the tokens as streams side by side; the last has the token after it too."""
    length = (len(ids) - 1) // batch_size
    return torch.stack([ids[n * length : (n + 1) * length + 1] for n in range(batch_size)], 1)


def streams_of(ids, batch_size):
    """Returns the parts of a text that are scored, each from a state of zero."""
    ends = [n * (len(ids) - 1) // batch_size for n in range(batch_size + 1)]
    return [ids[begin : end + 1] for begin, end in zip(ends, ends[1:], strict=False)]


@torch.no_grad()
def validated(lstm, parameters, means, streams):
    """Returns the mean loss of a text by the parameters' means."""
    before = [p.clone() for p in parameters]
    for p, mean in zip(parameters, means, strict=True):
        p.copy_(mean)
    nats = 0.0
    for ids in streams:
        outputs, _ = lstm(parameters[0][ids[:-1]].unsqueeze(1))
        scores = (outputs @ parameters[0].t() + parameters[1]).squeeze(1)
        nats += functional.cross_entropy(scores, ids[1:], reduction="sum").item()
    for p, own in zip(parameters, before, strict=True):
        p.copy_(own)
    return nats / sum(len(ids) - 1 for ids in streams)
