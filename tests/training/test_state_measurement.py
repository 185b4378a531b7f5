"""What a trained model's states are like, against equations and differences written anew."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import cells
from harness.data import evaluation_windows
from harness.settings import Budget, Settings
from harness.training import state_measurement
from harness.training.messages import RunStarted
from harness.training.pack import Pack
from harness.training.plan import Plan, Run
from harness.training.state_statistics import MOST_STEPS
from harness.training.steps import train

SIZE, BATCH, STEPS = 4, 3, 5


@pytest.fixture
def settings(text):
    return Settings(
        cell="lstm",
        corpus="text",
        path=text,
        hidden_size=SIZE,
        batch_size=BATCH,
        bptt_length=STEPS,
        budget=Budget(updates=1),
        evaluations=1,
        engine="reference",
        device="cpu",
        threads=1,
        initialization="normal",
        initial_scale=1.5,  # large enough for a tanh to saturate
    )


def windows_of(packed, found):
    """The minibatches that were read."""
    return itertools.islice(packed.task.evaluation(found.split, 1), found.num_windows)


def measured(settings, **changes):
    """Returns the statistics at a run's first parameters, the run's pack, and these parameters."""
    found = Pack(Plan((Run("r0", (0,), replace(settings, **changes)),), "train/perplexity"))
    found.close()
    (shard,) = found.shards
    values = state_measurement.measure(found.task, found.model, shard.runs[0], shard.parameters)
    return values, found, {n: p[0].double().numpy() for n, p in shard.parameters.items()}


# The equations once more.


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def lstm_step(p, x, h, c):
    i, f, g, o = np.split(x + h @ p["R"], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def rnn_step(p, x, h):
    return (np.tanh(x + h @ p["R"]),)


def tanhless_step(p, x, h, c):
    i, f, g, o = np.split(x + h @ p["R"], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * c, c


STEPPERS = {
    "lstm": (lstm_step, ("h", "c")),
    "rnn-tanh": (rnn_step, ("h",)),
    "lstm-no-output-tanh": (tanhless_step, ("h", "c")),
}


class Numpy:
    """A stack of layers that reads characters, for one array of streams."""

    def __init__(self, cell, parameters, num_layers):
        self.step, self.names = STEPPERS[cell]
        self.num_layers, self.parameters = num_layers, parameters
        self.layers = [
            {n.partition(".")[2]: p for n, p in parameters.items() if n.startswith(f"layer{i}.")}
            for i in range(num_layers)
        ]

    def start(self, streams):
        return [
            tuple(np.zeros((streams, SIZE)) for _ in self.names) for _ in range(self.num_layers)
        ]

    def one(self, tokens, states):
        new, below = [], None
        for p, state in zip(self.layers, states, strict=True):
            x = (p["W"][tokens] if below is None else below @ p["W"]) + p["b"]
            new.append(self.step(p, x, *state))
            below = new[-1][0]
        return new

    def losses(self, states, targets):
        scores = states[-1][0] @ self.parameters["readout.W"] + self.parameters["readout.b"]
        scores = scores - scores.max(1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        return -logs[np.arange(len(targets)), targets]

    def last_losses(self, tokens, targets, states):
        """The losses (B,) at the last of the steps ``tokens`` (T, B), from ``states`` on."""
        for each in tokens:
            states = self.one(each, states)
        return self.losses(states, targets)

    def gradient(self, tokens, targets, states, layer, index, epsilon=1e-6):
        """Central differences of :meth:`last_losses` in one state, (B, H)."""
        columns = []
        for unit in range(SIZE):
            sides = []
            for sign in (1.0, -1.0):
                moved = [tuple(s.copy() for s in state) for state in states]
                moved[layer][index][:, unit] += sign * epsilon
                sides.append(self.last_losses(tokens, targets, moved))
            columns.append((sides[0] - sides[1]) / (2 * epsilon))
        return np.stack(columns, 1)


def expected(model, tokens, num_windows):
    """Returns the values of every state, {(layer, name): (...)}, and its gradient norms."""
    starts, lengths = evaluation_windows(len(tokens), BATCH, STEPS)
    assert (lengths[:num_windows] == STEPS).all()
    states, values, norms = model.start(BATCH), {}, {}
    for window in range(num_windows):
        at = starts[window] + np.arange(STEPS)[:, None]
        inputs, targets = tokens[at], tokens[at[-1] + 1]
        for step in range(STEPS):
            squares = np.zeros(BATCH)
            for layer in range(model.num_layers):
                for index, name in enumerate(model.names):
                    found = model.gradient(inputs[step:], targets, states, layer, index)
                    squares += (found**2).sum(1)
                    sizes = norms.setdefault((layer, name), np.zeros(STEPS))
                    sizes[STEPS - 1 - step] += np.linalg.norm(found, axis=1).mean() / num_windows
            whole = norms.setdefault("all", np.zeros(STEPS))
            whole[STEPS - 1 - step] += np.sqrt(squares).mean() / num_windows
            states = model.one(inputs[step], states)
            for layer, state in enumerate(states):
                for name, value in zip(model.names, state, strict=True):
                    values.setdefault((layer, name), []).append(value)
    return {key: np.stack(found) for key, found in values.items()}, norms


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", STEPPERS)
def test_statistics_equal_equations_and_differences_written_anew(settings, cell, num_layers):
    found, packed, parameters = measured(settings, cell=cell, num_layers=num_layers)
    tokens = packed.task.dataset.splits["validation"]
    assert (found.split, found.num_streams, found.num_steps) == ("validation", BATCH, STEPS)
    assert found.num_windows == (len(tokens) - 1) // BATCH // STEPS > 1
    model = Numpy(cell, parameters, num_layers)
    values, norms = expected(model, tokens, found.num_windows)
    assert [(each.layer, each.state) for each in found.states] == list(values)
    for each in found.states:
        sizes = np.abs(values[each.layer, each.state]).ravel()
        assert each.rms == pytest.approx(np.sqrt((sizes**2).mean()), rel=1e-12)
        shares = {0.5: each.median, 0.9: each.percentile_90, 0.99: each.percentile_99}
        for share, quantile in {**shares, 1.0: each.largest}.items():
            wanted = np.quantile(sizes, share, method="inverted_cdf")
            assert quantile == pytest.approx(wanted, rel=1e-12)
        assert each.saturated == (np.tanh(sizes) > 0.97).mean()
        wanted = norms[each.layer, each.state]
        np.testing.assert_allclose(each.gradient_norms, wanted, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.gradient_norms, norms["all"], rtol=1e-5, atol=1e-9)
    if cell != "rnn-tanh":  # or the shares above would say nothing
        assert any(0 < each.saturated < 1 for each in found.states)
    assert all(norm > 0 for norm in found.gradient_norms)


def test_a_gradient_of_a_state_that_nothing_reads_is_zero(settings):
    unread = [name for name in cells.names() if cells.find(name).unread]
    assert unread
    for name in unread:
        found, _, _ = measured(settings, cell=name, embedding_size=SIZE)
        for each in found.states:
            is_unread = each.state in cells.find(name).unread
            assert (set(each.gradient_norms) == {0.0}) == is_unread, (name, each.state)


@pytest.mark.parametrize("name", cells.names())
def test_every_cell_is_measured_and_its_outputs_are_those_of_a_whole_window(settings, name):
    changes = {"cell": name, "embedding_size": SIZE, "initial_scale": 0.5, "precision": "float64"}
    found, packed, _ = measured(settings, **changes)
    (shard,), cell = packed.shards, cells.find(name)
    assert [each.state for each in found.states] == list(cell.state)
    assert len(found.gradient_norms) == STEPS
    states, seen = shard._first_states(shard.parameters), []
    for batch in windows_of(packed, found):
        rows, states = packed.model(shard.parameters, batch.inputs, states)
        seen.append(rows)
    outputs = torch.stack(seen)
    assert 0 < found.states[0].largest < math.inf
    if not cell.projects:
        first = found.states[0]
        assert first.rms == pytest.approx(outputs.square().mean().sqrt().item(), rel=1e-9)
        assert first.largest == pytest.approx(outputs.abs().max().item(), rel=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_layers": 2, "residual": True},
        {"embedding_size": SIZE, "tied": True},
        {"learned_start": True},
        {"num_layers": 2, "dropout": 0.5, "state_dropout": 0.3, "recurrent_dropout": 0.3},
        {"cell": "lstm-projected", "projection_size": 2, "num_layers": 2},
    ],
)
def test_the_gradient_is_that_of_backpropagation_through_the_window(settings, changes):
    """Of the whole window at once, from its last loss to the state that it began with."""
    found, packed, _ = measured(settings, **changes, precision="float64")
    (shard,), T = packed.shards, found.num_steps
    model, masks = shard.model, shard._masks
    states, norms = shard._first_states(shard.parameters), []
    for batch in windows_of(packed, found):
        given = [tuple(s.detach().clone().requires_grad_() for s in state) for state in states]
        rows, states = model(shard.parameters, batch.inputs, given, masks)
        scores = model.readout(shard.parameters).scores(rows[:, -BATCH:])[0]
        loss = torch.nn.functional.cross_entropy(scores, batch.targets[-1, 0], reduction="sum")
        flat = [s for state in given for s in state]
        gradients = torch.autograd.grad(loss, flat, allow_unused=True, materialize_grads=True)
        norms.append(torch.cat([g[0] for g in gradients], 1).norm(dim=1).mean().item())
    assert found.gradient_norms[T - 1] == pytest.approx(np.mean(norms), rel=1e-9)


def test_zoneout_is_taken_at_its_mean_and_a_clipped_state_is_seen_as_clipped(settings):
    found, _, _ = measured(settings, state_clip=0.25)
    assert all(each.largest == 0.25 for each in found.states)
    kept, _, _ = measured(settings, zoneout_c=0.9)
    whole, _, _ = measured(settings)
    assert kept.states[1].rms < whole.states[1].rms
    assert measured(settings, zoneout_c=0.9)[0] == kept  # nothing is drawn


# What is read.


def test_without_a_held_out_text_the_training_text_is_read(settings):
    found, packed, parameters = measured(settings, split="none")
    assert found.split == "train" and packed.task.splits == ("train",)
    model = Numpy("lstm", parameters, 1)
    tokens = packed.task.dataset.splits["train"]
    few = expected(model, tokens, found.num_windows)[0][0, "c"]
    assert found.states[1].rms == pytest.approx(np.sqrt((few**2).mean()), rel=1e-12)


@pytest.mark.parametrize(
    "batch_size, bptt_length, read",
    [
        (3, 5, (3, 8, 5)),  # streams, windows, steps: all there is, but the rest of each stream
        (3, 40, (3, 1, 40)),
        (2, 500, (1, 1, 67)),  # a window longer than any stream
        (100, 5, (33, 1, 2)),  # streams of one token or two
        (200, 5, (133, 1, 1)),  # more streams than tokens
    ],
)
def test_a_short_text_is_read_as_far_as_its_longest_streams_go(
    settings, batch_size, bptt_length, read
):
    """The held-out text has 133 targets."""
    changes = {"batch_size": batch_size, "bptt_length": bptt_length, "max_offset": 0}
    found, _, _ = measured(settings, **changes)
    assert (found.num_streams, found.num_windows, found.num_steps) == read
    assert len(found.gradient_norms) == found.num_steps


@pytest.mark.parametrize(
    "batch_size, bptt_length",
    [(32, 35), (1, 16), (200, 100), (3, 2000), (9000, 1)],
)
def test_a_long_text_is_read_in_a_bounded_number_of_steps_and_tokens(
    settings, tmp_path, batch_size, bptt_length
):
    path = tmp_path / "long.txt"
    path.write_text("ab cd" * 50_000)
    changes = {"batch_size": batch_size, "bptt_length": bptt_length, "path": str(path)}
    found, _, _ = measured(settings, **changes, hidden_size=2, max_offset=0)
    steps = found.num_windows * found.num_steps
    assert steps <= MOST_STEPS and steps * found.num_streams <= state_measurement.MOST_TOKENS
    most_streams = state_measurement.MOST_TOKENS // found.num_steps
    assert found.num_streams == min(batch_size, most_streams)
    assert found.num_steps == min(bptt_length, MOST_STEPS)
    more = steps + found.num_steps
    is_full = more > MOST_STEPS or more * found.num_streams > state_measurement.MOST_TOKENS
    assert is_full or bptt_length > MOST_STEPS


# In a run.


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_asking_for_it_changes_no_number_of_a_run(settings, precision):
    settings = replace(
        settings, budget=Budget(updates=12), evaluations=3, precision=precision, dropout=0.2
    )
    runs = tuple(Run(f"r{i}", (i,), replace(settings, num_layers=2)) for i in range(2))

    def told(states):
        plan = Plan(runs, states=states, keep_models=True, version=2)
        said = [message for group in train(plan) for message in group]
        messages = [message for message in said if not isinstance(message, RunStarted)]
        messages.sort(key=lambda message: message.run)  # no run waits for the other
        spent = ("seconds", "tokens_per_second", "update_seconds", "peak_memory")
        return [
            (
                {k: v for k, v in message.metrics.items() if not k.startswith(spent)},
                message.samples,
                getattr(message, "model", None),
                getattr(message, "states", None),
            )
            for message in messages
        ]

    without, with_states = told(False), told(True)
    assert [each[:3] for each in with_states] == [each[:3] for each in without]
    assert all(each[3] is None for each in without)
    ends = [each[3] for each in with_states if each[2] is not None]
    assert len(ends) == 2 and ends[0] != ends[1] and None not in ends
    assert [(each.layer, each.state) for each in ends[0].states] == [
        (layer, name) for layer in (0, 1) for name in ("h", "c")
    ]


def test_a_run_is_measured_at_its_best_parameters(settings):
    settings = replace(settings, budget=Budget(updates=25), evaluations=5, learning_rate=3.0)
    run = Run("r0", (0,), replace(settings, momentum=0.95))
    trained, messages = Pack(Plan((run,), states=True)), []
    (shard,) = trained.shards
    while new := trained.advance():
        messages += new
    trained.close()
    end = messages[-1]
    assert 0 < end.metrics["best_update"] < 25
    best, last = (
        state_measurement.measure(trained.task, trained.model, run, parameters)
        for parameters in (shard.best, shard.parameters)
    )
    assert end.states == best != last


def test_a_run_that_diverged_has_no_statistics(settings):
    settings = replace(
        settings, budget=Budget(updates=9), learning_rate=1e30, clip_norm=None, cell="rnn-relu"
    )
    runs = (Run("r0", (0,), settings), Run("r1", (0,), replace(settings, learning_rate=0.1)))
    plan = Plan(runs, states=True, version=2)
    ends = {m.run: m for group in train(plan) for m in group if hasattr(m, "state")}
    assert ends["r0"].state == "diverged" and ends["r0"].states is None
    assert ends["r1"].state == "finished" and math.isfinite(ends["r1"].states.states[0].rms)
