"""Records that another machine wrote, and what is refused of them."""

from pathlib import Path

import pytest
import small_study

from harness.runner import exchange
from harness.runner.recorder import RecordError
from harness.store.locations import Locations
from harness.training.fields import MessageError
from harness.training.messages import RunEnded, RunStarted, RunState, message_from_json

END = (
    b'{"run": "%s", "kind": "end", "update": 1, "time": 0.0, "metrics": {}, '
    b'"info": {"state": "finished"}}'
)
STRANGE_START = RunStarted(
    "wide/trial/0", 0.0, "lstm", "cpu", "cpu", "float32", 1, 1, 16, 1, 1, 1, 40, "text", "digest"
).to_json()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (b"no json", MessageError, "a line must be what a worker wrote, but got 'no json'"),
        (b"3", MessageError, "a line must be a JSON object, but got 3"),
        (
            b'{"run": "x", "kind": "end", "update": 1, "time": 0.0, "metrics": {}}',
            MessageError,
            "info must be given, but is missing",
        ),
        (b"\xff", MessageError, "is no UTF-8"),
        (
            b'{"measurement": {"arm": "wide"}}',
            MessageError,
            "measurement.mode must be given, but is missing",
        ),
        (
            END % b"x",
            RecordError,
            "must be ARM/PHASE/INDEX",
        ),
        (
            END % b"wide/trial/99",
            RecordError,
            "runs that this study lacks",
        ),
        (
            END % b"wide/trial/0",
            RecordError,
            "must start before it ends",
        ),
        (
            STRANGE_START.encode(),
            RecordError,
            "this study's settings",
        ),
    ],
)
def test_records_that_are_not_this_studys_are_refused(
    tmp_path_factory, refusing, text, error, message
):
    path, locations = refusing
    records = tmp_path_factory.mktemp("records") / "records.jsonl"
    records.write_bytes(text)
    with pytest.raises(error, match=message):
        exchange.ingest_records(path, records, locations=locations)


@pytest.mark.parametrize("metrics", [{}, {"objective": float("nan")}])
def test_an_end_that_is_no_result_is_refused(metrics):
    messages = [
        message_from_json(STRANGE_START),
        RunEnded("wide/trial/0", 40, 0.0, RunState.FINISHED, metrics),
    ]
    with pytest.raises(RecordError, match="must end with an objective that is a number"):
        exchange._check_order(messages, Path("records.jsonl"), "validation/loss")


@pytest.mark.parametrize("cut", [b'{"run": "wide/tri', b'{"run": "\xc3', b""])
def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path, cut):
    records = tmp_path / "records.jsonl"
    records.write_bytes(STRANGE_START.encode() + b"\n" + cut)
    messages, measured, is_cut = exchange._read(records)
    assert [message.to_json() for message in messages] == [STRANGE_START]
    assert measured == [] and is_cut is bool(cut)
    records.write_bytes(b"3\n" + cut)  # what comes before is read as strictly as ever
    with pytest.raises(MessageError):
        exchange._read(records)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    """A study whose first round is planned and nothing of it recorded."""
    folder = tmp_path_factory.mktemp("refusing")
    path = small_study.write(folder)
    exchange.write_plan(path, folder / "plan.json", locations=Locations(folder))
    return path, Locations(folder)
