"""What is recorded of the machine and the code."""

import importlib.metadata

import pytest
import torch

from harness import provenance


def test_the_versions_are_those_that_are_installed():
    found = provenance.versions()
    assert found["torch"] == torch.__version__ and "triton" not in found
    assert found["optuna"] == importlib.metadata.version("optuna")


@pytest.mark.parametrize(("device", "is_there"), [("cpu", False), ("cuda", True), ("cuda:1", True)])
def test_what_runs_on_cuda_depends_on_triton(monkeypatch, device, is_there):
    installed = importlib.metadata.version
    monkeypatch.setattr(
        provenance, "version", lambda name: "3.7.1" if name == "triton" else installed(name)
    )
    monkeypatch.setattr(provenance, "device_name", lambda name: "a device")
    provenance.versions.cache_clear()
    assert ("version_triton" in provenance.describe(device)) == is_there
    provenance.versions.cache_clear()
