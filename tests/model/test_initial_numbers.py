"""Initial numbers, against the formulas of their schemes; equal names get equal ones."""

import math
from dataclasses import replace

import pytest
import torch
from small_models import initial, settings
from tolerances import assert_close


@pytest.mark.parametrize("scale, stddev", [(None, 0.01), (0.3, 0.3)])
def test_normal(scale, stddev):
    parameters = initial(
        settings(initialization="normal", initial_scale=scale, hidden_size=64, biases=2)
    )
    for name, values in parameters.items():
        if ".b" in name:
            assert not values.any()
        else:
            assert values.dtype == torch.float64
            assert abs(values.mean()) < 4 * stddev / math.sqrt(values.numel())
            assert values.std().item() == pytest.approx(
                stddev, rel=4 / math.sqrt(2 * values.numel())
            )


@pytest.mark.parametrize("scale, bound", [(None, 1 / math.sqrt(64)), (0.3, 0.3)])
def test_uniform_is_that_of_torch_nn_for_everything(scale, bound):
    run = settings(
        cell="lstm-peephole", initial_scale=scale, hidden_size=64, biases=2, embedding_size=5
    )
    for name, values in initial(run).items():
        assert 0.9 * bound < values.abs().max() <= bound, name
        assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.25), name


@pytest.mark.parametrize("gain", [None, 0.5])
def test_glorot_takes_the_fans_of_each_gate(gain):
    parameters = initial(
        settings(cell="lstm-peephole", initialization="glorot", initial_scale=gain, hidden_size=64)
    )
    fans = {
        "layer0.W": (11, 64),
        "layer0.R": (64, 64),
        "readout.W": (64, 11),
        "layer0.p_i": (64, 64),
    }
    for name, pair in fans.items():
        bound = (gain or 1.0) * math.sqrt(6 / sum(pair))
        assert 0.9 * bound < parameters[name].abs().max() <= bound, name
    assert not parameters["layer0.b"].any() and not parameters["readout.b"].any()


@pytest.mark.parametrize(
    "cell, names", [("lstm", ["layer0.R"]), ("gru-reset-before", ["layer0.R", "layer0.R_n"])]
)
def test_orthogonal_makes_every_gates_recurrent_matrix_orthogonal(cell, names):
    parameters = initial(
        settings(cell=cell, initialization="orthogonal", initial_scale=2.0, hidden_size=15)
    )
    for name in names:
        blocks = parameters[name].split(15, dim=1)
        for block in blocks:
            assert_close(block @ block.T, 4.0 * torch.eye(15, dtype=torch.float64))
        assert len({block[0, 0].item() for block in blocks}) == len(blocks)


def test_orthogonal_matrices_are_uniform_over_the_group():
    runs = settings(cell="rnn-tanh", initialization="orthogonal", hidden_size=2)
    matrices = torch.stack([initial(runs, (k,))["layer0.R"] for k in range(1000)])
    assert torch.linalg.det(matrices).mean().abs() < 4 / math.sqrt(1000)  # half of them mirror
    assert (matrices.mean(0).abs() < 4 * math.sqrt(0.5 / 1000)).all()


def test_keras_initialises_the_stacked_matrices():
    parameters = initial(settings(initialization="keras", hidden_size=64, num_layers=2))
    for name, fans in {"layer0.W": (11, 256), "layer1.W": (64, 256), "readout.W": (64, 11)}.items():
        bound = math.sqrt(6 / sum(fans))
        assert 0.9 * bound < parameters[name].abs().max() <= bound, name
    recurrent = parameters["layer0.R"]
    assert_close(recurrent @ recurrent.T, torch.eye(64, dtype=torch.float64))
    i, f, g, o = parameters["layer0.b"].split(64)
    assert (f == 1).all() and not torch.cat([i, g, o, parameters["readout.b"]]).any()


@pytest.mark.parametrize("initialization", ["normal", "uniform", "keras"])
def test_a_forget_bias_that_is_given_wins(initialization):
    run = settings(initialization=initialization, forget_bias=2.5, biases=2)
    with_bias, without = initial(run), initial(replace(run, forget_bias=None))
    assert (with_bias["layer0.b"].split(24)[1] == 2.5).all()
    for index in (0, 2, 3):
        assert torch.equal(
            with_bias["layer0.b"].split(24)[index], without["layer0.b"].split(24)[index]
        )
    assert torch.equal(with_bias["layer0.b_R"], without["layer0.b_R"])


def test_a_cell_without_forget_gates_takes_no_forget_bias():
    assert not initial(settings(cell="gru", initialization="keras", forget_bias=2.5))[
        "layer0.b"
    ].any()


@pytest.mark.parametrize("initialization", ["normal", "uniform", "glorot", "orthogonal"])
def test_equal_names_get_equal_numbers_in_different_arms(initialization):
    run = settings(initialization=initialization, biases=2)
    lstm, coupled = initial(run), initial(replace(run, cell="lstm-coupled", num_layers=2))
    for name in ("layer0.W", "layer0.R", "layer0.b", "layer0.b_R"):
        i, _, g, o = lstm[name].split(24, dim=-1)
        assert all(
            torch.equal(a, b)
            for a, b in zip((i, g, o), coupled[name].split(24, dim=-1), strict=True)
        )
    assert torch.equal(lstm["readout.W"], coupled["readout.W"])
    peephole = initial(replace(run, cell="lstm-peephole"))
    assert all(torch.equal(peephole[name], values) for name, values in lstm.items())


def test_other_seeds_layers_parameters_and_gates_get_other_numbers():
    parameters = initial(settings(initialization="normal", num_layers=3, hidden_size=11))
    blocks = [b for name, v in parameters.items() if ".b" not in name for b in v.split(11, dim=-1)]
    blocks += [
        b
        for b in initial(settings(initialization="normal", hidden_size=11), (1001,))[
            "layer0.R"
        ].split(11, 1)
    ]
    assert len({block[0, 0].item() for block in blocks}) == len(blocks)
