"""What autograd, copies, threads and transforms may ask of a layer, and in which dtypes."""

import copy
import io
import threading

import pytest
import torch
from small_layers import CLOSE, B, H, I, T, doubles, states
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from harness import Recurrent
from harness.engine import EngineError


@pytest.fixture(params=["cpu", "scan", "reference"])
def made(request):
    """A layer of every kind of gradient: compiled, of all time steps at once, autograd's own."""
    torch.manual_seed(0)
    cell = "min-gru" if request.param == "scan" else "lstm"
    return Recurrent(cell, 3, 4, 2, engine=request.param, dtype=torch.float64)


def test_gradients_are_those_of_differences(made):
    x = doubles(3, 2, 3).requires_grad_()
    names, values = zip(*made.named_parameters(), strict=True)

    def outputs(x, *values):
        output, final = torch.func.functional_call(made, dict(zip(names, values, strict=True)), x)
        return output, *states(final)

    assert torch.autograd.gradcheck(outputs, (x, *values), fast_mode=True)
    assert torch.autograd.gradgradcheck(outputs, (x, *values), fast_mode=True)


def test_a_graph_is_used_twice_where_it_is_kept(made):
    x = doubles(3, 2, 3).requires_grad_()
    loss = made(x)[0].square().sum()
    first = torch.autograd.grad(loss, [x, *made.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [x, *made.parameters()])
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()


def test_a_gradient_of_a_gradient_is_the_reference_s(made):
    x = doubles(3, 2, 3).requires_grad_()
    found = []
    for engine in (made.engine, "reference"):
        made.engine = engine
        (gradient,) = torch.autograd.grad(made(x)[0].square().sum(), x, create_graph=True)
        penalty = gradient.square().sum()
        found.append([gradient, *torch.autograd.grad(penalty, [x, *made.parameters()])])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_what_is_changed_in_place_between_the_passes_is_noticed(made):
    output, _ = made(doubles(3, 2, 3).requires_grad_())
    loss = output.square().sum()
    with torch.no_grad():
        made.R_l1.add_(1.0) if hasattr(made, "R_l1") else made.W_l1.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    if made.engine == "reference":  # its outputs are copies
        return
    output, _ = made(doubles(3, 2, 3).requires_grad_())
    output.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(made, reentrant):
    x = doubles(3, 2, 3).requires_grad_()
    plain = torch.autograd.grad(made(x)[0].square().sum(), [x, *made.parameters()])
    made.zero_grad()
    kept = x.detach().requires_grad_()
    checkpoint(made, kept, use_reentrant=reentrant)[0].square().sum().backward()
    for ours, theirs in zip([kept, *made.parameters()], plain, strict=True):
        torch.testing.assert_close(ours.grad, theirs, **CLOSE)


def test_a_frozen_layer_gives_the_gradient_of_its_input_alone(made):
    made.requires_grad_(False)
    x = doubles(3, 2, 3).requires_grad_()
    made(x)[0].sum().backward()
    assert x.grad is not None and all(p.grad is None for p in made.parameters())
    assert not made(x.detach())[0].requires_grad
    with torch.inference_mode():
        assert made(x)[0].shape == (3, 2, 4)


def test_copies_and_files_hold_the_same_layer(made):
    x, file = doubles(3, 2, 3), io.BytesIO()
    made(x)
    torch.save(made, file)
    file.seek(0)
    for other in (copy.deepcopy(made), torch.load(file, weights_only=False)):
        assert torch.equal(other(x)[0], made(x)[0]) and repr(other) == repr(made)


def test_two_threads_have_a_layer_each_and_share_one(made):
    other, shared = copy.deepcopy(made), doubles(5, 2, 3)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    expected = [gradients_of(module, shared) for module in (made, other, made)]
    found, threads = {}, []

    def work(key, module):
        for _ in range(5):
            found[key] = gradients_of(module, shared)

    for key, module in enumerate((made, other, made)):
        threads.append(threading.Thread(target=work, args=(key, module)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    for key, values in enumerate(expected):
        for ours, theirs in zip(found[key], values, strict=True):
            torch.testing.assert_close(ours, theirs, **CLOSE)


def gradients_of(module, x):
    output, _ = module(x)
    return [output.detach(), *torch.autograd.grad(output.sum(), list(module.parameters()))]


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own, of make_dual
def test_transforms_work_on_the_reference_and_are_refused_elsewhere(made):
    made.requires_grad_(False)
    x, tangent = doubles(3, 2, 3), doubles(3, 2, 3, seed=1)

    def outputs(x):
        return made(x)[0]

    def losses(x):
        return outputs(x).square().sum()

    def dual(x):
        with forward_ad.dual_level():
            result = outputs(forward_ad.make_dual(x, tangent))
            return forward_ad.unpack_dual(result).tangent

    if made.engine != "reference":
        asked = [lambda: torch.func.vmap(outputs)(x.unsqueeze(0)), lambda: dual(x)]
        asked.append(lambda: torch.func.grad(losses)(x))
        asked.append(lambda: torch.func.jvp(outputs, (x,), (tangent,)))
        for call in asked:
            with pytest.raises(EngineError, match=f"under torch.func's.*engine={made.engine!r}"):
                call()
        return
    many = torch.stack([x, tangent])
    torch.testing.assert_close(
        torch.func.vmap(outputs)(many), torch.stack([outputs(each) for each in many]), **CLOSE
    )
    (expected,) = torch.autograd.grad(losses(leaf := x.clone().requires_grad_()), leaf)
    torch.testing.assert_close(torch.func.grad(losses)(x), expected, **CLOSE)
    value, along = torch.func.jvp(outputs, (x,), (tangent,))
    near = (outputs(x + 1e-6 * tangent) - outputs(x - 1e-6 * tangent)) / 2e-6
    torch.testing.assert_close(value, outputs(x), **CLOSE)
    torch.testing.assert_close(along, near, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(dual(x), along, **CLOSE)


# Dtypes


@pytest.mark.parametrize("engine", ["cpu", "reference"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_stored_so_and_computed_in_float32(dtype, engine):
    torch.manual_seed(0)
    made = Recurrent("lstm", I, H, engine=engine, dtype=dtype)
    x = torch.randn(T, B, I).to(dtype)
    output, (h, c) = made(x)
    assert {output.dtype, h.dtype, c.dtype} == {dtype}
    whole = copy.deepcopy(made).float()
    assert torch.equal(output, whole(x.float())[0].to(dtype))
    output.float().sum().backward()
    assert made.R_l0.grad.dtype == dtype and made.R_l0.grad.isfinite().all()


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_autocast_leaves_a_recurrence_in_float32(engine):
    torch.manual_seed(0)
    made, x = Recurrent("lstm", I, H, engine=engine), torch.randn(T, B, I)
    expected = made(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, (h, c) = made(x)
        assert torch.equal(output, expected) and h.dtype == c.dtype == torch.float32
        from_half = made(x.bfloat16())[0]
        (first,) = torch.autograd.grad(output.sum(), made.R_l0, retain_graph=True)
        (second,) = torch.autograd.grad(output.sum(), made.R_l0, create_graph=True)
    assert torch.equal(from_half, made(x.bfloat16().float())[0])
    torch.testing.assert_close(first, second)
