"""Checkpoints: whole or not at all, of this very run, and never unpickled."""

import errno
import hashlib
import io
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.settings import Budget, Settings
from harness.training import checkpoint
from harness.training.checkpoint import Checkpoint
from harness.training.plan import Run

RUN = Run(
    "arm/replicate/1", (1001,), Settings(cell="lstm", corpus="text", path="a.txt", hidden_size=3)
)
TEXT = "f" * 64


def example():
    arrays = {
        "parameters/layer0.W": torch.arange(6.0).view(2, 3),
        "state/0/0": torch.tensor([1e-300]).double(),
    }
    return Checkpoint(arrays, 12, {"best_nats": math.inf, "last_loss": math.nan, "records": ["{}"]})


def test_what_is_saved_is_loaded(tmp_path):
    folder = tmp_path / "deep" / "folder"
    assert checkpoint.load(folder, RUN, TEXT) == (None, None)
    checkpoint.save(folder, RUN, TEXT, example())
    found, note = checkpoint.load(folder, RUN, TEXT)
    assert note is None and found.update == 12
    for name, array in example().arrays.items():
        assert found.arrays[name].dtype == array.dtype and torch.equal(found.arrays[name], array)
    assert found.values["best_nats"] == math.inf and math.isnan(found.values["last_loss"])
    assert list(folder.iterdir()) == [
        checkpoint.path_of(folder, RUN)
    ]  # nothing half-written beside it


def test_a_file_holds_one_run_whatever_its_id(tmp_path):
    other = replace(RUN, id="../../arm/replicate/1")
    checkpoint.save(tmp_path, RUN, TEXT, example())
    checkpoint.save(tmp_path, other, TEXT, example())
    assert len(list(tmp_path.iterdir())) == 2
    checkpoint.remove(tmp_path, RUN.id)
    checkpoint.remove(tmp_path, RUN.id)
    assert list(tmp_path.iterdir()) == [checkpoint.path_of(tmp_path, other)]


@pytest.mark.parametrize(
    "run, text",
    [
        (replace(RUN, seed=(1002,)), TEXT),
        (replace(RUN, settings=replace(RUN.settings, learning_rate=0.125)), TEXT),
        (replace(RUN, settings=replace(RUN.settings, budget=Budget(epochs=2))), TEXT),
        (replace(RUN, settings=replace(RUN.settings, cell="lstm-coupled")), TEXT),
        (RUN, "e" * 64),
    ],
)
def test_a_foreign_checkpoint_is_not_used_and_said_so(tmp_path, run, text):
    checkpoint.save(tmp_path, RUN, TEXT, example())
    found, note = checkpoint.load(tmp_path, run, text)
    assert found is None
    expected = "checkpoint of arm/replicate/1: not used, its settings, text or equations differ; "
    expected += "it starts again"
    assert note == expected


@pytest.mark.parametrize("changes", [{"threads": 7}, {"pack_size": 3}])
def test_how_a_run_is_executed_does_not_make_its_checkpoint_foreign(tmp_path, changes):
    checkpoint.save(tmp_path, RUN, TEXT, example())
    found, note = checkpoint.load(
        tmp_path, replace(RUN, settings=replace(RUN.settings, **changes)), TEXT
    )
    assert found is not None and note is None


def test_a_changed_equation_makes_a_checkpoint_foreign(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, RUN, TEXT, example())
    monkeypatch.setattr(checkpoint, "source_of", lambda cell: "another source")
    assert checkpoint.load(tmp_path, RUN, TEXT)[0] is None


def test_no_damage_goes_unnoticed(tmp_path):
    checkpoint.save(tmp_path, RUN, TEXT, example())
    path = checkpoint.path_of(tmp_path, RUN)
    whole = path.read_bytes()
    flipped = [
        whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 37)
    ]
    for damaged in [
        b"",
        b"PK",
        whole[:31],
        whole[:-1],
        whole[: len(whole) // 2],
        whole + b"\0",
        *flipped,
    ]:
        path.write_bytes(damaged)
        found, note = checkpoint.load(tmp_path, RUN, TEXT)
        assert found is None
        assert (
            note
            == f"checkpoint of arm/replicate/1: not used, {path.name} is damaged; it starts again"
        )


def test_a_file_that_cannot_be_read_is_said_so(tmp_path):
    checkpoint.path_of(tmp_path, RUN).mkdir()
    found, note = checkpoint.load(tmp_path, RUN, TEXT)
    assert found is None and "cannot be read (Is a directory); it starts again" in note


def test_nothing_is_ever_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    trap = np.empty(1, dtype=object)
    trap[0] = Trap()
    checkpoint.path_of(tmp_path, RUN).write_bytes(pickle.dumps(trap))
    assert checkpoint.load(tmp_path, RUN, TEXT)[0] is None
    stored = io.BytesIO()
    np.savez(stored, allow_pickle=True, __header__=trap)
    checkpoint.path_of(tmp_path, RUN).write_bytes(
        hashlib.sha256(stored.getvalue()).digest() + stored.getvalue()
    )
    found, note = checkpoint.load(tmp_path, RUN, TEXT)
    assert found is None and note.endswith("holds what this bench does not write; it starts again")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, RUN, TEXT, example())
    monkeypatch.setattr(
        "os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    later = example()
    later.update = 99
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, RUN, TEXT, later)
    monkeypatch.undo()
    assert checkpoint.load(tmp_path, RUN, TEXT)[0].update == 12
    assert list(tmp_path.iterdir()) == [checkpoint.path_of(tmp_path, RUN)]


def test_a_folder_of_results_that_was_moved_is_not_made_again(tmp_path):
    """What lay there would look like a study whose database was lost."""
    with pytest.raises(OSError) as raised:
        checkpoint.save(tmp_path / "moved" / "checkpoints" / "small", RUN, TEXT, example())
    assert raised.value.errno == errno.ESTALE and not list(tmp_path.iterdir())
