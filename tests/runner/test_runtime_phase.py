"""Figures that were taken while others worked are refused, also where the others began later."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from harness.runner import runtime_phase
from harness.training.runtime import Measurement

FIGURE = Measurement("lstm", "train", 1, 0, 0.1, 10.0, "cpu", "cpu", "float32", 1, False)


class Cluster:
    """Another's job begins after so many figures."""

    def __init__(self, num_alone):
        self.num_alone = num_alone

    def rest(self):
        pass

    def check_rest(self):
        self.num_alone -= 1
        if self.num_alone < 0:
            raise RuntimeError("the cluster must be idle, but 1 CPUs are in use")


@pytest.mark.parametrize("num_alone", [0, 2, 3])
def test_a_job_that_begins_during_the_phase_is_seen(monkeypatch, num_alone):
    stored = []
    monkeypatch.setattr(runtime_phase, "timing_plans", lambda _: {"lstm": [None]})
    monkeypatch.setattr(runtime_phase.runtime, "measure", lambda *_, **__: iter([FIGURE] * 3))
    monkeypatch.setattr(runtime_phase, "store_timings", lambda _, figures: stored.extend(figures))

    @contextmanager
    def stage(*_, **__):
        try:
            yield
        finally:
            stored.append("ended")

    display = SimpleNamespace(stage=stage, advance=lambda *_: None)
    phase = SimpleNamespace(rounds=3, seconds=0.1)
    study = SimpleNamespace(measure=SimpleNamespace(runtime=phase))
    scheduler = SimpleNamespace(study=study, executor=Cluster(num_alone), display=display)
    if num_alone == 3:
        assert runtime_phase.measure(scheduler) >= 0
        assert stored == ["ended", FIGURE, FIGURE, FIGURE]
    else:
        with pytest.raises(RuntimeError, match="must be idle"):
            runtime_phase.measure(scheduler)
        assert stored == ["ended"]
