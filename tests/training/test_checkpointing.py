"""When packs write checkpoints, and which of them they go on from."""

import json
from dataclasses import replace

import pytest
import torch
from small_packs import ended, kept, plan_of, records_of
from wire import info_of

from harness.training import checkpoint
from harness.training.messages import RunEnded, RunState
from harness.training.pack import Pack


def test_notes_say_when_a_checkpoint_is_foreign_or_damaged(settings, text, tmp_path):
    folder = tmp_path / "checkpoints"
    plan = plan_of(settings, {}, {}, checkpoint_folder=str(folder))
    pack = Pack(plan)
    pack.advance()
    pack.save()
    pack.close()
    first, second = (checkpoint.path_of(folder, run) for run in plan.runs)
    first.write_bytes(first.read_bytes()[:-3])
    foreign = replace(plan, runs=(plan.runs[0], replace(plan.runs[1], seed=(7,))))
    start = Pack(foreign).advance()[0]
    assert info_of(start)["notes"] == [
        f"checkpoint of r0: not used, {first.name} is damaged; it starts again",
        "checkpoint of r1: not used, its settings, text or equations differ; it starts again",
    ]
    json.dumps(info_of(start))
    copy = tmp_path / "other.txt"
    copy.write_text("another text altogether " * 60)
    second_settings = replace(settings, path=str(copy))
    pack = Pack(plan_of(second_settings, checkpoint_folder=str(folder)))
    pack.advance()
    pack.save()
    copy.write_text("the same file, with more characters: 0123456789 " * 60)
    resumed = Pack(plan_of(second_settings, checkpoint_folder=str(folder)))
    assert "its settings, text or equations differ" in resumed.notes[0]
    assert resumed.shards[0].update == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.arrays.popitem(),
        lambda stored: stored.arrays.update({"parameters/none": torch.zeros(3)}),
        lambda stored: stored.arrays.update(
            {name: array[:1] for name, array in stored.arrays.items() if array.ndim}
        ),
        lambda stored: stored.values.pop("records"),
        lambda stored: stored.values.update(records=["{}"]),
        lambda stored: stored.values.update(
            records=[RunEnded("r0", 1, 0, RunState.FAILED).to_json()]
        ),
        lambda stored: stored.values.update(best_nats="none", seconds="soon"),
        lambda stored: setattr(stored, "update", 10**6),
        lambda stored: setattr(stored, "update", 10**400),
    ],
)
def test_a_whole_checkpoint_of_another_content_lets_its_run_begin_anew(settings, tmp_path, change):
    plan = plan_of(settings, {}, {}, checkpoint_folder=str(tmp_path))
    pack = Pack(plan)
    pack.advance()
    pack.save()
    stored = pack.shards[0].snapshot(0)
    stored.values |= {"seconds": 1.0, "records": []}
    change(stored)
    checkpoint.save(tmp_path, plan.runs[0], pack.task.fingerprint, stored)
    pack.close()
    again = Pack(plan)
    assert [shard.update for shard in again.shards] == [0, pack.shards[1].update]
    assert again.notes == (checkpoint.unfit(plan.runs[0]),)
    assert [message.run for message in again.advance()[:1]] == ["r0"]
    again.close()


def test_long_training_writes_checkpoints_of_itself(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.training.checkpointing.CHECKPOINT_SECONDS", -1.0)
    plan = plan_of(settings, {}, {}, checkpoint_folder=str(tmp_path))
    pack = Pack(plan)
    pack.advance()
    assert len(list(tmp_path.iterdir())) == 2
    pack.close()
    resumed = Pack(plan)
    assert [shard.update for shard in resumed.shards] == [5, 5] and resumed.notes == ()
    resumed.close()


def test_a_pack_without_a_folder_writes_nothing(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pack = Pack(plan_of(settings))
    pack.advance()
    pack.save()
    pack.close()
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_that_had_only_to_finish_knows_its_last_loss(settings, tmp_path, monkeypatch):
    whole, plan = (
        plan_of(settings, version=2),
        plan_of(settings, version=2, checkpoint_folder=str(tmp_path)),
    )
    expected = ended(records_of(whole)).metrics["final/loss"]
    with monkeypatch.context() as patch:
        patch.setattr(Pack, "_finish", lambda *_: [])  # killed between the last point and the end
        pack = Pack(plan)
        for _ in range(4):
            pack.advance()
        pack.save()
        pack.close()
    records = records_of(plan)
    assert len(kept(records, "evaluation")) == 4
    assert ended(records).metrics["final/loss"] == expected
