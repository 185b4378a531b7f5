"""``harness bench --module`` from words to its table; no test asserts a time."""

import json

import pytest

from harness.bench import command, modules
from harness.bench.options import MODULE_SHAPES, checked
from harness.bench.record import MODES, BenchError
from harness.bench.words import parse

TINY = ["--module", "--shape", "B2,T3,H4,V5", "--rounds", "6", "--seconds", "0.001"]
TINY += ["--cells", "lstm,mgu", "--threads", "1", "--device", "cpu"]


def test_every_module_is_measured_in_every_round_and_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(modules, "STRANGERS", {})
    path = tmp_path / "modules.json"
    said = []
    command.run([*TINY, "--json", str(path)], said.append)
    (printed,) = said
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["made"]["threads"] == "1"
    kept = [modules.Timed(**each) for each in found["modules"]]
    assert {(each.cell, each.name, each.mode) for each in kept} == {
        (cell, name, mode)
        for cell, name in (("lstm", "Recurrent"), ("lstm", "nn.LSTM"), ("mgu", "Recurrent"))
        for mode in MODES
    }
    assert all(len(each.seconds) == 6 and min(each.seconds) > 0 for each in kept)
    ours, theirs = (next(t for t in kept if t.name == name) for name in ("Recurrent", "nn.LSTM"))
    assert modules._told(modules.ratios(ours, theirs)) in printed
    assert "B2,T3,H4" in printed and "Forward only" in printed


def test_a_clock_starts_when_the_device_has_done_what_came_before(monkeypatch):
    """A GPU works on while Python goes on: what is not counted must have ended by then."""
    waiting = []

    class Watch(modules.timing.Watch):
        def __enter__(self):
            assert waiting == []
            return super().__enter__()

        def __exit__(self, *error):
            assert waiting == []
            super().__exit__(*error)

    monkeypatch.setattr(modules, "_pass", lambda module, inputs, mode: waiting.append(mode))
    monkeypatch.setattr(modules.timing, "synchronize", lambda device: waiting.clear())
    monkeypatch.setattr(modules.timing, "Watch", Watch)
    assert len(modules.measured(checked(parse(TINY)).shapes[0], checked(parse(TINY)))) > 3


def test_a_ratio_is_that_of_the_same_rounds():
    ours, theirs = (modules.Timed("", "train", "lstm", name) for name in ("Recurrent", "nn.LSTM"))
    ours.seconds, theirs.seconds = [1.0, 2.0, 10.0], [2.0, 4.0, 20.0]
    assert modules.ratios(ours, theirs).median == 2.0


def test_its_defaults_and_what_may_not_stand_beside_it():
    assert checked(parse(["--module"])).shapes == MODULE_SHAPES
    assert [shape.batch_size for shape in MODULE_SHAPES] == [32, 1, 256]
    with pytest.raises(BenchError, match=r"(?s)--module and --packs must.*--module and --quick"):
        checked(parse(["--module", "--packs", "2", "--quick"]))
    with pytest.raises(BenchError, match="precision: must be one of float32, float64 with"):
        command.run([*TINY, "--precision", "bf16"], print)
