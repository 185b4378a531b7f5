"""Tasks that read vectors, on engine `gpu`: on CUDA, and on the CPU, where the same lines work.

Its kernels in Triton's interpreter train the same tasks in tests/engine/gpu/interpreted.py.
"""

import pytest
from agreement import DEVICES
from sequence_training import parameters_after, small_tasks
from torch.testing import assert_close

from harness import engine
from harness.engine.gpu.gpu import Gpu


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("name", ["adding", "sine", "labelled"])
def test_a_pack_trains_to_the_parameters_of_the_definition(
    tmp_path, monkeypatch, name, cell, device
):
    monkeypatch.setattr(engine, "ENGINES", (Gpu(("cpu", "cuda")), engine.get("reference")))
    task = small_tasks(tmp_path)[name]
    wanted = parameters_after(task, cell=cell)
    found = parameters_after(task, cell=cell, engine="gpu", device=device)
    assert_close(found, wanted, rtol=1e-9, atol=1e-12)
