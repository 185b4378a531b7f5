"""The packed optimisers equal torch.optim run by run, and so does clipping."""

import functools
import math
import sys

import pytest
import torch
from tolerances import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from harness.settings import Settings
from harness.training.flat_parameters import FlatLayout
from harness.training.optimizer import KINDS, Optimizer, learning_rates
from harness.training.patience import Heard

STEPS = 20
needs_triton = pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux alone")
SHAPES = {"layer0.W": (3, 8), "layer0.b": (8,), "readout.W": (2, 5)}
LAYOUT = FlatLayout(SHAPES)
HYPERPARAMETERS = [
    {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1, "clip_norm": None},
    {
        "learning_rate": 0.01,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "clip_norm": 0.5,
        "warmup_updates": 5,
    },
    {
        "learning_rate": 1.0,
        "momentum": 0.5,
        "weight_decay": 0.01,
        "clip_norm": 100.0,
        "schedule": "cosine",
    },
]


@pytest.fixture(params=["torch", "cpp", pytest.param("triton", marks=needs_triton)])
def make(request, monkeypatch):
    """Makes an optimiser, of torch's operations, of compiled code, or of a kernel that Triton's
    interpreter runs.
    """
    if request.param == "triton":
        from triton.runtime.interpreter import InterpretedFunction

        from harness.engine.gpu import optimizer_step

        kernel = InterpretedFunction(optimizer_step.move.fn)
        monkeypatch.setattr(optimizer_step, "move", kernel)
    return functools.partial(Optimizer, backend=request.param)


def settings(**changes):
    return Settings(**{"cell": "lstm", "corpus": "text", **changes})


def draws(seed, num_runs):
    """Returns random rows of parameters or gradients, nothing between them."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.zeros(num_runs, LAYOUT.size, dtype=torch.float64)
    for view in LAYOUT.views(rows).values():
        view.copy_(torch.randn(view.shape, generator=generator, dtype=torch.float64))
    return rows


def named(rows, n):
    return {name: view[n].clone() for name, view in LAYOUT.views(rows).items()}


def step(optimizer, parameters, gradients, update=0, losses=None):
    losses = torch.ones(len(parameters), dtype=torch.float64) if losses is None else losses
    return optimizer.step(parameters, gradients.clone(), optimizer.schedule[update], losses)


def torch_optimizer(run, parameters):
    common = {"lr": run.learning_rate, "weight_decay": run.weight_decay}
    if run.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=run.momentum, **common)
    if run.optimizer == "asgd":
        return torch.optim.ASGD(parameters, lambd=0.0, t0=0, **common)
    if run.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, momentum=run.momentum, **common)
    adaptive = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam}
    return adaptive[run.optimizer](parameters, **common)


@pytest.fixture
def double_by_default():
    """What NAdam of torch counts by itself it counts in the default precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("double_by_default")
@pytest.mark.parametrize("name", KINDS)
def test_a_pack_of_different_hyperparameters_equals_torch_optim_run_by_run(make, name):
    at_once = {"nonmonotone_interval": None} if name == "asgd" else {}
    runs = [settings(optimizer=name, **at_once, **h) for h in HYPERPARAMETERS]
    parameters, gradients = (
        draws(0, len(runs)),
        [draws(1 + update, len(runs)) for update in range(STEPS)],
    )
    expected, means = [], []
    for n, run in enumerate(runs):
        own = {name: torch.nn.Parameter(p) for name, p in named(parameters, n).items()}
        optimizer, rates = torch_optimizer(run, list(own.values())), learning_rates(run, STEPS)
        for update in range(STEPS):
            grads = named(gradients[update], n)
            norm = math.sqrt(sum(float(g.square().sum()) for g in grads.values()))
            for key, p in own.items():
                p.grad = grads[key] * (min(1.0, run.clip_norm / norm) if run.clip_norm else 1.0)
            optimizer.param_groups[0]["lr"] = float(rates[update])
            for state in optimizer.state.values():
                if "eta" in state:  # of ASGD, whose rate would else be the last one's
                    state["eta"].fill_(rates[update])
            optimizer.step()
        expected.append(own)
        means.append([optimizer.state[p].get("ax") for p in own.values()])
    packed = make(runs, parameters, STEPS)
    for update in range(STEPS):
        step(packed, parameters, gradients[update], update)
    for key, found in LAYOUT.views(parameters).items():
        assert_close(found, torch.stack([own[key].detach() for own in expected]), key)
    if packed.average is not None:
        found = LAYOUT.views(packed.average).values()
        for own, wanted in zip(found, zip(*means, strict=True), strict=True):
            assert_close(own, torch.stack(wanted))
    named_elements = sum(view[0].numel() for view in LAYOUT.views(parameters).values())
    assert (parameters != 0).sum(1).tolist() == [named_elements] * len(
        runs
    )  # what lies between stays zero


def test_a_run_is_averaged_once_its_losses_have_told_it_to_and_is_sgd_before(make):
    """Run by run: from the first update on, after the second, and never."""
    runs = [
        settings(optimizer="asgd", learning_rate=0.1, nonmonotone_interval=interval)
        for interval in (None, 0, 5)
    ]
    parameters, losses = draws(0, 3), [3.0, 2.0, 2.5, 2.0]
    optimizer, history = make(runs, parameters, 6), []
    for update in range(6):
        gradients = draws(1 + update, 3)
        before = parameters.clone()
        step(optimizer, parameters, gradients, update)
        norms = gradients.norm(dim=1, keepdim=True).clamp(min=1)
        torch.testing.assert_close(parameters, before - 0.1 * gradients / norms)
        history.append(parameters.clone())
        heard = [Heard(index + 1, loss) for index, loss in enumerate(losses[: update + 1])]
        optimizer.hear([heard] * 3)
    # As torch counts, the mean begins with the second of the updates that it is of.
    means = [torch.stack(history[1:]).mean(0)[0], torch.stack(history[4:]).mean(0)[1]]
    torch.testing.assert_close(optimizer.average[:2], torch.stack(means))
    assert torch.equal(optimizer.average[2], parameters[2])


@pytest.mark.parametrize("weight_decay", [0.0, 1e-3])
def test_weight_decay_of_adamw_is_exact_in_float32_too(make, weight_decay):
    run = settings(optimizer="adamw", learning_rate=1e-4, weight_decay=weight_decay)
    parameters = torch.full((1, LAYOUT.size), 1000.0)
    step(make([run], parameters, 1), parameters, torch.zeros_like(parameters), losses=torch.ones(1))
    assert parameters[0, 0].item() == pytest.approx(1000.0 * (1 - 1e-4 * weight_decay), abs=3.1e-5)


def test_clipping_is_that_of_torch(make):
    runs = [settings(learning_rate=1.0, clip_norm=c) for c in (0.01, 2.0, 1e6, None)]
    gradients, changes = draws(0, 4), torch.zeros(4, LAYOUT.size, dtype=torch.float64)
    optimizer = make(runs, changes, 1)
    norms = step(optimizer, changes, gradients)
    assert optimizer.clipped(norms).tolist() == [True, True, False, False] and optimizer.alive.all()
    for n, run in enumerate(runs):
        own = [
            torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in SHAPES.values()
        ]
        for p, g in zip(own, named(gradients, n).values(), strict=True):
            p.grad = g
        norm = torch.nn.utils.clip_grad_norm_(
            own, math.inf if run.clip_norm is None else run.clip_norm
        )
        assert norms[n].item() == pytest.approx(norm.item(), rel=1e-12)
        # torch divides by the norm + 1e-6: at a norm of about 6 its step is smaller by a relative
        # 2e-7.
        for p, change in zip(own, named(changes, n).values(), strict=True):
            torch.testing.assert_close(-change, p.grad, rtol=1e-6, atol=0)


def test_clipping_of_elements_is_that_of_torch(make):
    runs = [settings(learning_rate=1.0, clip_norm=n, clip_value=v) for n, v in CLIPS]
    gradients, changes = draws(0, len(runs)), torch.zeros(len(runs), LAYOUT.size).double()
    optimizer = make(runs, changes, 1)
    norms = step(optimizer, changes, gradients)
    assert optimizer.clipped(norms).tolist() == [False, False, False, True]
    for n, run in enumerate(runs):
        own = [torch.nn.Parameter(torch.zeros_like(g)) for g in named(gradients, n).values()]
        for p, g in zip(own, named(gradients, n).values(), strict=True):
            p.grad = g
        if run.clip_norm:
            torch.nn.utils.clip_grad_norm_(own, run.clip_norm)
        if run.clip_value:
            torch.nn.utils.clip_grad_value_(own, run.clip_value)
        for p, change in zip(own, named(changes, n).values(), strict=True):
            torch.testing.assert_close(-change, p.grad, rtol=1e-6, atol=0)
    alone = torch.zeros(1, LAYOUT.size).double()
    step(make(runs[:1], alone, 1), alone, gradients[:1])
    assert torch.equal(alone, changes[:1])


CLIPS = [(None, None), (None, 0.7), (None, 1e6), (2.0, 0.3)]
"""Of norm and of elements."""


def test_clipping_of_one_run_changes_no_bit_of_another(make):
    runs = [settings(learning_rate=0.3, clip_norm=c) for c in (None, 0.01)]
    alone, packed = draws(0, 2)[:1].clone(), draws(0, 2)
    gradients = draws(1, 2)
    step(make(runs[:1], alone, 1), alone, gradients[:1])
    step(make(runs, packed, 1), packed, gradients)
    assert torch.equal(packed[:1], alone)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_what_is_not_finite_freezes_its_run_alone_and_for_ever(make, name, clip_norm, bad, where):
    fixed = {"learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.1, "clip_norm": clip_norm}
    runs = [settings(optimizer=name, **fixed) for _ in range(2)]
    start, gradients, losses = draws(0, 2), draws(1, 2), torch.ones(2, dtype=torch.float64)
    parameters, sound = start.clone(), start.clone()
    optimizer, other = make(runs, parameters, 3), make(runs, sound, 3)
    for update in range(3):
        step(other, sound, gradients, update)
        spoilt, loss = gradients.clone(), losses.clone()
        if update == 1:
            frozen = parameters[1].clone()
            (LAYOUT.views(spoilt)["layer0.b"][:, 3] if where == "gradient" else loss)[1] = bad
        norms = step(optimizer, parameters, spoilt, update, loss)
        assert optimizer.alive.tolist() == [True, update < 1]
        assert norms.isfinite().tolist() == [True, update != 1 or where == "loss"]
    assert torch.equal(parameters[0], sound[0]) and not torch.equal(parameters[0], start[0])
    assert torch.equal(parameters[1], frozen) and not torch.equal(frozen, start[1])


def test_a_frozen_run_stays_where_it_is_even_if_that_is_no_number(make):
    run = settings(learning_rate=0.1, weight_decay=0.1, momentum=0.5)
    parameters = torch.tensor([[math.inf, -math.inf, -0.0, 1.0] * 4])
    optimizer, gradients = make([run], parameters, 2), torch.full((1, 16), math.nan)
    for update in range(2):
        step(optimizer, parameters, gradients, update, torch.ones(1))
    assert parameters.tolist() == [[math.inf, -math.inf, 0.0, 1.0] * 4]
    assert math.copysign(1, parameters[0, 2]) == -1


@pytest.mark.parametrize(("name", "kept"), [("sgd", set()), ("rmsprop", {"second"})])
def test_momentum_of_one_run_changes_no_bit_of_another(make, name, kept):
    plain, with_momentum = (
        settings(optimizer=name, learning_rate=0.3, momentum=each) for each in (0.0, 0.9)
    )
    alone, packed = draws(0, 2)[:1].clone(), draws(0, 2)
    one, two = make([plain], alone, 5), make([plain, with_momentum], packed, 5)
    for update in range(5):
        gradients = draws(1 + update, 2)
        step(one, alone, gradients[:1], update)
        step(two, packed, gradients, update)
    assert set(one.state) == kept and set(two.state) == {"velocity", *kept}
    assert torch.equal(packed[:1], alone)


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_an_optimiser_takes_over_runs_of_another_where_they_stand(make, name):
    runs = [
        settings(optimizer=name, learning_rate=0.1 * (n + 1), momentum=0.3 * n) for n in range(4)
    ]
    whole, losses = draws(0, 4), torch.ones(4, dtype=torch.float64)
    first, kept = make(runs, whole, 4), [3, 0, 2]
    losses[2] = math.nan
    step(first, whole, draws(1, 4), 0, losses)
    part = whole[kept]
    second = make([runs[i] for i in kept], part, 4)
    second.take_over(first, kept)
    for update in (1, 2):
        gradients = draws(1 + update, 4)
        step(first, whole, gradients, update)
        step(second, part, gradients[kept], update)
    assert torch.equal(part, whole[kept]) and second.alive.tolist() == [True, True, False]


@pytest.mark.parametrize("name", KINDS)
def test_one_pass_makes_the_steps_of_torchs_operations_in_float32(make, name):
    runs = [settings(optimizer=name, **h) for h in HYPERPARAMETERS]
    found = [draws(0, len(runs)).float() for _ in range(2)]
    optimizers = [Optimizer(runs, found[0], STEPS), make(runs, found[1], STEPS)]
    for update in range(STEPS):
        gradients, losses = draws(1 + update, len(runs)).float(), torch.ones(len(runs))
        norms = [
            step(o, rows, gradients, update, losses)
            for o, rows in zip(optimizers, found, strict=True)
        ]
        torch.testing.assert_close(*norms, rtol=1e-6, atol=0)
    torch.testing.assert_close(*found, rtol=2e-6, atol=2e-6)
    for kind, moment in optimizers[0].state.items():
        torch.testing.assert_close(optimizers[1].state[kind], moment, rtol=2e-6, atol=2e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", KINDS)
def test_on_a_gpu_one_kernel_makes_the_steps_of_torchs_operations(name):
    runs = [settings(optimizer=name, **h) for h in HYPERPARAMETERS]
    found = [torch.randn(len(runs), 5008, device="cuda") for _ in range(2)]
    found[1].copy_(found[0])
    optimizers = [
        Optimizer(runs, rows, STEPS, backend)
        for rows, backend in zip(found, ("torch", "triton"), strict=True)
    ]
    losses = torch.ones(len(runs), device="cuda")
    for update in range(STEPS):
        gradients = torch.randn_like(found[0])
        for optimizer, rows in zip(optimizers, found, strict=True):
            step(optimizer, rows, gradients, update, losses)
    losses[1] = torch.nan  # this run stays where it is
    before = found[1][1].clone()
    step(optimizers[1], found[1], gradients, losses=losses)
    assert torch.equal(found[1][1], before)
    assert optimizers[1].alive.tolist() == [True, False, True]
    step(optimizers[0], found[0], gradients, losses=losses)
    torch.testing.assert_close(*found, rtol=2e-6, atol=2e-6)


@needs_triton
def test_one_kernel_is_all_besides_the_norm(monkeypatch):
    """Each of torch's operations is a launch on a GPU, and a pass over all parameters of a pack."""
    from harness.engine.gpu import optimizer_step

    class Counter(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), others=None):
            made = function(*arguments, **(others or {}))
            if not function.is_view:
                called.append(function)
            return made

    steps = []
    monkeypatch.setattr(optimizer_step, "step", lambda *given, **others: steps.append(given))
    runs = [settings(optimizer="adam", **HYPERPARAMETERS[1])]
    counts = {}
    for backend in ("torch", "triton"):
        rows, gradients, losses, called = draws(0, 1), draws(1, 1), torch.ones(1), []
        optimizer = Optimizer(runs, rows, 1, backend)
        with Counter():
            optimizer.step(rows, gradients, optimizer.schedule[0], losses)
        counts[backend] = len(called)
    assert len(steps) == 1
    assert counts == {"torch": 15, "triton": 1}


@pytest.mark.parametrize("size", [16, 48, 4096, 4112, 3 * 4096 + 80])
def test_the_norm_of_a_long_row_is_that_of_all_its_numbers(size):
    gradients, parameters = (
        torch.randn(1, size, generator=torch.Generator().manual_seed(0)),
        torch.zeros(1, size),
    )
    norms = step(
        Optimizer([settings(learning_rate=0.0)], parameters, 1, "cpp"), parameters, gradients
    )
    assert norms.item() == pytest.approx(gradients.double().norm().item(), rel=1e-6)
