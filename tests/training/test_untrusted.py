"""A file of records or a plan that was changed anywhere is read, or refused with one message."""

import base64
import json
import os
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from harness.data import DataError, regular_files
from harness.runner import exchange
from harness.settings import Budget, SampleRequest, Settings
from harness.training import runtime, worker
from harness.training.fields import MAX_MODEL_BYTES, MessageError
from harness.training.messages import Evaluation, RunEnded, RunStarted, RunState, message_from_json
from harness.training.plan import Plan, PlanError, Run, plans_from_json, plans_to_json

ODD = st.sampled_from(
    [
        None,
        True,
        "",
        "../../up",
        "\ud800",
        "a/../b",
        "x" * 20_000,
        -1,
        0,
        2**63,
        10**400,
        1e308,
        float("nan"),
        float("-inf"),
        [],
        {},
        [[]],
        {"": 1},
        {"a//b": 1.0},
        {"loss": 10**400},
        [None],
        [{"prefix": 1}],
    ]
)
BOUNDED = hypothesis.settings(max_examples=150)
RUN = "lstm/replicate/0"
MESSAGES = [
    RunStarted(
        run=RUN,
        time=1e9,
        cell="lstm",
        engine="cpu",
        device="cpu",
        precision="float32",
        threads=1,
        pack_size=1,
        hidden_size=4,
        num_parameters=99,
        num_states=8,
        flops_per_token=200,
        num_updates=10,
        corpus_fingerprint="f",
        digest="d",
        provenance={"git_commit": "c"},
    ),
    Evaluation(RUN, 5, 1e9, {"validation/loss": 1.0}, ("note",), ({"prefix": "a", "text": "b"},)),
    RunEnded(RUN, 10, 1e9, RunState.FINISHED, {"objective": 1.0}, "message", model=b"model"),
]
SETTINGS = Settings("lstm", hidden_size=4, corpus="python-docs", budget=Budget(updates=10))
PLAN = Plan((Run("a/trial/0", (0, "trial", 0), SETTINGS),), samples=SampleRequest(("a",)))


def places(value, path=()):
    """Returns the paths of all values within a JSON value."""
    inner = list(value.items()) if isinstance(value, dict) else []
    inner += list(enumerate(value)) if isinstance(value, list) else []
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def changed(value, path, odd):
    """Returns a JSON value with another value at a path."""
    if not path:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], odd)
    return copy


@st.composite
def mutants(draw, texts):
    """A text in which values are replaced, or which is cut off or changed at a byte."""
    text = draw(st.sampled_from(texts))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(text) - 1))
        return text[:place] + draw(st.sampled_from(["", "\x00", "9" * 5000, "[" * 5000, '"']))
    value = json.loads(text)
    for _ in range(draw(st.integers(1, 2))):
        value = changed(value, draw(st.sampled_from(places(value))), draw(ODD))
    return json.dumps(value)


@BOUNDED
@hypothesis.given(mutants([message.to_json() for message in MESSAGES]))
def test_a_changed_record_is_read_or_refused_with_a_message(line):
    try:
        message = message_from_json(line)
    except MessageError as error:
        assert str(error).startswith("records: ") and len(str(error)) < 1000
    else:
        message.to_json().encode()


@BOUNDED
@hypothesis.given(mutants([plans_to_json([PLAN]), PLAN.to_json()]))
def test_a_changed_plan_is_read_or_refused_with_a_message(text):
    try:
        plans = plans_from_json(text)
    except PlanError as error:
        assert str(error)
    else:
        plans_to_json(plans).encode()


@BOUNDED
@hypothesis.given(mutants([runtime.phase_to_json({"a": [PLAN]}, rounds=2, seconds=1.0)]))
def test_a_changed_runtime_phase_is_refused_before_anything_runs(text):
    if runtime.is_phase(text):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runtime, "measure", lambda plans, **_: iter(()))
            try:
                list(runtime.answer(text))
            except PlanError as error:
                assert str(error)


@pytest.mark.parametrize(
    "info",
    ['{"num_parameters": 1' + "0" * 400 + "}", '{"time": 1e12}', '{"metrics": {"../up": 1}}'],
)
def test_a_size_that_no_store_holds_is_refused(info):
    changes = json.loads(info)
    values = json.loads(MESSAGES[0].to_json())
    for name, value in changes.items():
        (values if name in values else values["info"])[name] = value
    with pytest.raises(MessageError, match=next(iter(changes))):
        message_from_json(json.dumps(values))


def test_what_may_never_end_is_refused_before_it_is_read(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").touch()
    os.truncate(tmp_path / "long", 2**31 + 1)  # it takes no room
    for path, words in (
        ("/dev/zero", "a device or a pipe, which may never end"),
        (tmp_path / "pipe", "a device or a pipe, which may never end"),
        (tmp_path / "long", "must be a file of at most 2,147,483,648 bytes"),
    ):
        assert worker.main([str(path)]) == 2
        assert "plan: must be a file" in (said := capsys.readouterr().err) and words in said
        with pytest.raises(DataError, match=f"records: .*{words}"):
            exchange._read(Path(path))


def test_a_file_that_memory_does_not_hold_is_told_with_what_to_do(tmp_path):
    path = tmp_path / "large.json"
    with open(path, "wb") as file:
        file.truncate(regular_files.MAX_BYTES + 1)  # of holes: it takes no room
    for read, remedy in ((worker._read, "--shard I/N"), (exchange._read, "with whole runs")):
        with pytest.raises(DataError, match="at most 2,147,483,648 bytes") as told:
            read(path)
        assert remedy in str(told.value)


def test_a_model_has_room_in_a_file_of_records():
    assert len(base64.b64encode(bytes(3_000))) == 4_000
    assert MAX_MODEL_BYTES * 4 == regular_files.MAX_BYTES * 3
