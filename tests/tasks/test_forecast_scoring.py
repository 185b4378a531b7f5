"""Forecasts that are values, normal distributions or quantiles: against torch and closed forms."""

import math

import closed_scores
import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from harness import data
from harness.data.sequences import Sequences, heads, levels
from harness.model.readout import Readout
from harness.settings import Budget, Options, Settings
from harness.tasks import forecast_metrics
from harness.tasks.forecast_scoring import GaussianScoring, QuantileScoring
from harness.tasks.objective import CRPS, LIKELIHOOD
from harness.tasks.scoring import ClassScoring, ValueScoring
from harness.tasks.sequence_prediction import SequencePrediction
from harness.training.pack import Pack
from harness.training.plan import Plan, Run

SCORINGS = {"value": ValueScoring, "gaussian": GaussianScoring, "quantiles": QuantileScoring}
LEVELS = torch.tensor(heads.LEVELS, dtype=torch.float64)


def settings(head, **changed):
    """A forecaster of Lorenz's three columns, two points ahead."""
    fields = {
        "cell": "lstm",
        "corpus": "lorenz",
        "task": "forecasting",
        "options": Options.of({"head": head, "horizon": 2, "length": 300}),
        "batch_size": 8,
        "bptt_length": 6,
        "hidden_size": 5,
        "precision": "float64",
        "engine": "reference",
        "learning_rate": 0.1,
        "budget": Budget(updates=3),
        "evaluations": 1,
        "threads": 1,
    }
    return Settings(**fields | changed)


def identity(width):
    """A read-out whose scores are its rows."""
    weight = torch.eye(width, dtype=torch.float64)[None]
    return Readout(weight, torch.zeros(1, width, dtype=torch.float64), "float64")


def loss_of_torch(head, outputs, targets):
    """The loss of each value, (..., O)."""
    if head == "value":
        return torch.nn.functional.mse_loss(outputs, targets, reduction="none")
    parts = outputs.unflatten(-1, (heads.OUTPUTS_PER_VALUE[head], -1))
    if head == "gaussian":
        variance = parts[..., 1, :].exp() + heads.LEAST_VARIANCE
        loss = torch.nn.GaussianNLLLoss(full=True, reduction="none", eps=0.0)
        return loss(parts[..., 0, :], targets, variance)
    errors, levels = targets.unsqueeze(-2) - parts, LEVELS.view(-1, 1)
    return 2 * torch.maximum(levels * errors, (levels - 1) * errors).sum(-2) / 20


@pytest.mark.parametrize("head", SCORINGS)
def test_losses_and_their_gradients_are_those_of_autograd(head):
    generator = torch.Generator().manual_seed(3)
    width = 3 * heads.OUTPUTS_PER_VALUE[head]
    rows, targets = (
        torch.randn(2, 7, size, dtype=torch.float64, generator=generator) for size in (4, 3)
    )
    weight = torch.randn(2, 4, width, dtype=torch.float64, generator=generator)
    bias = torch.randn(2, width, dtype=torch.float64, generator=generator)
    leaves = [each.requires_grad_() for each in (rows, weight, bias)]
    shares = torch.rand(2, 7, dtype=torch.float64, generator=generator)
    shares = shares / shares.sum(1, keepdim=True)
    outputs = rows @ weight + bias.unsqueeze(1)
    wanted = (loss_of_torch(head, outputs, targets).mean(2) * shares).sum(1)
    wanted.sum().backward()
    with torch.no_grad():
        readout = Readout(weight, bias, "float64")
        losses, gradients = SCORINGS[head](3).mean_losses(readout, rows, targets, shares)
    assert_close(losses, wanted.detach())
    for found, leaf in zip(gradients, leaves, strict=True):
        assert_close(found, leaf.grad)


@pytest.mark.parametrize("head", ["classes", *SCORINGS])
def test_what_overflows_where_nothing_counts_spoils_no_score(head):
    generator = torch.Generator().manual_seed(3)
    scoring = ClassScoring(3) if head == "classes" else SCORINGS[head](3)
    width = 3 * heads.OUTPUTS_PER_VALUE.get(head, 1)
    rows, targets = (
        torch.randn(2, 7, size, dtype=torch.float64, generator=generator) for size in (4, 3)
    )
    targets = targets.argmax(2) if head == "classes" else targets
    weight = torch.randn(2, 4, width, dtype=torch.float64, generator=generator)
    readout = Readout(weight, torch.zeros(2, width, dtype=torch.float64), "float64")
    shares = torch.full((2, 7), 0.25, dtype=torch.float64)
    shares[:, 4:], rows[:, 5] = 0, torch.inf
    kept = rows[:, :4], targets[:, :4], shares[:, :4]
    assert_close(scoring.sums(readout, rows, targets, shares), scoring.sums(readout, *kept))
    losses, gradients = scoring.mean_losses(readout, rows, targets, shares)
    expected, wanted = scoring.mean_losses(readout, *kept)
    assert_close(losses, expected)
    assert_close(gradients.rows[:, :4], wanted.rows)
    assert not gradients.rows[:, 4:].any()
    assert_close(gradients.weight, wanted.weight)
    assert_close(gradients.bias, wanted.bias)


def told(task, outputs, split="test"):
    """The metrics of given outputs for the windows of a split, (S, V)."""
    total, (batch, *others) = 0.0, task.evaluation(split, 1)
    width, first = outputs.shape[1], 0
    for each in (batch, *others):
        size = each.inputs.shape[2]
        rows = torch.zeros(*each.weights.shape, width, dtype=torch.float64)
        here = torch.from_numpy(outputs[first : first + size])
        rows[-1, 0, : len(here)] = here  # only the last step of a window counts
        first += size
        total = total + task.sums(identity(width), rows.transpose(0, 1).flatten(1, 2), each)
    return task.evaluation_metrics(split, (total / task.num_targets(split))[0].tolist())


@pytest.fixture(scope="module", params=SCORINGS)
def forecast(request):
    """A head's task, what it forecasts at random, and the truth, scaled."""
    task = SequencePrediction(settings(request.param), torch.device("cpu"))
    part = task.dataset.splits["test"]
    truth = part.targets[:, -1]
    outputs = np.random.default_rng(1).normal(size=(len(part), task.num_outputs))
    return request.param, task, outputs, truth


def test_errors_of_every_column_are_in_its_own_unit(forecast):
    head, task, outputs, _ = forecast
    windows, found = task.dataset.windows, told(task, outputs)
    own = windows.unscaled(heads.points(outputs, head))
    scale = forecast_metrics.error_scale(windows)
    for row in forecast_metrics.error_rows("lstm", "test", windows, own, scale):
        for error in ("mae", "rmse", "mase"):
            assert found[f"test/{error}_{row.column}"] == pytest.approx(getattr(row, error))
    assert not any("mae_" in name for name in told(task, outputs[:60], "validation"))


def test_scores_of_distributions_are_those_of_their_closed_forms(forecast):
    head, task, outputs, truth = forecast
    found = told(task, outputs)
    if head == "value":
        assert "test/crps" not in found and "test/coverage" not in found
        return
    parts = outputs.reshape(len(truth), heads.OUTPUTS_PER_VALUE[head], -1)
    if head == "gaussian":
        deviation = np.sqrt(np.exp(parts[:, 1]) + heads.LEAST_VARIANCE)
        scores = closed_scores.gaussian_crps(truth, parts[:, 0], deviation)
        ends = forecast_metrics.gaussian_interval(parts[:, 0], deviation, 0.9)
        density = stats.norm.logpdf(truth, parts[:, 0], deviation)
        assert found["test/nll"] == pytest.approx(-density.mean())
    else:
        by_level = np.moveaxis(parts, 1, -1)
        scores = closed_scores.quantile_crps(truth, by_level, heads.LEVELS)
        ends = by_level[..., 0], by_level[..., -1]
    covered = closed_scores.coverage(truth, *ends)
    assert found["test/crps"] == pytest.approx(scores.mean())
    assert found["test/coverage"] == pytest.approx(covered.mean())
    windows = task.dataset.windows
    of_columns = scores.reshape(-1, 2, 3).mean((0, 1)) * windows.scaling.deviation
    for index, column in enumerate(windows.series.columns):
        assert found[f"test/crps_{column}"] == pytest.approx(of_columns[index])
        assert found[f"test/coverage_{column}"] == pytest.approx(covered[[index, index + 3]].mean())


@pytest.fixture(scope="module")
def normal():
    """Numbers of a normal distribution, whose exact quantiles score 1/sqrt(pi)."""
    return stats.norm.ppf((np.arange(4000) + 0.5) / 4000)


def test_the_crps_of_quantiles_is_that_of_their_distribution(normal):
    """Of a standard normal one, forecast as it is, the CRPS is 1/sqrt(pi) in closed form."""
    exact = 1 / math.sqrt(math.pi)
    outputs = torch.from_numpy(np.tile(stats.norm.ppf(heads.LEVELS), (1, 4000, 1)))
    targets = torch.from_numpy(normal).view(1, -1, 1)
    measured = QuantileScoring(1)._measured(outputs, targets)[2].mean()
    assert float(measured) == pytest.approx(exact, rel=0.01)
    losses, _ = QuantileScoring(1)._losses_and_slopes(outputs, targets)
    assert float(losses.mean()) == pytest.approx(exact, rel=0.01)
    gaussian = GaussianScoring(1)._measured(torch.zeros(1, 4000, 2).double(), targets)
    assert float(gaussian[3].mean()) == pytest.approx(exact, rel=1e-3)


def test_a_guess_is_the_distribution_of_all_that_is_predicted():
    targets = np.random.default_rng(2).normal(3.0, 2.0, size=(40, 1, 2))
    sequences = Sequences(targets, targets, np.ones((40, 1)))
    chance = levels.guess_by_value(sequences, "gaussian")
    values = targets[:, 0]
    distances = np.abs(values[:, None] - values[None]).mean((0, 1)) / 2
    assert chance["crps"] == pytest.approx(distances)
    density = stats.norm.logpdf(values, values.mean(0), values.std(0))
    assert chance["nll"] == pytest.approx(-density.mean(0), rel=1e-5)
    ends = forecast_metrics.gaussian_interval(values.mean(0), values.std(0), 0.9)
    assert chance["coverage"] == pytest.approx(closed_scores.coverage(values, *ends))
    data_of = type("", (), {"chance": {"nll": 2.5, "crps": 0.0}})
    assert CRPS.chance(data_of) == pytest.approx(math.log(1e-300))
    assert LIKELIHOOD.chance(data_of) == 2.5


def test_no_constant_quantiles_score_better_than_a_guess(normal):
    """So who forecasts the same at every point has not learned, whatever it is."""
    targets = np.random.default_rng(4).permutation(normal)[:60, None, None]
    sequences = Sequences(targets, targets, np.ones((60, 1)))
    chance = levels.guess_by_value(sequences, "quantiles")
    assert 0.8 < chance["coverage"] <= 0.95
    values = targets[:, 0]
    for method in ("linear", "hazen", "inverted_cdf"):
        constant = np.quantile(values, heads.LEVELS, axis=0, method=method).T
        quantiles = np.broadcast_to(constant, (60, 1, len(heads.LEVELS)))
        score = closed_scores.quantile_crps(values, quantiles, heads.LEVELS).mean()
        assert score >= chance["crps"] * (1 - 1e-12), method
    assert score == pytest.approx(chance["crps"])


@pytest.mark.parametrize("head, objective", [("gaussian", "train/nll"), ("quantiles", "crps")])
def test_training_follows_a_plain_loop_of_torch(head, objective):
    own = settings(head)
    if "/" not in objective:
        objective = f"validation/{objective}"
    pack = Pack(Plan((Run("r0", (0,), own),), objective=objective, version=2))
    task, parameters = pack.task, pack.shards[0].parameters
    layer = torch.nn.LSTM(3, 5, dtype=torch.float64)
    readout = torch.nn.Linear(5, 6 * heads.OUTPUTS_PER_VALUE[head], dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(parameters["layer0.W"][0].T)
        layer.weight_hh_l0.copy_(parameters["layer0.R"][0].T)
        layer.bias_ih_l0.copy_(parameters["layer0.b"][0])
        layer.bias_hh_l0.zero_().requires_grad_(False)
        readout.weight.copy_(parameters["readout.W"][0].T)
        readout.bias.copy_(parameters["readout.b"][0])
    leaves = [p for p in (*layer.parameters(), *readout.parameters()) if p.requires_grad]
    for update in range(3):
        batch = task.batch(*(part[update] for part in task.epoch([(0,)], 0)))
        outputs = readout(layer(batch.inputs[:, 0])[0])[-1]
        loss = loss_of_torch(head, outputs, batch.targets[-1, 0]).mean()
        gradients = torch.autograd.grad(loss, leaves)
        norm = float(torch.sqrt(sum((g * g).sum() for g in gradients)))
        with torch.no_grad():
            for p, g in zip(leaves, gradients, strict=True):
                p -= 0.1 * g * min(1.0, 1.0 / norm)
    while messages := pack.advance():
        end = messages[-1].metrics
    pack.close()
    assert_close(parameters["layer0.R"][0].T, layer.weight_hh_l0.detach(), rtol=1e-8, atol=1e-11)
    assert_close(parameters["readout.W"][0].T, readout.weight.detach(), rtol=1e-8, atol=1e-11)
    assert math.isfinite(end["objective"]) and 0.0 <= end["test/coverage"] <= 1.0


def test_an_unknown_head_is_refused():
    with pytest.raises(data.DataError, match=r"options\.head: must be one of value, gaussian"):
        SequencePrediction(settings("student"), torch.device("cpu"))
