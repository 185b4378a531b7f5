"""Messages travel as lines of JSON, old ones too; what no worker wrote is refused."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.training import messages
from harness.training.fields import MessageError
from harness.training.messages import (
    Evaluation,
    RunEnded,
    RunStarted,
    RunState,
    message_from_json,
)

START = RunStarted(
    run="a",
    time=1.5,
    cell="lstm",
    engine="cpu",
    device="cpu",
    precision="float32",
    threads=2,
    pack_size=8,
    hidden_size=16,
    num_parameters=999,
    num_states=32,
    flops_per_token=1000,
    num_updates=40,
    corpus_fingerprint="f" * 64,
    digest="d" * 64,
    notes=("a note",),
    provenance={"git_commit": "c", "git_dirty": "false", "version_torch": "2.13.0"},
)
EVALUATION = Evaluation(
    "a", 10, 2.5, {"train/loss": 2.0}, ("late",), ({"prefix": "t", "text": "u"},)
)
END = RunEnded(
    "a",
    40,
    3.5,
    RunState.DIVERGED,
    {"objective": 3.3},
    message="not finite",
    diverged_at=39,
    last_loss=2.5,
)

# As commit e496428 wrote them: stored checkpoints and records of that time hold such lines.
OLD_START = (
    '{"run": "a", "kind": "start", "update": 0, "time": 1.5, "metrics": {}, "info": {'
    '"cell": "lstm", "engine": "cpu", "device": "cpu", "precision": "float32", "threads": 2, '
    '"pack_size": 8, "hidden_size": 16, "num_parameters": 999, "num_states": 32, '
    '"flops_per_token": 1000, "num_updates": 40, '
    f'"corpus_fingerprint": "{"f" * 64}", "digest": "{"d" * 64}", '
    '"notes": ["a note"], "git_commit": "c", "git_dirty": "false", "version_torch": "2.13.0"}}'
)
OLD_EVALUATION = (
    '{"run": "a", "kind": "evaluation", "update": 10, "time": 2.5, "metrics": {"train/loss": 2.0}, '
    '"info": {"notes": ["late"], "samples": [{"prefix": "t", "text": "u"}]}}'
)
OLD_END = (
    '{"run": "a", "kind": "end", "update": 40, "time": 3.5, "metrics": {"objective": 3.3}, "info": '
    '{"state": "diverged", "message": "not finite", "diverged_at": 39, "last_loss": 2.5}}'
)


@pytest.mark.parametrize(
    "message, old", [(START, OLD_START), (EVALUATION, OLD_EVALUATION), (END, OLD_END)]
)
def test_a_message_is_the_line_that_it_always_was(message, old):
    assert message_from_json(old) == message == message_from_json(message.to_json())
    assert json.loads(message.to_json()) == json.loads(old) and "\n" not in message.to_json()


def test_messages_survive_json_with_numbers_that_are_none():
    end = RunEnded("a", 3, 1.5, RunState.FAILED, {"train/loss": math.inf}, last_loss=math.nan)
    again = message_from_json(end.to_json())
    assert again.metrics == end.metrics and math.isnan(again.last_loss)


@pytest.mark.parametrize("not_learned", [True, False, None])
def test_an_end_says_whether_anything_was_learned_where_anybody_asked(not_learned):
    end = RunEnded("a", 3, 1.5, RunState.FINISHED, message="why", not_learned=not_learned)
    assert message_from_json(end.to_json()) == end
    assert ("not_learned" in json.loads(end.to_json())["info"]) == (not_learned is not None)


def test_a_model_travels_with_its_message():
    end = RunEnded("a", 3, 1.5, RunState.FINISHED, model=bytes(range(256)))
    assert message_from_json(end.to_json()) == end
    assert "model" not in RunEnded("a", 3, 1.5, RunState.FINISHED).to_json()


@pytest.mark.parametrize("line", ["", "no json", '{"run": "a"'])
def test_a_line_that_is_no_json_is_refused(line):
    with pytest.raises(MessageError, match="a line must be what a worker wrote, but got "):
        message_from_json(line)


def changed(old, path, value):
    values = json.loads(old)
    inner = values
    for name in path[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    "line, rule",
    [
        ("3", "a line must be a JSON object, but got 3"),
        ("[]", r"a line must be a JSON object, but got \[\]"),
        ("{}", "kind must be given, but is missing"),
        (
            changed(OLD_END, ["kind"], "stop"),
            "kind must be one of start, evaluation and end, but got kind='stop'",
        ),
        (
            changed(OLD_END, ["run"], 3),
            "run must be a text of at most 1,000 characters, but got run=3",
        ),
        (changed(OLD_END, ["run"], "a" * 1001), "run must be a text of at most 1,000 characters"),
        (
            changed(OLD_END, ["update"], -1),
            "update must be a whole number from 0, but got update=-1",
        ),
        (
            changed(OLD_END, ["update"], True),
            "update must be a whole number from 0, but got update=True",
        ),
        (changed(OLD_END, ["time"], "now"), "time must be a finite number, but got time='now'"),
        (changed(OLD_END, ["metrics"], ...), "metrics must be given, but is missing"),
        (
            changed(OLD_END, ["metrics", "x"], "1"),
            "metrics must be an object of at most 10,000 numbers",
        ),
        (
            changed(OLD_END, ["info", "state"], "done"),
            "info.state must be one of finished, diverged, pruned, failed, but got state='done'",
        ),
        (changed(OLD_END, ["info", "state"], ...), "info.state must be given, but is missing"),
        (
            changed(OLD_END, ["info", "diverged_at"], 1.5),
            "info.diverged_at must be a whole number from 0, but got diverged_at=1.5",
        ),
        (
            changed(OLD_END, ["info", "not_learned"], 1),
            "info.not_learned must be true or false, but got not_learned=1",
        ),
        (changed(OLD_END, ["info", "colour"], 1), "info.colour must be left out, but got colour=1"),
        (changed(OLD_END, ["colour"], 1), "colour must be left out, but got colour=1"),
        (
            changed(OLD_END, ["model"], 3),
            "model must be base64 of at most .* bytes, but got model=3",
        ),
        (changed(OLD_END, ["model"], "a"), "model must be base64"),
        (changed(OLD_END, ["model"], "Zm9v!"), "model must be base64"),
        (
            changed(OLD_START, ["info", "threads"], "2"),
            "info.threads must be a whole number from 0, but got threads='2'",
        ),
        (changed(OLD_START, ["info", "digest"], ...), "info.digest must be given, but is missing"),
        (changed(OLD_START, ["info", "git_dirty"], False), "info.git_dirty must be a text"),
        (
            changed(OLD_START, ["info", "notes"], "a"),
            "info.notes must be a list of at most 10,000 texts, but got notes='a'",
        ),
        (
            changed(OLD_EVALUATION, ["info", "samples"], [{"prefix": "t"}]),
            r"info.samples must be a list of \{prefix, text\}",
        ),
        *(
            (
                changed(
                    OLD_EVALUATION,
                    ["info", "samples"],
                    [{"prefix": "t", "text": "u", "temperature": temperature}],
                ),
                r"info.samples must be a list of \{prefix, text\}",
            )
            for temperature in (0, float("inf"), "0.7")
        ),
        (changed(OLD_EVALUATION, ["info"], 3), "info must be a JSON object, but got 3"),
    ],
)
def test_what_no_worker_wrote_is_refused_by_field_and_value(line, rule):
    with pytest.raises(MessageError, match=f"records: {rule}"):
        message_from_json(line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from([OLD_START, OLD_EVALUATION, OLD_END]), st.data())
def test_any_other_value_is_refused_or_read_never_a_crash(old, data):
    values = json.loads(old)
    name = data.draw(st.sampled_from([*values, "info"]))
    if name == "info" and data.draw(st.booleans()):
        values["info"][data.draw(st.sampled_from([*values["info"], "new"]))] = data.draw(JSON)
    else:
        values[name] = data.draw(JSON)
    try:
        message_from_json(json.dumps(values))
    except MessageError:
        pass


def test_a_long_error_is_cut_to_what_a_message_may_hold():
    end = messages.failure("a", ValueError("x" * 100_000), 1.0)
    assert message_from_json(end.to_json()) == end and len(end.message) == messages.MAX_TEXT


CUDA = (
    "OutOfMemoryError: CUDA out of memory. Tried to allocate {} MiB. GPU 0 has a total capacity of "
    "79.11 GiB of which {} is free. Process {} has 1.5 GiB memory in use."
)


@pytest.mark.parametrize(
    "one, other, cause",
    [
        (
            CUDA.format(20.0, "3.2 GiB", 17),
            CUDA.format(512, "640.00 KiB", 1812),
            "OutOfMemoryError: CUDA out of memory. Tried to allocate .... GPU ... has a total "
            "capacity of ... of which ... is free. Process ... has ... memory in use.",
        ),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/home/a b/text.txt'",
            "FileNotFoundError: [Errno 2] No such file or directory: '../b/other.txt'",
            "FileNotFoundError: [Errno ...] No such file or directory: ...",
        ),
        (
            "DataError: corpus: /data/a.txt must be UTF-8, but got byte=0xff.\nA second line.",
            "DataError: corpus: C:\\data\\b.txt must be UTF-8, but got byte=0xc3.\nAnother.",
            "DataError: corpus: ... must be UTF-8, but got byte=....",
        ),
        (
            "RuntimeError: <Cell object at 0x7f3c1a2b3c4d> gave (3, 4, 5)",
            "RuntimeError: <Cell object at 0x55d0c0ffee00> gave (12, -4, 1.5e-07)",
            "RuntimeError: <Cell object at ...> gave (..., ..., ...)",
        ),
        (
            "PlanError: a/trial/3: momentum: must be < 1, but got momentum=1.5",
            "PlanError: a/trial/17: momentum: must be < 1, but got momentum=2.0",
            "PlanError: ...: momentum: must be < ..., but got momentum=...",
        ),
        ("MemoryError: ", "MemoryError: ", "MemoryError"),
        ("ValueError: \n\n  late\nmore", "ValueError: late", "ValueError: late"),
        ("no words of an exception", "no words of an exception", "no words of an exception"),
        ("", "  ", ""),
    ],
)
def test_failures_of_one_cause_are_told_as_one(one, other, cause):
    assert messages.cause_of(one) == messages.cause_of(other) == cause


def test_failures_of_different_causes_are_told_apart():
    failures = [
        "RuntimeError: shape '[3, 4]' is invalid for input of size 13",
        "ValueError: shape '[3, 4]' is invalid for input of size 13",
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)",
        "FileNotFoundError: [Errno 2] No such file or directory: '/a.txt'",
        "PermissionError: [Errno 13] Permission denied: '/a.txt'",
        "KeyError: 'hidden'",
        "KeyError: 'cell'",
        "AttributeError: module 'torch' has no attribute 'tanh2'",
        "MemoryError: ",
    ]
    assert len(set(map(messages.cause_of, failures))) == len(failures)


@given(st.text(max_size=80))
def test_a_cause_of_any_text_is_one_line(text):
    assert len(messages.cause_of(text).splitlines()) <= 1
    assert len(messages.cause_of(f"ValueError: {text}").splitlines()) == 1


def test_the_cause_of_an_exception_names_its_class():
    def read(path):
        open(path)  # noqa: SIM115  # it is not there

    causes = set()
    for path in ("/nowhere/3.txt", "/nowhere at all/4.txt"):
        with pytest.raises(OSError) as caught:
            read(path)
        causes.add(messages.cause_of(messages.failure("a", caught.value, 1.0).message))
    assert causes == {"FileNotFoundError: [Errno ...] No such file or directory: ..."}


def test_states_know_whether_they_are_ends():
    assert [state for state in RunState if state.is_ended] == [
        "finished",
        "diverged",
        "pruned",
        "failed",
    ]
    assert [state for state in RunState if state.has_objective] == ["finished", "diverged"]


def test_a_forecast_travels_with_the_end_of_its_run():
    end = RunEnded("a", 4, 0.0, RunState.FINISHED, {"objective": 1.0}, forecast="time,truth\n1,2\n")
    assert message_from_json(end.to_json()) == end
    with pytest.raises(MessageError, match="forecast"):
        message_from_json(changed(OLD_END, ["info", "forecast"], 3))


def test_a_drawn_text_brings_its_temperature():
    drawn = {"prefix": "t", "text": "u", "temperature": 0.7}
    line = changed(OLD_EVALUATION, ["info", "samples"], [drawn])
    message = message_from_json(line)
    assert message.samples == (drawn,)
    assert message_from_json(message.to_json()) == message
