"""The packed optimisers equal torch.optim run by run; clipping and schedules equal their formulas."""

import math

import pytest
import torch
from tolerances import assert_close

from harness.optimizer import Optimizer, global_norms, learning_rates
from harness.settings import Settings

STEPS = 20
SHAPES = {"layer0.W": (3, 8), "layer0.b": (8,), "readout.W": (2, 5)}
HYPERPARAMETERS = [
    {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1, "clip_norm": None},
    {"learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 0.5},
    {"learning_rate": 1.0, "momentum": 0.5, "weight_decay": 0.01, "clip_norm": 100.0},
]


def settings(**changes):
    return Settings(**{"cell": "lstm", "corpus": "text", **changes})


def draws(seed, *leading):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(*leading, *shape, generator=generator, dtype=torch.float64) for n, shape in SHAPES.items()}


def torch_optimizer(run, parameters):
    common = {"lr": run.learning_rate, "weight_decay": run.weight_decay}
    if run.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=run.momentum, **common)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[run.optimizer](parameters, **common)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_pack_of_different_hyperparameters_equals_torch_optim_run_by_run(name):
    runs = [settings(optimizer=name, **h) for h in HYPERPARAMETERS]
    parameters, gradients = draws(0, len(runs)), [draws(1 + step, len(runs)) for step in range(STEPS)]
    expected = []
    for n, run in enumerate(runs):
        own = [torch.nn.Parameter(p[n].clone()) for p in parameters.values()]
        optimizer = torch_optimizer(run, own)
        for step in range(STEPS):
            norm = math.sqrt(sum(float(g[n].square().sum()) for g in gradients[step].values()))
            for p, g in zip(own, gradients[step].values(), strict=True):
                p.grad = g[n] * (min(1.0, run.clip_norm / norm) if run.clip_norm else 1.0)
            optimizer.step()
        expected.append(dict(zip(SHAPES, own, strict=True)))
    packed = Optimizer(runs, parameters)
    rates, alive = torch.tensor([r.learning_rate for r in runs], dtype=torch.float64), torch.ones(3, dtype=torch.bool)
    for step in range(STEPS):
        packed.step(parameters, gradients[step], rates, step, alive)
    for parameter in SHAPES:
        assert_close(parameters[parameter], torch.stack([e[parameter].detach() for e in expected]), parameter)


def test_clipping_is_that_of_torch():
    runs = [settings(learning_rate=1.0, clip_norm=c) for c in (0.01, 2.0, 1e6, None)]
    gradients = draws(0, 4)
    before = {name: torch.zeros_like(g) for name, g in gradients.items()}
    norms, clipped, moved = Optimizer(runs, before).step(
        before, gradients, torch.ones(4, dtype=torch.float64), 0, torch.ones(4, dtype=torch.bool)
    )
    assert clipped.tolist() == [True, True, False, False] and moved.all()
    for n, run in enumerate(runs):
        own = [torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in SHAPES.values()]
        for p, g in zip(own, gradients.values(), strict=True):
            p.grad = g[n].clone()
        norm = torch.nn.utils.clip_grad_norm_(own, math.inf if run.clip_norm is None else run.clip_norm)
        assert norms[n].item() == pytest.approx(norm.item(), rel=1e-12)
        # torch divides by the norm + 1e-6: at a norm of about 6 its step is smaller by a relative 2e-7.
        for p, change in zip(own, before.values(), strict=True):
            torch.testing.assert_close(-change[n], p.grad, rtol=1e-6, atol=0)


def test_the_norm_is_global_over_all_parameters():
    gradients = {"a": torch.tensor([[3.0, 0.0], [1.0, 0.0]]), "b": torch.tensor([[[4.0]], [[0.0]]])}
    assert global_norms(gradients).tolist() == [5.0, 1.0]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_freezes_its_run_alone(name, bad):
    runs = [settings(optimizer=name, learning_rate=0.1, momentum=0.5) for _ in range(3)]
    parameters, gradients = draws(0, 3), draws(1, 3)
    start = {n: p.clone() for n, p in parameters.items()}
    sound = {n: p.clone() for n, p in parameters.items()}
    rates, alive = torch.full((3,), 0.1, dtype=torch.float64), torch.tensor([True, True, False])
    Optimizer(runs, sound).step(sound, gradients, rates, 0, alive)
    gradients["layer0.b"][1, 3] = bad
    norms, _, moved = Optimizer(runs, parameters).step(parameters, gradients, rates, 0, alive)
    assert moved.tolist() == [True, False, False] and not norms[1].isfinite()
    for n in SHAPES:
        assert torch.equal(parameters[n][0], sound[n][0]) and not torch.equal(parameters[n][0], start[n][0])
        assert torch.equal(parameters[n][1:], start[n][1:])


def test_momentum_of_one_run_changes_no_bit_of_another():
    plain, with_momentum = settings(learning_rate=0.3), settings(learning_rate=0.3, momentum=0.9)
    alone, packed = {n: p[:1].clone() for n, p in draws(0, 2).items()}, draws(0, 2)
    one, two = Optimizer([plain], alone), Optimizer([plain, with_momentum], packed)
    for step in range(5):
        gradients = draws(1 + step, 2)
        rate = torch.full((2,), 0.3, dtype=torch.float64)
        one.step(alone, {n: g[:1] for n, g in gradients.items()}, rate[:1], step, torch.ones(1, dtype=torch.bool))
        two.step(packed, gradients, rate, step, torch.ones(2, dtype=torch.bool))
    assert one.state == {} and set(two.state) == {f"velocity/{n}" for n in SHAPES}
    assert all(torch.equal(packed[n][:1], alone[n]) for n in SHAPES)


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
    assert 0.2 < rates[-1].item() < 0.2 * 1.005  # the floor itself would be the update after the last
    assert (rates[10:].diff() < 0).all()


def test_step_multiplies_after_every_so_many():
    run = settings(learning_rate=8.0, schedule="step", step_updates=3, step_factor=0.5, warmup_updates=2)
    assert learning_rates(run, 10).tolist() == [4.0, 8.0, 8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 2.0, 2.0]
