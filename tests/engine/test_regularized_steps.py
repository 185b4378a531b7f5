"""What a study varies within a step: against the papers' equations, and on every engine."""

from dataclasses import replace

import pytest
import torch
from agreement import case, errors, random, results
from tolerances import assert_close

import cells
from harness import engine
from harness.engine import get
from harness.engine.gpu.gpu import Gpu
from harness.model.regularization import (
    StepRegularization,
    noise_names,
    regularized,
    regularized_cell,
)
from harness.settings import Settings

T, N, B, H = 5, 2, 3, 7
ALL = StepRegularization(
    state_dropout=True, recurrent_dropout=True, zoneout=("h", "c"), state_clip=0.6
)


def fitting(cell):
    """All of the variation that a cell has something for."""
    return StepRegularization(
        bool(cell.recurrent_products()),
        bool(cell.candidates),
        tuple(s for s in "hc" if s in cell.zoneout_states),
    )


def factors(cell, num_steps=T, runs=N, hidden=H, batch=B):
    """Random ones, neither 0 nor 1: an engine must not count on a mask."""
    return random((num_steps, runs, batch, len(cell.noise) * hidden), 7).sigmoid()


def given(cell, **changes):
    return case(cell, **{"steps": T, "runs": N, "batch": B, "hidden": H, "scale": 0.5, **changes})


def test_nothing_varied_is_the_cell_itself():
    lstm = cells.find("lstm")
    assert regularized(lstm, StepRegularization()) is lstm
    assert regularized_cell(Settings(cell="lstm", corpus="text", dropout=0.5)) is lstm
    assert (
        regularized(lstm, ALL) is regularized(lstm, ALL)
        and regularized(lstm, ALL).reference is None
    )


def test_what_has_nothing_to_act_on_is_left_out():
    asked = {
        "zoneout_h": 0.1,
        "zoneout_c": 0.2,
        "state_dropout": 0.1,
        "recurrent_dropout": 0.3,
        "corpus": "text",
    }
    assert regularized_cell(Settings(cell="gru", **asked)).noise == (
        "state_dropout",
        "recurrent_dropout_n",
        "zoneout_h",
    )
    assert regularized_cell(Settings(cell="min-gru", **asked)).noise == (
        "recurrent_dropout_n",
        "zoneout_h",
    )


@pytest.mark.parametrize("name", cells.names())
def test_factors_that_change_nothing_change_no_bit(name):
    cell = cells.find(name)
    with_factors = regularized(cell, fitting(cell))
    neutral = [
        torch.full((1, N, B, H), float(not n.startswith("zoneout")), dtype=torch.float64)
        for n in with_factors.noise
    ]
    plain = given(cell)
    before, _ = plain.run("reference")
    layer = replace(plain.layer, cell=with_factors)
    after, _ = get("reference").run(
        layer, plain.parameters, plain.inputs, plain.state, torch.cat(neutral, 3)
    )
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    "name", [name for name in cells.names() if cells.find(name).zoneout_states]
)
def test_a_zoneout_of_one_holds_the_state(name):
    cell = cells.find(name)
    with_factors = regularized(
        cell, StepRegularization(zoneout=tuple(s for s in "hc" if s in cell.zoneout_states))
    )
    plain = given(cell)
    held = torch.ones(1, N, B, len(with_factors.noise) * H, dtype=torch.float64)
    _, final = get("reference").run(
        replace(plain.layer, cell=with_factors), plain.parameters, plain.inputs, plain.state, held
    )
    for state, first, last in zip(cell.state, plain.state, final, strict=True):
        if f"zoneout_{state}" in with_factors.noise:
            assert torch.equal(first, last)


def test_the_lstm_is_that_of_the_papers():
    """Gal & Ghahramani 2016 on h, Semeniuta et al. 2016 on g, Krueger et al. 2017 on h and c, then
    a clip.
    """
    lstm = cells.find("lstm")
    plain, cell = given(lstm, runs=1), regularized(lstm, ALL)
    noise = factors(cell, runs=1)
    outputs, _ = get("reference").run(
        replace(plain.layer, cell=cell), plain.parameters, plain.inputs, plain.state, noise
    )
    W, R, b = (plain.parameters[name][0] for name in ("W", "R", "b"))
    h, c = (s[0] for s in plain.state)
    for t in range(T):
        m, d, z_h, z_c = noise[t, 0].chunk(4, 1)
        i, f, g, o = (plain.inputs[t, 0] @ W + b + (h * m) @ R).chunk(4, 1)
        new_c = f.sigmoid() * c + i.sigmoid() * (g.tanh() * d)
        new_h = o.sigmoid() * new_c.tanh()
        h = (z_h * h + (1 - z_h) * new_h).clamp(-0.6, 0.6)
        c = (z_c * c + (1 - z_c) * new_c).clamp(-0.6, 0.6)
        assert_close(outputs[t, 0], h)


def test_the_gru_with_its_reset_before_the_product_is_that_of_the_papers():
    gru = cells.find("gru-reset-before")
    plain, cell = (
        given(gru, runs=1),
        regularized(gru, replace(ALL, zoneout=("h",), state_clip=None)),
    )
    noise = factors(cell, runs=1, num_steps=1)
    outputs, _ = get("reference").run(
        replace(plain.layer, cell=cell), plain.parameters, plain.inputs, plain.state, noise
    )
    W, R, R_n, b = (plain.parameters[name][0] for name in ("W", "R", "R_n", "b"))
    m, d, z_h = noise[0, 0].chunk(3, 1)
    h = plain.state[0][0]
    for t in range(T):
        x_r, x_z, x_n = (plain.inputs[t, 0] @ W + b).chunk(3, 1)
        r, z = (a.sigmoid() for a in (torch.cat([x_r, x_z], 1) + (h * m) @ R).chunk(2, 1))
        n = (x_n + (r * h * m) @ R_n).tanh() * d
        h = z_h * h + (1 - z_h) * ((1 - z) * n + z * h)
        assert_close(outputs[t, 0], h)


class Noisy:
    """An engine with the noise that a call gets."""

    def __init__(self, inner, noise):
        self.inner, self.noise = inner, noise

    def run(self, *arguments):
        return self.inner.run(*arguments, self.noise)


def assert_engine_agrees(monkeypatch, ours, plain, regularization, num_steps):
    """Outputs, final state and all gradients equal the definition's."""
    cell = regularized(plain.layer.cell, regularization)
    noise = (
        factors(cell, num_steps, hidden=plain.layer.hidden_size)
        if noise_names(plain.layer.cell, regularization)
        else None
    )
    noisy = replace(plain, layer=replace(plain.layer, cell=cell))
    outcomes = []
    for each in (ours, get("reference")):
        monkeypatch.setattr("agreement.get", lambda _, each=each: Noisy(each, noise))
        outcomes.append(results("made", noisy))
    worst = {name: error for name, error in errors(*outcomes).items() if error > 1e-10}
    assert not worst, worst


FEW = ["lstm", "gru-reset-before", "rhn", "lstm-layer-norm", "odyssey-fgr"]


@pytest.mark.parametrize("num_steps", [1, T])
@pytest.mark.parametrize("kind", ["tokens", "rows"])
@pytest.mark.parametrize("name", FEW)
def test_engine_cpu_equals_the_definition(monkeypatch, name, kind, num_steps):
    cell = cells.find(name)
    for hidden in (7, 32):
        plain = given(cell, hidden=hidden, inputs=kind)
        assert_engine_agrees(
            monkeypatch, get("cpu"), plain, replace(fitting(cell), state_clip=0.6), num_steps
        )


@pytest.mark.parametrize("num_steps", [1, T])
@pytest.mark.parametrize("name", cells.names())
def test_engine_gpu_equals_the_definition(monkeypatch, name, num_steps):
    cell = cells.find(name)
    ours = Gpu(device_types=("cpu",))
    assert_engine_agrees(monkeypatch, ours, given(cell, inputs="tokens"), fitting(cell), num_steps)


@pytest.mark.parametrize("num_steps", [1, T])
@pytest.mark.parametrize("kind", ["tokens", "rows"])
@pytest.mark.parametrize("name", ["min-gru", "min-lstm"])
def test_engine_scan_equals_the_definition(monkeypatch, name, kind, num_steps):
    cell = cells.find(name)
    assert_engine_agrees(
        monkeypatch, get("scan"), given(cell, inputs=kind), fitting(cell), num_steps
    )


def test_without_gradients_long_texts_have_their_own_noise_in_every_part():
    lstm = cells.find("lstm")
    cell, plain = regularized(lstm, ALL), given(lstm, steps=40)
    layer, noise = replace(plain.layer, cell=cell), factors(cell, 40)
    with torch.no_grad():
        calls = [
            each.run(layer, plain.parameters, plain.inputs, plain.state, noise)[0]
            for each in (get("reference"), get("cpu"), Gpu(device_types=("cpu",)))
        ]
    for other in calls[1:]:
        assert_close(other, calls[0])


def test_engines_refuse_what_a_variation_makes_impossible_for_them():
    clipped = regularized(cells.find("min-gru"), StepRegularization(state_clip=1.0))
    assert (
        get("scan")
        .refusal(clipped, "cpu", "float32")
        .startswith("min-gru is not linear in its state")
    )
    zoned = regularized(cells.find("lstm"), StepRegularization(zoneout=("h",)))
    assert (
        get("native").refusal(zoned, "cpu", "float32")
        == "torch.nn has no lstm of which a study varies the step"
    )
    assert engine.resolve([zoned], "cpu", "float32") == ("cpu", [])


@pytest.mark.parametrize("calls", [0, 2])
def test_a_step_that_miscounts_its_candidates_is_an_error(calls):
    class Miscounting(cells.find("rnn-tanh")):
        name = "miscounting"

        def step(self, p, x, h):
            new = torch.tanh(x.h + p.R(h).h)
            for _ in range(calls):
                new = p.drop(new)
            return (new,)

    cell = regularized(Miscounting, StepRegularization(recurrent_dropout=True))
    plain = given(Miscounting)
    layer = replace(plain.layer, cell=cell)
    with pytest.raises(
        ValueError,
        match=r"miscounting: its step must call p.drop once for each of candidates=\('h',\)",
    ):
        get("reference").run(layer, plain.parameters, plain.inputs, plain.state, factors(cell))
