"""Records on disk come back as they were, in order, as far as the file is whole."""

import errno
import math
import tracemalloc

import pytest

from harness.store.spool import Spool, _line, unused
from harness.study.units import RunKey

KEY = RunKey.parse("docs/lstm@1/trial/3.1")
OPERATIONS = [
    ("begin", {"key": KEY, "params": {"learning_rate": 0.1, "clip_norm": None}, "tags": {"a": 1}}),
    ("log", {"key": KEY, "update": 10, "metrics": {"loss": 1 / 3, "worst": math.inf}, "time": 0.5}),
    ("end", {"key": KEY, "artifacts": {"model.npz": b"\x00\xff", "curve.csv": "update\nσ\n"}}),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "spool.records"


def written(path, experiment="1 born"):
    spool = Spool(path, experiment)
    spool.append(OPERATIONS, are_known=False)
    spool.close(keep=True)


def test_what_was_appended_is_read_in_order_by_the_next_launch(path):
    written(path)
    spool = Spool(path, "1 born")
    assert spool.resume() is None and spool.num_unread == 3
    assert spool.read(2, 10**6) == OPERATIONS[:2]
    spool.append(OPERATIONS[:1], are_known=False)
    assert spool.read(9, 10**6) == [OPERATIONS[2], OPERATIONS[0]] and spool.read(9, 10**6) == []
    spool.close(keep=False)
    assert not path.exists()


def test_what_the_caller_has_too_is_read_by_the_next_launch_alone(path):
    spool = Spool(path, "1 born")
    spool.append(OPERATIONS[:2], are_known=True)
    spool.append(OPERATIONS[2:], are_known=False)
    assert spool.read(9, 10**6) == OPERATIONS[2:]
    spool.close(keep=True)
    again = Spool(path, "1 born")
    again.resume()
    assert again.read(9, 10**6) == OPERATIONS
    again.close(keep=False)


def test_there_is_no_file_until_something_is_written(path):
    spool = Spool(path, "1 born")
    assert spool.resume() is None and spool.read(9, 10**6) == []
    spool.close(keep=False)
    assert not path.parent.exists()


def test_a_folder_that_was_moved_is_not_made_again(tmp_path):
    """What lay there would look like a study whose database was lost."""
    spool = Spool(tmp_path / "moved" / "checkpoints" / "small.records", "1 born")
    with pytest.raises(OSError) as raised:
        spool.append(OPERATIONS, are_known=True)
    assert raised.value.errno == errno.ESTALE and not list(tmp_path.iterdir())
    spool.close(keep=True)


@pytest.mark.parametrize("damage", ["cut off", "changed"])
def test_a_damaged_line_ends_the_file(path, damage):
    written(path)
    content = path.read_bytes()
    at = len(content.splitlines(keepends=True)[-1])
    changed = content[:-at] + content[-at:].replace(b"curve", b"cruve")
    path.write_bytes(content[:-5] if damage == "cut off" else changed)
    spool = Spool(path, "1 born")
    assert spool.resume() == "its last 1 lines"
    spool.append(OPERATIONS[:1], are_known=False)
    assert spool.read(9, 10**6) == [*OPERATIONS[:2], OPERATIONS[0]]
    spool.close(keep=False)


@pytest.mark.parametrize("content", [None, b"", b"\x00" * 100])
def test_records_of_another_experiment_are_put_aside(path, content):
    written(path, experiment="1 earlier")
    if content is not None:
        path.write_bytes(content)
    content = path.read_bytes()
    spool = Spool(path, "1 born")
    kept = unused(path)
    assert spool.resume() == f"it is of another study, or damaged; it is kept as {kept}"
    assert not path.exists() and spool.num_unread == 0 and kept.read_bytes() == content


def test_a_file_says_its_format_and_one_that_says_none_opens(path):
    written(path)
    head, *lines = path.read_bytes().splitlines(keepends=True)
    assert head == _line({"experiment": "1 born", "format": 1})
    path.write_bytes(b"".join([_line({"experiment": "1 born"}), *lines]))
    spool = Spool(path, "1 born")
    assert spool.resume() is None and spool.read(9, 10**6) == OPERATIONS
    spool.close(keep=True)
    path.write_bytes(b"".join([_line({"experiment": "1 born", "format": 2}), *lines]))
    assert "must be of format 1, but is of 2" in Spool(path, "1 born").resume()
    assert unused(path).exists() and not path.exists()


def test_a_large_file_is_looked_over_line_by_line(path):
    spool = Spool(path, "1 born")
    for index in range(20):
        spool.append([("end", {"model.npz": bytes([index]) * 200_000})], are_known=False)
    spool.close(keep=True)
    again = Spool(path, "1 born")
    tracemalloc.start()
    assert again.resume() is None and again.num_unread == 20
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    again.close(keep=False)
    assert most < 2_000_000
