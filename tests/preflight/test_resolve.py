"""What a study leaves open, and what is said where it is done otherwise than asked for."""

import small_study
import torch

from harness import study
from harness.preflight.resolve import resolve


def test_evaluations_without_updates_are_told_where_they_were_asked_for(tmp_path):
    path = small_study.write(tmp_path, updates=8)
    assert resolve(study.load(path))[1] == []
    (note,) = resolve(study.load(path, ("fix.evaluations=40",)))[1]
    assert note == (
        "fix.evaluations: at most one is made an update, but got evaluations=40 and updates=8; "
        "8 are made. Write evaluations: 8."
    )


def test_a_gpu_that_auto_passes_over_is_told(tmp_path, monkeypatch):
    """A worker of Ray is told the device alone, and could not say it in its runs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_90"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA X")
    path = small_study.write(tmp_path)
    told = (
        "device: auto is cpu, since torch can use no GPU: it has code for sm_90, and NVIDIA X has "
        "compute capability 6.0"
    )
    for overrides in ((), ("fix.engine=native",)):
        assert resolve(study.load(path, ("fix.device=auto", *overrides)))[1] == [told]
    assert resolve(study.load(path, ("fix.device=cpu",)))[1] == []
