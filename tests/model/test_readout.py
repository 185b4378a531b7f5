"""The read-out's losses and gradients equal those of the plain product and torch's
cross-entropy.
"""

import math

import pytest
import torch
from tolerances import assert_close

from harness.engine import product
from harness.model import readout as readout_module
from harness.model.readout import Readout

RUNS, ROWS, SIZE = 2, 23, 5


def drawn(num_outputs, dtype=torch.float64, num_rows=ROWS):
    """Returns rows, weight, bias, targets and weights."""
    generator = torch.Generator().manual_seed(num_outputs)
    shapes = [(RUNS, num_rows, SIZE), (RUNS, SIZE, num_outputs), (RUNS, num_outputs)]
    floats = [
        2.0 * torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes
    ]
    targets = torch.randint(num_outputs, (RUNS, num_rows), generator=generator)
    weights = torch.rand(RUNS, num_rows, generator=generator, dtype=torch.float64)
    return *(x.to(dtype) for x in floats), targets, weights


def plain(rows, weight, bias, targets, weights, precision, smoothing=(0.0, 0.0)):
    """Returns every run's summed nats by autograd's means."""
    scores = product(rows, weight, precision) + bias.unsqueeze(1)
    each = torch.stack(
        [
            torch.nn.functional.cross_entropy(*run, reduction="none", label_smoothing=share)
            for *run, share in zip(scores, targets, smoothing, strict=True)
        ]
    )
    return (each * (1.0 if weights is None else weights)).sum(1)


def cut_after(monkeypatch, num_rows, num_outputs, itemsize=8):
    monkeypatch.setattr(readout_module, "CHUNK_BYTES", {"cpu": num_rows * num_outputs * itemsize})


@pytest.mark.parametrize("num_outputs", [1, 28, 1027])
@pytest.mark.parametrize("chunk", [1, 10, 23, 100])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_and_all_gradients_equal_those_of_autograd(
    monkeypatch, num_outputs, chunk, weighted
):
    cut_after(monkeypatch, chunk, num_outputs)
    *leaves, targets, weights = drawn(num_outputs)
    weights = weights if weighted else None
    found, gradients = Readout(*leaves[1:], "float64").losses_and_gradients(
        leaves[0], targets, weights, scale=0.25
    )
    leaves = [x.requires_grad_() for x in leaves]
    expected = plain(*leaves, targets, weights, "float64")
    assert_close(found, 0.25 * expected.detach())
    for name, wanted in zip(
        gradients._fields, torch.autograd.grad(0.25 * expected.sum(), leaves), strict=True
    ):
        assert_close(getattr(gradients, name), wanted, name)
    with torch.no_grad():
        assert_close(Readout(*leaves[1:], "float64").losses(leaves[0], targets, weights), expected)


@pytest.mark.parametrize("num_outputs", [28, 1027])
@pytest.mark.parametrize("threads", [None, 1])
def test_smoothed_targets_change_the_gradients_as_torchs_do_and_no_loss(
    monkeypatch, num_outputs, threads
):
    cut_after(monkeypatch, 10, num_outputs)
    shares = torch.tensor([0.1, 0.0], dtype=torch.float64)
    *leaves, targets, weights = drawn(num_outputs)
    plainly = Readout(*leaves[1:], "float64", threads)
    readout = Readout(*leaves[1:], "float64", threads, smoothing=shares)
    found, gradients = readout.losses_and_gradients(leaves[0], targets, weights, scale=0.25)
    losses, unsmoothed = plainly.losses_and_gradients(leaves[0], targets, weights, scale=0.25)
    assert torch.equal(found, losses)
    leaves = [x.requires_grad_() for x in leaves]
    smoothed = 0.25 * plain(*leaves, targets, weights, "float64", shares.tolist()).sum()
    for name, wanted in zip(gradients._fields, torch.autograd.grad(smoothed, leaves), strict=True):
        assert_close(getattr(gradients, name), wanted, name)
        assert torch.equal(getattr(gradients, name)[1], getattr(unsmoothed, name)[1])
        assert not torch.equal(getattr(gradients, name)[0], getattr(unsmoothed, name)[0])


def test_a_mask_counts_rows_or_leaves_them_out():
    rows, weight, bias, targets, weights = drawn(28)
    mask, readout = weights < 0.5, Readout(weight, bias, "float64")
    found, gradients = readout.losses_and_gradients(rows, targets, mask, scale=1.0)
    for n in range(RUNS):
        own = Readout(weight[n : n + 1], bias[n : n + 1], "float64")
        kept = rows[n : n + 1, mask[n]], targets[n : n + 1, mask[n]]
        alone, expected = own.losses_and_gradients(*kept, scale=1.0)
        assert_close(found[n : n + 1], alone)
        assert_close(gradients.rows[n, mask[n]], expected.rows[0])
        assert (gradients.rows[n, ~mask[n]] == 0).all()
        assert_close(gradients.weight[n], expected.weight[0])


@pytest.mark.parametrize("threads", [None, 1])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_what_overflows_where_nothing_counts_spoils_nothing(threads, bad):
    rows, weight, bias, targets, weights = drawn(28)
    weights[:, 10:] = 0
    rows[:, 17] = bad
    smoothing = torch.tensor([0.1, 0.0], dtype=torch.float64)
    readout = Readout(weight, bias, "float64", threads, smoothing=smoothing)
    found, gradients = readout.losses_and_gradients(rows, targets, weights, scale=1.0)
    kept = rows[:, :10], targets[:, :10], weights[:, :10]
    expected, wanted = readout.losses_and_gradients(*kept, scale=1.0)
    assert_close(found, expected)
    assert_close(readout.losses(rows, targets, weights), readout.losses(*kept))
    assert_close(gradients.rows[:, :10], wanted.rows)
    assert not gradients.rows[:, 10:].any()
    assert_close(gradients.weight, wanted.weight)
    assert_close(gradients.bias, wanted.bias)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
@pytest.mark.parametrize("chunk", [10, 23])
def test_operands_are_rounded_forward_and_backward(monkeypatch, precision, chunk):
    cut_after(monkeypatch, chunk, 28, itemsize=4)
    *leaves, targets, _ = drawn(28, torch.float32)
    found, gradients = Readout(*leaves[1:], precision).losses_and_gradients(
        leaves[0], targets, scale=0.25
    )
    leaves = [x.requires_grad_() for x in leaves]
    expected = plain(*leaves, targets, None, precision)
    assert_close(found, 0.25 * expected.detach())
    wanted = torch.autograd.grad(0.25 * expected.sum(), leaves)
    unrounded = torch.autograd.grad(0.25 * plain(*leaves, targets, None, "float32").sum(), leaves)
    # Where a score differs in its last bit, its slope may be rounded the other way: by 2**-8 of it,
    # or 2**-11.
    bound = {"bf16": 2.0**-8, "tf32": 2.0**-11}[precision]
    for name, expected_gradient, other in zip(gradients._fields, wanted, unrounded, strict=True):
        error = (getattr(gradients, name) - expected_gradient).abs()
        assert error.max() <= bound * expected_gradient.abs().max(), name
        assert error.mean() < 0.05 * (other - expected_gradient).abs().mean(), name


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("chunk", [10, 23])
def test_a_bad_number_spoils_the_loss_of_its_run_alone(monkeypatch, bad, chunk):
    cut_after(monkeypatch, chunk, 28)
    rows, weight, bias, targets, _ = drawn(28)
    readout = Readout(weight, bias, "float64")
    sound, expected = readout.losses_and_gradients(rows, targets, scale=1.0)
    rows[1, 7, 2] = bad
    found, gradients = readout.losses_and_gradients(rows, targets, scale=1.0)
    assert not found[1].isfinite() and torch.equal(found[0], sound[0])
    for name in gradients._fields:
        assert torch.equal(getattr(gradients, name)[0], getattr(expected, name)[0]), name


def test_large_scores_overflow_nothing():
    rows = torch.tensor([[[3e4], [-3e4]]])
    readout = Readout(torch.tensor([[[1.0, -1.0]]]), torch.zeros(1, 2), "float32")
    found, gradients = readout.losses_and_gradients(rows, torch.tensor([[1, 1]]), scale=1.0)
    assert found.tolist() == [6e4]
    assert gradients.bias.tolist() == [[1.0, -1.0]]


def test_the_chunks_of_a_run_know_nothing_of_its_neighbours(monkeypatch):
    cut_after(monkeypatch, 10, 28)
    rows, weight, bias, targets, _ = drawn(28)
    sizes, whole = [], torch.log_softmax
    monkeypatch.setattr(
        torch, "log_softmax", lambda x, *a, **k: sizes.append(tuple(x.shape)) or whole(x, *a, **k)
    )
    Readout(weight, bias, "float64").losses(rows, targets)
    Readout(weight[:1], bias[:1], "float64").losses(rows[:1], targets[:1])
    assert sizes == [
        (RUNS, 10, 28),
        (RUNS, 10, 28),
        (RUNS, 3, 28),
        (1, 10, 28),
        (1, 10, 28),
        (1, 3, 28),
    ]


def test_scores_are_the_product_and_the_bias():
    rows, weight, bias, _, _ = drawn(28)
    expected = torch.einsum("nmh,nhv->nmv", rows, weight) + bias[:, None]
    assert_close(Readout(weight, bias, "float64").scores(rows), expected)
