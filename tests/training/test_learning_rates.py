"""Schedules of the learning rate equal their formulas, and that of a plateau torch's own."""

import math
from dataclasses import replace

import pytest
import torch

from harness.settings import Settings
from harness.training.optimizer import Optimizer, learning_rates
from harness.training.patience import Heard, reductions


def settings(**changes):
    return Settings(**{"cell": "lstm", "corpus": "text", **changes})


def test_constant_and_warm_up():
    assert learning_rates(settings(learning_rate=2.0), 3).tolist() == [2.0] * 3
    rates = learning_rates(settings(learning_rate=2.0, warmup_updates=4), 6)
    assert rates.tolist() == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert learning_rates(settings(learning_rate=2.0, warmup_updates=8), 2).tolist() == [0.25, 0.5]


def test_cosine_falls_from_the_rate_towards_its_floor():
    run = settings(learning_rate=2.0, schedule="cosine", cosine_floor=0.1, warmup_updates=10)
    rates = learning_rates(run, 110)
    k = torch.arange(100, dtype=torch.float64)
    closed = 2.0 * (0.1 + 0.9 * 0.5 * (1 + torch.cos(math.pi * k / 100)))
    torch.testing.assert_close(rates[10:], closed, rtol=1e-13, atol=0)
    assert rates[10] == 2.0 and rates[60].item() == pytest.approx(2.0 * 0.55)
    assert (
        0.2 < rates[-1].item() < 0.2 * 1.005
    )  # the floor itself would be the update after the last
    assert (rates[10:].diff() < 0).all()


def test_step_multiplies_after_every_so_many():
    run = settings(
        learning_rate=8.0, schedule="step", step_updates=3, step_factor=0.5, warmup_updates=2
    )
    assert learning_rates(run, 10).tolist() == [4.0, 8.0, 8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 2.0, 2.0]
    later = replace(run, warmup_updates=0, step_first_updates=5)
    assert learning_rates(later, 12).tolist() == [8.0] * 5 + [4.0] * 3 + [2.0] * 3 + [1.0]
    at_once = replace(later, step_first_updates=0)
    assert learning_rates(at_once, 4).tolist() == [4.0] * 3 + [2.0]


@pytest.mark.parametrize(("patience", "factor"), [(0, 0.5), (2, 0.1)])
def test_a_plateau_reduces_as_that_of_torch_does(patience, factor):
    generator = torch.Generator().manual_seed(patience)
    losses = (2 + 0.001 * torch.randn(40, generator=generator)).tolist()
    losses[7] = math.nan
    run = settings(
        schedule="plateau", plateau_patience=patience, plateau_factor=factor, warmup_updates=3
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=run.learning_rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, eps=0
    )
    heard, wanted = [], [run.learning_rate] * 5  # before the first evaluation
    for index, loss in enumerate(losses):
        plateau.step(loss)
        heard.append(Heard(5 * (index + 1), loss))
        wanted += [optimizer.param_groups[0]["lr"]] * 5
    rates = learning_rates(run, len(wanted), reductions(run, heard))
    torch.testing.assert_close(rates[3:], torch.tensor(wanted[3:]).double())
    assert rates[0] == run.learning_rate / 3 and rates[-1] < 0.1 * run.learning_rate
    packed = Optimizer([settings(), run], torch.zeros(2, 16), len(wanted))
    packed.hear([heard, heard])
    assert packed.schedule[-1, 0, :, 0].tolist() == [1.0, rates[-1].float().item()]
