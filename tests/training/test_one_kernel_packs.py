"""Runs that train by engine persistent: what they lose, and what is told of a layer that cannot."""

from dataclasses import replace

import pytest
from small_packs import plan_of

from harness import engine
from harness.engine.persistent.persistent import Persistent
from harness.settings import Budget
from harness.training.messages import Evaluation
from harness.training.pack import Pack

RELATIVE_ERROR = 1e-9


@pytest.fixture
def trying(monkeypatch):
    """Has the engine run on a CPU, its kernels those of the host; takes what a trial says."""

    def become(said):
        tried = []
        ours = Persistent(
            ("cpu",), tried=lambda layer, code, device: tried.append((layer, device)) or said
        )
        others = [each for each in engine.ENGINES if each.name != ours.name]
        monkeypatch.setattr(engine, "ENGINES", (ours, *others))
        return tried

    return become


def losses(settings):
    pack = Pack(plan_of(settings))
    try:
        said = [message for _ in pack.points for message in pack.advance()]
    finally:
        pack.close()
    return [m.metrics["train/loss"] for m in said if isinstance(m, Evaluation)]


def test_runs_lose_what_those_of_the_definition_lose(settings, trying):
    tried = trying(None)
    small = replace(settings, budget=Budget(updates=6), evaluations=2)
    ours = losses(replace(small, engine="persistent"))
    theirs = losses(replace(small, engine="reference"))
    assert len(ours) == len(theirs) > 0
    assert ours == pytest.approx(theirs, rel=RELATIVE_ERROR)
    ((layer, device),) = tried
    assert (layer.hidden_size, layer.precision, device.type) == (
        settings.hidden_size, settings.precision, "cpu"
    )  # fmt: skip


def test_a_layer_with_dropout_within_its_step_is_tried_as_it_runs(settings, trying):
    tried = trying(None)
    Pack(plan_of(replace(settings, engine="persistent", zoneout_h=0.1))).close()
    ((layer, _),) = tried
    assert layer.cell.noise


def test_a_layer_is_tried_for_all_runs_that_may_come_to_be_alone(settings, trying):
    """As the others are pruned, or where one is sampled from."""
    tried = trying(None)
    both = plan_of(
        replace(settings, engine="persistent"), {}, {"zoneout_h": 0.1}, {"zoneout_c": 0.1}
    )
    Pack(both).close()
    assert sorted(len(layer.cell.noise) for layer, _ in tried) == [0, 1, 1, 2]


def test_a_layer_that_is_not_right_on_the_device_ends_the_study_before_it_begins(settings, trying):
    trying("its kernels compute another value each time: rows: result 0")
    rule = (
        "engine: must run the layer, but got engine='persistent': its kernels compute another "
        "value each time: rows: result 0. Use auto."
    )
    with pytest.raises(engine.EngineError, match=f"^{rule}$"):
        Pack(plan_of(replace(settings, engine="persistent")))
