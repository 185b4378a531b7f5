import json
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from harness.settings import Budget, Settings
from harness.training import runtime
from harness.training.pack import Pack
from harness.training.plan import Plan, PlanError, Run


@pytest.fixture
def plans(tmp_path):
    (tmp_path / "text.txt").write_text("a quiet text of a few letters " * 60)
    small = Settings(
        "rnn-tanh",
        "text",
        str(tmp_path / "text.txt"),
        hidden_size=4,
        batch_size=2,
        bptt_length=5,
        budget=Budget(updates=6),
        threads=2,
    )
    wide = replace(small, hidden_size=9)

    def pack(settings, size):
        return Plan(tuple(Run(f"r{i}", (i,), settings) for i in range(size)))

    return {"small": [pack(small, 1), pack(small, 3)], "wide": [pack(wide, 1), pack(wide, 3)]}


def test_arms_are_measured_in_turn_and_every_round_is_whole(plans):
    found = list(runtime.measure(plans, rounds=3, seconds=1e-4))
    assert len(found) == 2 * 2 * 2 * 3
    first = [(m.arm, m.pack, m.mode) for m in found if m.round == 0]
    assert first[:4] == [
        ("small", 1, "train"),
        ("small", 3, "train"),
        ("wide", 1, "train"),
        ("wide", 3, "train"),
    ]
    assert all([(m.arm, m.pack, m.mode) for m in found if m.round == k] == first for k in (1, 2))
    assert {(m.engine, m.device, m.precision, m.threads) for m in found} == {
        ("cpu", "cpu", "float32", 2)
    }


def test_tokens_per_second_are_one_runs_tokens_over_the_packs_seconds(plans):
    for m in runtime.measure(plans, rounds=1, seconds=1e-4):
        assert m.tokens_per_second == pytest.approx(2 * 5 / m.seconds) and m.seconds > 0


def test_measuring_goes_on_past_the_end_of_a_budget(plans):
    with closing(Pack(plans["small"][0])) as pack:
        assert runtime.update_seconds(pack, updates=50) > 0  # the budget is 6 updates


@pytest.mark.parametrize(("long_seconds", "num_updates"), [(0.0, 2), (1e9, 3 + 5)])
def test_of_long_updates_two_are_enough(plans, monkeypatch, long_seconds, num_updates):
    monkeypatch.setattr(runtime, "WARM_UP_UPDATES", 3)
    monkeypatch.setattr(runtime, "LONG_SECONDS", long_seconds)
    monkeypatch.setattr(runtime, "PROBE_SECONDS", 0.0)
    trained, train = [], runtime.Pack.train_updates
    monkeypatch.setattr(
        runtime.Pack,
        "train_updates",
        lambda pack, count: (trained.append(count), train(pack, count)),
    )
    with closing(Pack(plans["small"][0])) as pack:
        assert runtime.update_seconds(pack, updates=5) > 0
    assert sum(trained) == num_updates


def test_a_few_slow_updates_do_not_make_an_arm_slow(plans, monkeypatch):
    now = 0.0
    seconds = iter([0.5, 0.01, 0.01, *[0.008] * 4, *[0.001] * 1000])

    def train(pack, count):
        nonlocal now
        now += sum(next(seconds) for _ in range(count))

    monkeypatch.setattr(runtime.time, "perf_counter", lambda: now)
    monkeypatch.setattr(runtime, "WARM_UP_UPDATES", 3)
    with closing(Pack(plans["small"][0])) as pack:
        monkeypatch.setattr(runtime.Pack, "train_updates", train)
        assert runtime.update_seconds(pack) == pytest.approx(0.001)


def test_a_worker_measures_what_the_driver_asked(plans, tmp_path):
    text = runtime.phase_to_json(plans, rounds=2, seconds=1e-4)
    assert runtime.is_phase(text) and not runtime.is_phase("[]") and not runtime.is_phase("{")
    (tmp_path / "plan.json").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "harness.train", str(tmp_path / "plan.json")],
        capture_output=True,
        text=True,
        check=True,
    )
    found = [
        runtime.Measurement(**json.loads(line)["measurement"]) for line in done.stdout.splitlines()
    ]
    assert len(found) == 16 and {m.arm for m in found} == {"small", "wide"}


@pytest.mark.parametrize(
    "text",
    ['{"runtime": {}}', '{"runtime": 3}', '{"runtime": {"rounds": 1, "seconds": 1, "arms": []}}'],
)
def test_a_phase_that_is_none_is_an_error(text):
    with pytest.raises(PlanError, match="a runtime phase must have rounds, seconds and arms"):
        list(runtime.answer(text))
