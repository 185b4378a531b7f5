"""Random factors are functions of (seed, site, update, index), and hit as often as the rate
says.
"""

import math

import pytest
import torch

import cells
from harness.model.masks import FIELDS, Masks, uniform
from harness.model.regularization import regularization_of, regularized
from harness.settings import Settings

CPU = torch.device("cpu")
SHAPE = (5, 2, 3, 400)  # T N B H


def masks_of(seeds, **rates):
    """The noise of runs that differ in their rates."""
    columns = [dict(zip(rates, row, strict=True)) for row in zip(*rates.values(), strict=True)]
    return Masks(
        seeds,
        [
            Settings(cell="lstm", corpus="text", hidden_size=7, **rates_of_run)
            for rates_of_run in columns
        ],
        CPU,
    )


def dropout_masks(seeds, rates, layer=0, update=0, shape=SHAPE):
    masks = masks_of(seeds, dropout=rates)
    masks.update.fill_(update)
    return masks.outputs(layer, torch.ones(*shape))


def test_uniform_is_splitmix64():
    # The generator started at state 1234567, as its authors' C code prints it.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    draws = uniform(torch.tensor([1234567]), torch.arange(1, 4))
    assert draws.tolist() == [(word >> 11) * 2.0**-53 for word in expected]


def test_units_are_dropped_at_the_rate_and_the_others_scaled_up():
    factors = dropout_masks([(1,), (2,)], [0.5, 0.2], shape=(5, 2, 3, 2000))
    for n, rate in enumerate((0.5, 0.2)):
        factors_of_run = factors[:, n]
        kept = factors_of_run != 0
        assert kept.double().mean() == pytest.approx(
            1 - rate, abs=4 * math.sqrt(rate * (1 - rate) / factors_of_run.numel())
        )
        assert torch.allclose(factors_of_run[kept], torch.tensor(1 / (1 - rate)))


def test_a_rate_of_zero_changes_no_bit_and_gradients_pass_where_units_stay():
    values = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), requires_grad=True)
    dropped = masks_of([(1,), (2,)], dropout=[0.0, 0.4]).outputs(0, values)
    assert torch.equal(dropped[:, 0], values[:, 0])
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    assert torch.equal(gradient[:, 1] == 0, dropped[:, 1] == 0)


def test_masks_have_no_history_and_no_pack():
    alone = dropout_masks([(2, "trial", 1)], [0.4], layer=1, update=9, shape=(5, 1, 3, 400))
    packed = dropout_masks([(1,), (2, "trial", 1)], [0.1, 0.4], layer=1, update=9)
    assert torch.equal(packed[:, 1], alone[:, 0])
    masks = masks_of([(2, "trial", 1)], dropout=[0.4])
    for update in (3, 20, 9):  # in any order
        masks.update.fill_(update)
        again = masks.outputs(1, torch.ones(5, 1, 3, 400))
    assert torch.equal(again, alone)


def test_other_seeds_sites_updates_times_and_streams_are_independent():
    base = dropout_masks([(1,), (2,)], [0.5, 0.5]) != 0
    others = [
        (dropout_masks([(3,), (4,)], [0.5, 0.5]) != 0),
        (dropout_masks([(1,), (2,)], [0.5, 0.5], layer=1) != 0),
        (dropout_masks([(1,), (2,)], [0.5, 0.5], update=1) != 0),
        base.roll(1, 0),
        base.roll(1, 1),
        base.roll(1, 2),
        base.roll(1, 3),
    ]
    for other in others:
        assert (base == other).double().mean() == pytest.approx(
            0.5, abs=4 * 0.5 / math.sqrt(base.numel())
        )


def test_the_masks_of_one_update_are_no_shift_of_anothers():
    """The circular correlation at every shift, a standard normal each; 5.5 deviations bound 6,000
    of them.
    """
    first, second = (
        torch.fft.rfft(
            (dropout_masks([(1,)], [0.5], update=update, shape=(5, 1, 3, 400)) != 0)
            .double()
            .flatten()
            * 2
            - 1
        )
        for update in (0, 1)
    )
    correlation = torch.fft.irfft(first * second.conj()) / math.sqrt(6000)
    assert correlation.abs().max() < 5.5
    assert (torch.fft.irfft(first * first.conj()) / math.sqrt(6000)).max() > 70  # itself, unshifted


def test_no_rate_is_no_noise():
    masks, values = masks_of([(1,)], dropout=[0.0]), torch.ones(SHAPE)
    assert not masks and masks_of([(1,)], zoneout_h=[0.1])
    assert masks.outputs(0, values) is values and masks.inputs(0, values) is values
    assert masks.weights(0, "R", values) is values
    assert (
        masks.steps(0, cells.find("lstm"), values[0], 5) is None
        and masks.expected(cells.find("lstm"), values[0]) is None
    )


def test_inputs_have_one_mask_for_all_time_steps():
    masks = masks_of([(1,), (2,)], input_dropout=[0.5, 0.2])
    factors = masks.inputs(1, torch.ones(5, 2, 30, 100))
    assert torch.equal(factors, factors[:1].expand_as(factors))
    for n, rate in enumerate((0.5, 0.2)):
        assert set(factors[0, n].unique().tolist()) == {0.0, torch.tensor(1 / (1 - rate)).item()}
        assert (factors[0, n] == 0).double().mean() == pytest.approx(
            rate, abs=4 * math.sqrt(rate * (1 - rate) / 3000)
        )
    assert not torch.equal(factors, masks.inputs(0, torch.ones(5, 2, 30, 100)))


def test_weights_are_dropped_entry_by_entry_and_anew_at_each_update():
    masks, matrix = masks_of([(1,), (2,)], weight_dropout=[0.5, 0.0]), torch.ones(2, 50, 200)
    first = masks.weights(0, "R", matrix)
    assert torch.equal(first[1], matrix[1])
    assert (first[0] == 0).double().mean() == pytest.approx(0.5, abs=4 * 0.5 / 100)
    others = [masks.weights(0, "R_n", matrix), masks.weights(1, "R", matrix)]
    masks.update.fill_(1)
    others.append(masks.weights(0, "R", matrix))
    for other in others:
        assert ((first[0] == 0) == (other[0] == 0)).double().mean() == pytest.approx(
            0.5, abs=4 * 0.5 / 100
        )


def test_whole_word_types_are_dropped_at_every_place_alike():
    """Rows of the table are zeros, as Gal & Ghahramani 2016 have it; the others are scaled up."""
    masks, num_types = masks_of([(1,), (2,)], embedding_dropout=[0.4, 0.0]), 2000
    tokens = torch.randint(num_types, (5, 2, 30), generator=torch.Generator().manual_seed(0))
    tokens[1] = tokens[0]
    every = torch.arange(num_types).view(1, 1, -1).expand(1, 2, -1)
    rows = masks.lookup(every, num_types, torch.ones(1, 2, num_types, 3))[0]
    assert torch.equal(rows[1], torch.ones(num_types, 3))
    assert (rows[0] == 0).all(1).sum() == (rows[0] == 0).any(1).sum()
    assert (rows[0, :, 0] == 0).double().mean() == pytest.approx(
        0.4, abs=4 * math.sqrt(0.24 / num_types)
    )
    assert set(rows[0].unique().tolist()) == {0.0, torch.tensor(1 / 0.6).item()}
    found = masks.lookup(tokens, num_types, torch.ones(5, 2, 30, 3))
    for n in range(2):
        assert torch.equal(found[:, n], rows[n][tokens[:, n]])
    masks.update.fill_(1)
    assert not torch.equal(masks.lookup(tokens, num_types, torch.ones(5, 2, 30, 3)), found)


@pytest.mark.parametrize("field", ["dropout", "output_dropout", "lookup_dropout"])
def test_masks_of_an_update_are_the_same_at_all_time_steps(field):
    values, tokens = torch.ones(5, 1, 30, 40), torch.zeros(5, 1, 30, dtype=torch.int64)

    def factors(**changes):
        run = Settings(cell="lstm", corpus="text", **{field: 0.5}, **changes)
        masks = Masks([(1,)], [run], CPU)
        sites = {
            "dropout": lambda: masks.outputs(0, values),
            "output_dropout": lambda: masks.readout(values),
            "lookup_dropout": lambda: masks.lookup(tokens, 1, values),
        }
        return sites[field]()

    locked, fresh = factors(dropout_masks="update"), factors()
    assert torch.equal(locked, locked[:1].expand_as(locked))
    assert not torch.equal(fresh[0], fresh[1])
    for each in (locked[0], fresh):
        count = each.numel()
        assert (each == 0).double().mean() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(count))


RATES = dict(zip(FIELDS, (0.1, 0.2, 0.3, 0.4, 0.5, 0.25, 0.6, 0.35, 0.45, 0.55), strict=True))


def steps(seed=(1,), update=0, rates=RATES, num_steps=4):
    run = Settings(cell="lstm", corpus="text", hidden_size=50, **rates)
    cell = regularized(cells.find("lstm"), regularization_of(cells.find("lstm"), [run]))
    masks = Masks([seed], [run], CPU)
    masks.update.fill_(update)
    state = torch.zeros(1, 20, 50, dtype=torch.float64)
    values, means = masks.steps(0, cell, state, num_steps), masks.expected(cell, state)
    blocks = zip(
        cell.noise, values.chunk(len(cell.noise), 3), means.chunk(len(cell.noise), 3), strict=True
    )
    return {name: (factors, mean) for name, factors, mean in blocks}


def test_a_steps_factors_are_zero_or_scaled_up_and_a_zoneouts_zero_or_one():
    by_name = steps()
    assert list(by_name) == ["state_dropout", "recurrent_dropout_g", "zoneout_h", "zoneout_c"]
    for name, rate, values in (
        ("state_dropout", 0.3, {0.0, 1 / 0.7}),
        ("recurrent_dropout_g", 0.4, {0.0, 1 / 0.6}),
        ("zoneout_h", 0.25, {0.0, 1.0}),
        ("zoneout_c", 0.6, {0.0, 1.0}),
    ):
        factors, mean = by_name[name]
        assert factors.shape == (4, 1, 20, 50) and mean.shape == (1, 1, 20, 50)
        assert set(factors.unique().tolist()) == values
        count = 1000 if name == "state_dropout" else 4000
        hit = factors == (1.0 if "zoneout" in name else 0.0)
        assert hit.double().mean() == pytest.approx(
            rate, abs=4 * math.sqrt(rate * (1 - rate) / count)
        ), name
        assert mean.unique().tolist() == [rate if "zoneout" in name else 1.0]
        same = torch.equal(factors[0], factors[1])
        assert same == (name == "state_dropout"), name


def test_a_state_mask_alone_is_made_for_one_time_step():
    ((factors, _),) = steps(rates={"state_dropout": 0.5}).values()
    assert factors.shape[0] == 1


def test_the_same_seed_and_update_give_the_same_factors_and_no_others_do():
    first = steps()
    for other, same in ((steps(), True), (steps(seed=(2,)), False), (steps(update=1), False)):
        assert all(torch.equal(first[name][0], other[name][0]) == same for name in first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("field", ["dropout", "zoneout_h"])
def test_compiled_factors_are_the_same_bit_for_bit(dtype, field):
    run = [Settings(cell="lstm", corpus="text", **{field: rate}) for rate in (0.3, 0.0, 0.999)]
    compiled_masks, plain_masks = (
        Masks([(1,), (2,), (3,)], run, CPU, compiled) for compiled in (True, False)
    )
    for update in (0, 7, 1 << 30):
        compiled_masks.update.fill_(update)
        plain_masks.update.fill_(update)
        for axis in (0, 1):
            shape = (3, 11, 37) if axis == 0 else (11, 3, 37)
            factors = [
                each._factors(field, ("site", axis), shape, axis, dtype)
                for each in (compiled_masks, plain_masks)
            ]
            assert factors[0].dtype == dtype and torch.equal(*factors)
