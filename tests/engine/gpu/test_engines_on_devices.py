"""Engines other than `gpu`, and what a study varies in a step, with everything on a device: on CUDA
where there is one, and on the CPU, where the same lines are at work.
"""

from dataclasses import replace

import pytest
from agreement import DEVICES, case, errors, random, results

import cells
from harness import engine
from harness.engine.gpu.gpu import Gpu
from harness.model.regularization import StepRegularization, regularized

NATIVE = [name for name in cells.names() if cells.find(name).reference]
LINEAR = ("min-gru", "min-lstm", "t-rnn", "rg-lru")
VARIED = {
    "zoneout": StepRegularization(zoneout=("h",)),
    "state dropout": StepRegularization(state_dropout=True),
    "recurrent dropout": StepRegularization(recurrent_dropout=True),
    "clipped states": StepRegularization(state_clip=0.6),
    "all": StepRegularization(True, True, ("h",), 0.6),
}
BOUNDS = {"float64": 1e-9, "float32": 2e-4}


class On:
    """An engine on a device; its arguments and results are on the CPU, gradients too."""

    def __init__(self, inner, device, noise=None):
        self.inner, self.device, self.noise = inner, device, noise

    def run(self, layer, parameters, inputs, state):
        engine.allow_tf32(layer.precision)
        outputs, final = self.inner.run(
            layer,
            {name: value.to(self.device) for name, value in parameters.items()},
            inputs.to(self.device),
            tuple(s.to(self.device) for s in state),
            None if self.noise is None else self.noise.to(self.device, state[0].dtype),
        )
        return outputs.cpu(), tuple(s.cpu() for s in final)


def assert_is_the_definitions(monkeypatch, ours, given, device, noise=None):
    """Outputs, final state and all gradients equal those of `reference` on the CPU."""
    found = []
    for each in (On(ours, device, noise), On(engine.get("reference"), "cpu", noise)):
        monkeypatch.setattr("agreement.get", lambda _, each=each: each)
        found.append(results("made", given))
    bound = BOUNDS[given.layer.precision]
    worst = {name: error for name, error in errors(*found).items() if not error < bound}
    assert not worst, worst


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("biases", [1, 2])
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", NATIVE)
def test_native(monkeypatch, name, precision, biases, device):
    given = case(name, steps=5, runs=2, hidden=6, biases=biases, inputs="tokens", scale=0.3)
    assert_is_the_definitions(monkeypatch, engine.get("native"), given.to(precision), device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", LINEAR)
def test_scan(monkeypatch, name, precision, device):
    scan = engine.get("scan")
    assert scan.refusal(cells.find(name), device, precision) is None
    given = case(name, steps=37, runs=2, hidden=6, scale=0.5).to(precision)
    assert_is_the_definitions(monkeypatch, scan, given, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["gpu", "reference"])
@pytest.mark.parametrize("kind", VARIED)
@pytest.mark.parametrize("cell", ["lstm", "gru-reset-before"])
def test_a_varied_step(monkeypatch, cell, kind, name, device):
    plain = case(cell, steps=5, runs=2, hidden=6, scale=0.5)
    varied = regularized(plain.layer.cell, VARIED[kind])
    given = replace(plain, layer=replace(plain.layer, cell=varied))
    width = len(varied.noise) * plain.layer.hidden_size
    noise = random((5, 2, 3, width), 7).sigmoid() if width else None
    ours = Gpu((device,)) if name == "gpu" else engine.get(name)
    assert_is_the_definitions(monkeypatch, ours, given, device, noise)
