"""Dropout masks are functions of (seed, site, update, index), and drop what the rate says."""

import math

import pytest
import torch

from harness.dropout import Dropout, uniform

CPU = torch.device("cpu")
SHAPE = (5, 2, 3, 400)  # T N B H


def masks(seeds, rates, layer=0, update=0, shape=SHAPE):
    dropout = Dropout(seeds, rates, CPU)
    dropout.update.fill_(update)
    return dropout(layer, torch.ones(*shape))


def test_uniform_is_splitmix64():
    # The generator started at state 1234567, as its authors' C code prints it.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    draws = uniform(torch.tensor([1234567]), torch.arange(1, 4))
    assert draws.tolist() == [(word >> 11) * 2.0**-53 for word in expected]


def test_units_are_dropped_at_the_rate_and_the_others_scaled_up():
    found = masks([(1,), (2,)], [0.5, 0.2], shape=(5, 2, 3, 2000))
    for n, rate in enumerate((0.5, 0.2)):
        own = found[:, n]
        kept = own != 0
        assert kept.double().mean() == pytest.approx(1 - rate, abs=4 * math.sqrt(rate * (1 - rate) / own.numel()))
        assert torch.allclose(own[kept], torch.tensor(1 / (1 - rate)))


def test_a_rate_of_zero_changes_no_bit_and_gradients_pass_where_units_stay():
    values = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), requires_grad=True)
    dropped = Dropout([(1,), (2,)], [0.0, 0.4], CPU)(0, values)
    assert torch.equal(dropped[:, 0], values[:, 0])
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    assert torch.equal(gradient[:, 1] == 0, dropped[:, 1] == 0)


def test_masks_have_no_history_and_no_pack():
    alone = masks([(2, "trial", 1)], [0.4], layer=1, update=9, shape=(5, 1, 3, 400))
    packed = masks([(1,), (2, "trial", 1)], [0.1, 0.4], layer=1, update=9)
    assert torch.equal(packed[:, 1], alone[:, 0])
    dropout = Dropout([(2, "trial", 1)], [0.4], CPU)
    for update in (3, 20, 9):  # in any order
        dropout.update.fill_(update)
        found = dropout(1, torch.ones(5, 1, 3, 400))
    assert torch.equal(found, alone)


def test_other_seeds_sites_updates_times_and_streams_are_independent():
    base = masks([(1,), (2,)], [0.5, 0.5]) != 0
    others = [
        (masks([(3,), (4,)], [0.5, 0.5]) != 0),
        (masks([(1,), (2,)], [0.5, 0.5], layer=1) != 0),
        (masks([(1,), (2,)], [0.5, 0.5], update=1) != 0),
        base.roll(1, 0),
        base.roll(1, 1),
        base.roll(1, 2),
        base.roll(1, 3),
    ]
    for other in others:
        assert (base == other).double().mean() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(base.numel()))


def test_the_masks_of_one_update_are_no_shift_of_anothers():
    """The circular correlation at every shift, a standard normal each; 5.5 deviations bound 6,000 of them."""
    first, second = (
        torch.fft.rfft((masks([(1,)], [0.5], update=update, shape=(5, 1, 3, 400)) != 0).double().flatten() * 2 - 1)
        for update in (0, 1)
    )
    correlation = torch.fft.irfft(first * second.conj()) / math.sqrt(6000)
    assert correlation.abs().max() < 5.5
    assert (torch.fft.irfft(first * first.conj()) / math.sqrt(6000)).max() > 70  # itself, unshifted
