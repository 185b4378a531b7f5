"""What an update launches, and that nothing in it touches the CPU's memory or waits for a value."""

import json
from dataclasses import replace
from pathlib import Path

import gpu_launches
import pytest
import torch
from gpu_launches import BASE, STAND_IN, Counting

from harness.bench.subjects import settings_of, write_text
from harness.engine.gpu.gpu import Gpu
from harness.engine.native import Native
from harness.engine.persistent.persistent import Persistent
from harness.engine.reference import Reference
from harness.engine.scan.scan import Scan

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "studies" / "bench" / "gpu" / "launches.json"
FIGURES = ROOT / "studies" / "bench" / "gpu" / "README.md"
DECISION = ROOT / "docs" / "decisions" / "cuda_graph.md"
TINY = replace(BASE, batch_size=3, bptt_length=4, hidden_size=8)
WORK = (gpu_launches.counted, gpu_launches.counted_batch, gpu_launches.counted_token)
"""An update, a batch of an evaluation, and a token of a sample."""
OPTIONS = {
    "rnn-tanh": {"optimizer": "adam", "dropout": 0.2, "num_layers": 2, "state_dropout": 0.1},
    "lstm": {"zoneout_h": 0.1, "zoneout_c": 0.1, "learned_start": True, "label_smoothing": 0.1},
    "gru": {"optimizer": "asgd", "weight_dropout": 0.2, "embedding_size": 8, "tied": True},
    "rhn": {"recurrent_dropout": 0.2, "activation_regularization": 1.0, "clip_value": 1.0},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Those of a small run."""
    path = write_text(TINY, tmp_path_factory.mktemp("text"))
    return settings_of(TINY, gpu_launches.place("float32"), path)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_what_a_run_does_stays_on_its_device(settings, name, precision):
    """A tensor of the CPU among those of a device is the first fault that a device would show."""
    given = replace(settings, cell=name, precision=precision, **OPTIONS[name])
    try:
        for counted in WORK:
            assert counted(given, Gpu())["kernels"] > 0
    except NotImplementedError:
        if precision != "bf16":
            raise
        pytest.skip("this torch knows no such product of bfloat16 without numbers")


@pytest.mark.parametrize(
    "which", [Persistent(), Reference(), Native(), Scan()], ids=lambda which: which.name
)
def test_every_engine_stays_on_its_device(settings, which):
    cell = "min-gru" if which.name == "scan" else "lstm"
    for counted in WORK:
        counted(replace(settings, cell=cell), which)


def test_what_leaves_the_device_is_seen():
    with Counting(), pytest.raises(RuntimeError, match="reads memory of the CPU"):
        torch.bmm(torch.zeros(1, 2, 2, device=STAND_IN), torch.zeros(1, 2, 2))
    with Counting(), pytest.raises(RuntimeError, match="meta"):
        torch.zeros(1, device=STAND_IN).item()


def test_the_committed_counts_are_todays():
    written = json.loads(COMMITTED.read_text(encoding="utf-8"))["updates"]
    for row in written:
        if (row["cell"], row["shape"], row["precision"]) == ("lstm", BASE.name, "float32"):
            which = {"gpu": Gpu(), "persistent": Persistent()}[row["engine"]]
            found = gpu_launches.launches("lstm", BASE, "float32", which)
            assert row == json.loads(json.dumps(gpu_launches.as_row(found)))
    assert len(written) > 2


def test_the_launches_of_the_decision_are_todays(tmp_path):
    settings = settings_of(BASE, gpu_launches.place("float32"), write_text(BASE, tmp_path))
    update, batch, token = (
        sum(counted(replace(settings, cell="lstm"), Gpu()).values()) for counted in WORK
    )
    text = DECISION.read_text(encoding="utf-8")
    assert f"a batch of its evaluation {batch}, one token of a sample {token}" in text
    fifty = f"50 tokens are {50 * token}, fewer than those of {-(-50 * token // update)} updates"
    assert f"an update has {update} launches" in text
    assert fifty in text


def test_the_table_of_the_documentation_is_that_of_the_committed_counts():
    text = FIGURES.read_text(encoding="utf-8")
    for row in json.loads(COMMITTED.read_text(encoding="utf-8"))["updates"]:
        others = sum(row["others"].values())
        facts = row["cell"], row["shape"], row["precision"], row["engine"]
        numbers = row["products"], row["kernels"], others, row["all"]
        assert f"| {' | '.join(map(str, (*facts, *numbers)))} |" in text
