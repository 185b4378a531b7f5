"""What is recorded of the machine and the code."""

import importlib.metadata

import pytest
import torch

from harness import provenance


def test_the_versions_are_those_that_are_installed():
    found = provenance.versions()
    # A wheel need not say in its name for which CUDA it was built.
    assert torch.__version__.split("+")[0] == found["torch"].split("+")[0]
    assert "triton" not in found
    assert found["optuna"] == importlib.metadata.version("optuna")


@pytest.mark.parametrize(("device", "is_there"), [("cpu", False), ("cuda", True), ("cuda:1", True)])
def test_what_runs_on_cuda_depends_on_its_libraries(monkeypatch, device, is_there):
    installed = importlib.metadata.version
    monkeypatch.setattr(
        provenance, "version", lambda name: "3.7.1" if name == "triton" else installed(name)
    )
    monkeypatch.setattr(provenance, "device_name", lambda name: "a device")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    provenance.versions.cache_clear()
    found = provenance.describe(device)
    provenance.versions.cache_clear()
    wanted = {"version_triton": "3.7.1", "version_cuda": "12.8", "version_cudnn": "91002"}
    assert {name: found.get(name) for name in wanted} == (
        wanted if is_there else dict.fromkeys(wanted)
    )
