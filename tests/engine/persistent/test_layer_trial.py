"""A layer is tried on its device before it is used: what a trial finds, tells and keeps."""

import functools
import json
import pickle
import sys
from types import SimpleNamespace

import pytest
import torch

import cells
from harness.engine import Layer
from harness.engine.persistent import device as on_device
from harness.engine.persistent import host, nvrtc, trial
from harness.engine.persistent.arguments import Kernels
from harness.engine.persistent.coverage import fitted
from harness.engine.persistent.persistent import Persistent
from harness.engine.persistent.question import question
from harness.engine.persistent.source import plan_of, source
from harness.engine.persistent.tiling import Tiling

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SMALL = Layer(cells.find("rnn-tanh"), 7, 2, "float32")
CALLS_OF_A_RESULT = 2
"""The kernels' calls until they are compared: with rows, and with a table."""


def code(layer):
    return source(plan_of(layer), layer.precision, host.tiling(layer.hidden_size))


RIGHT = json.dumps(dict.fromkeys(trial.ANSWER))


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    trial._answers.clear()
    yield tmp_path
    trial._answers.clear()


def test_a_layer_that_agrees_is_tried_once_on_a_machine(own_cache, monkeypatch):
    """In a process of its own, whose kernels are the host's."""
    assert trial.failure(SMALL, code(SMALL), CPU) is None
    trial._answers.clear()
    monkeypatch.setattr(trial, "asked", lambda *_: "tried again")
    assert trial.failure(SMALL, code(SMALL), CPU) is None
    other = Layer(SMALL.cell, 8, 2, "float32")
    assert trial.failure(other, code(other), CPU) == "tried again"


def test_a_failure_is_kept_for_the_process_alone(own_cache, monkeypatch):
    monkeypatch.setattr(trial, "asked", lambda *_: "its kernels are wrong")
    assert trial.failure(SMALL, code(SMALL), CPU) == "its kernels are wrong"
    monkeypatch.setattr(trial, "asked", lambda *_: None)
    assert trial.failure(SMALL, code(SMALL), CPU) == "its kernels are wrong"
    trial._answers.clear()
    assert trial.failure(SMALL, code(SMALL), CPU) is None


def test_what_is_not_of_the_kernels_is_told_as_it_is_and_tried_again(own_cache, monkeypatch):
    found = [
        trial.Untried("There must be a compiler."),
        torch.OutOfMemoryError("CUDA out of memory"),
        None,
    ]

    def asked(*_):
        if isinstance(error := found.pop(0), Exception):
            raise error
        return error

    monkeypatch.setattr(trial, "asked", asked)
    assert trial.failure(SMALL, code(SMALL), CPU) == "There must be a compiler"
    with pytest.raises(torch.OutOfMemoryError):
        trial.failure(SMALL, code(SMALL), CPU)
    assert trial.failure(SMALL, code(SMALL), CPU) is None
    assert not found


def test_a_process_tells_what_it_lacks(monkeypatch):
    told = pickle.dumps((question(SMALL), CPU))
    program = "from harness.engine.cpu import compiler; compiler.find = lambda: None; "
    command = [sys.executable, "-c", program + trial.PROGRAM[-1]]
    with pytest.raises(trial.Untried, match="compiler"):
        trial.asked(command, told)
    full = "print('" + json.dumps(dict(zip(trial.ANSWER, (None, None, "none left"), strict=True)))
    with pytest.raises(torch.OutOfMemoryError, match="none left"):
        trial.asked([sys.executable, "-c", f"{full}')"], b"")
    with pytest.raises(trial.Untried, match="must begin to try it, but got .*No such file"):
        trial.asked(["/no/such/program"], b"")


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import time; time.sleep(60)", "did not end in 0 s"),
        (
            "import os; os.write(2, b'an illegal address'); os._exit(7)",
            "ended the process that tried them, with 7: an illegal address",
        ),
        (
            f"print({RIGHT!r}, flush=True); import os; os.kill(os.getpid(), 9)",
            "ended the process that tried them, with -9: it said nothing",
        ),
        ("print('word')", "with 0: it said nothing"),
        ("print('[1]')", "with 0: it said nothing"),
        ("raise MemoryError('none left')", "with 1: MemoryError: none left"),
    ],
    ids=[
        "hangs",
        "is ended",
        "is killed after its answer",
        "answers nonsense",
        "answers a list",
        "raises",
    ],
)
def test_what_becomes_of_a_process_is_told(program, told):
    seconds = 0.3 if "sleep" in program else 60.0
    assert trial.asked([sys.executable, "-c", program], b"", seconds).endswith(told)


def kernels_of(layer, changed):
    """The host's kernels; `changed` gets the number of the call and its tensors, afterwards."""
    made = host.kernels(plan_of(layer), layer.precision, host.tiling(layer.hidden_size))
    calls = {"forward": 0, "backward": 0}

    def calling(name):
        def call(arguments):
            getattr(made, name)(arguments)
            calls[name] += 1
            changed(name, calls[name], arguments.tensors)

        return call

    return Kernels(made.source, calling("forward"), calling("backward"))


def nothing(*_):
    pass


def a_unit(name, number, tensors):
    """One unit of one row is wrong, at one time step."""
    if name == "forward":
        tensors["state_0"][1, 3, 8, 6] += 0.01


def a_gradient(name, number, tensors):
    if name == "backward" and number == CALLS_OF_A_RESULT:  # of the table
        tensors["first_gradient_0"][0, 0, 0] = torch.nan


def another_time(name, number, tensors):
    """As where two threads meet, and only sometimes: far below any bound."""
    if name == "forward" and number > CALLS_OF_A_RESULT:
        tensors["state_0"][1, 3, 8, 6] *= 1 + 2**-22


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (nothing, None),
        (
            a_unit,
            "its kernels compute another value than torch: rows: result 0, rows: gradient of ",
        ),
        (a_gradient, "its kernels compute another value than torch: table: gradient of state.0"),
        (another_time, "its kernels compute another value each time: rows: result 0"),
    ],
    ids=["right", "one wrong unit", "NaN in a gradient", "another value each time"],
)
def test_wrong_kernels_are_found(changed, told):
    found = trial.disagreement(question(SMALL), kernels_of(SMALL, changed), CPU)
    assert found is told or str(found).startswith(str(told)), found


@pytest.mark.parametrize(
    ("cell", "precision"),
    [
        (cells.find("lstm"), "tf32"),
        (cells.find("rwkv-4"), "float64"),
        (cells.find("lstm-on"), "bf16"),
        (cells.find("rhn"), "float32"),  # which reads its input
        (cells.find("slstm"), "float32"),  # whose states begin infinite
    ],
    ids=str,
)
def test_right_kernels_agree(cell, precision):
    layer = Layer(cell, 12, 1, precision)
    assert trial.disagreement(question(layer), kernels_of(layer, nothing), CPU) is None


@pytest.mark.parametrize("name", ["slstm", "rwkv-4"])
def test_every_number_of_a_call_matters(name):
    """These begin with infinite states, beside which no other number would count."""
    of = question(Layer(cells.find(name), 7, 2, "float32"))
    found = of.called(functools.partial(trial._by_torch, of), CPU)
    # The first state is what a step puts out, which these cells do not read.
    gradients = {k: v for k, v in found.items() if "gradient" in k and not k.endswith("state.0")}
    assert all(value.isfinite().all() and value.abs().max() > 0 for value in gradients.values())


def one_of(monkeypatch, num_bytes):
    """The device's blocks may have so much shared memory."""
    told = SimpleNamespace(shared_memory_per_block_optin=num_bytes, multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: told)


def test_a_layer_is_refused_before_it_is_tried_where_it_cannot_run(monkeypatch):
    tried = []
    ours = Persistent(tried=lambda *given: tried.append(given) or "it was tried")
    lstm = Layer(cells.find("lstm"), 1024, 1, "float32", threads=2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    told = "a device must have compute capability 8.0 or more, but got 7.5"
    assert ours.layer_refusal(lstm, CUDA) == f"lstm of 1,024 units does not fit: {told}"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    one_of(monkeypatch, 232_448)
    told = ours.layer_refusal(lstm, CUDA)
    assert told.startswith("lstm of 1,024 units does not fit: a block must have at most 232,448 ")
    assert not tried
    small = Layer(lstm.cell, 256, 1, "float32", threads=2)
    assert ours.layer_refusal(small, CUDA) == "it was tried"
    ((layer, kernels, where),) = tried
    assert (layer.threads, layer.hidden_size, where) == (1, 256, CUDA)
    assert kernels.tiling.num_blocks == 8
    assert on_device.architecture_of(CUDA) == 90


def test_a_device_is_asked_for_its_memory(monkeypatch):
    """Of one generation blocks of small devices have less, so that a layer takes more blocks."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (12, 0))
    tried = []
    ours = Persistent(tried=lambda layer, code, device: tried.append(code.tiling.num_blocks))
    layer = Layer(cells.find("rwkv-4"), 256, 1, "tf32")
    of_8, of_16 = (
        source(plan_of(layer), "tf32", Tiling(256, blocks)).shared_bytes for blocks in (8, 16)
    )
    refusals = []
    for num_bytes in (of_8, of_8 - 1, of_16, of_16 - 1):
        one_of(monkeypatch, num_bytes)
        refusals.append(ours.layer_refusal(layer, CUDA))
    assert tried == [8, 16, 16]
    assert refusals[:3] == [None] * 3
    assert refusals[3] == (
        f"rwkv-4 of 256 units does not fit: a block must have at most {of_16 - 1:,} bytes of "
        f"shared memory on sm_120, but got shared_bytes={of_16:,}"
    )


@pytest.mark.parametrize(("name", "size"), [("lstm", 256), ("min-gru", 4096), ("rnn-tanh", 7)])
def test_a_device_is_given_more_than_it_runs_at_once(own_cache, monkeypatch, name, size):
    """So some blocks begin where others have ended, whose memory they find."""
    one_of(monkeypatch, 232_448)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA X")
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0.88")
    asked = []
    monkeypatch.setattr(trial, "asked", lambda *_: None)
    monkeypatch.setattr(trial, "question", lambda layer, num_tiles: asked.append(num_tiles))
    layer = Layer(cells.find(name), size, 1, "tf32")
    made = fitted(plan_of(layer), "tf32", 90)
    assert trial.failure(layer, made, CUDA) is None
    (num_tiles,) = asked
    num_blocks = trial.RUNS * num_tiles * made.tiling.num_blocks
    one_more = trial.RUNS * made.tiling.num_blocks
    assert trial.BLOCKS_AT_ONCE * 132 < num_blocks <= trial.BLOCKS_AT_ONCE * 132 + one_more
