"""Energy and memory are what the system's counters say, and a reason where there are none."""

import ctypes

import torch

from harness.bench.cost import energy
from harness.bench.cost.energy import Nvml, Rapl, meter
from harness.bench.cost.memory import PeakMemory

MEGABYTE = 2**20


def package(folder, name, microjoules, most=1000):
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{microjoules}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{most}\n")


def test_packages_add_up_and_may_begin_again_at_zero(tmp_path):
    package(tmp_path, "intel-rapl:0", 100)
    package(tmp_path, "intel-rapl:0:0", 5)  # a part of the first, which has it already
    package(tmp_path, "intel-rapl:1", 990)
    counter = Rapl(tmp_path)
    package(tmp_path, "intel-rapl:0", 400)
    package(tmp_path, "intel-rapl:0:0", 300)
    package(tmp_path, "intel-rapl:1", 9)
    assert counter.joules() == (300 + 20) / 1e6 and "2 package(s)" in counter.source
    counter.begin()
    assert counter.joules() == 0


def test_a_machine_that_reports_no_energy_says_why(tmp_path, monkeypatch):
    silent = meter("cpu", tmp_path / "absent")
    silent.begin()
    assert silent.joules() is None
    assert silent.source == f"not reported: there is no counter in {tmp_path / 'absent'}"
    locked = PermissionError(13, "Permission denied", "/sys/there/energy_uj")
    assert energy._reason(locked) == "/sys/there/energy_uj may not be read by this user"
    monkeypatch.setattr(energy, "NVML", "libno-such-library.so")
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: type("Of", (), {"uuid": "1-2"})
    )
    assert meter("cuda").source.startswith("not reported: libno-such-library.so")


class Library:
    """NVIDIA's library, as far as it is called."""

    def __init__(self, readings, code=0):
        self.readings, self.code, self.names = iter(readings), code, []

    def nvmlInit_v2(self):
        return self.code

    def nvmlDeviceGetHandleByUUID(self, name, device):
        self.names.append(name)
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device, found):
        ctypes.cast(found, ctypes.POINTER(ctypes.c_ulonglong))[0] = next(self.readings)
        return 0


def test_a_gpu_counts_in_millijoules():
    library = Library([5_000, 6_000, 8_500])
    counter = Nvml("12-34", library)
    counter.begin()
    assert counter.joules() == 2.5 and library.names == [b"GPU-12-34"]
    try:
        Nvml("GPU-1", Library([], code=9))
    except OSError as error:
        assert str(error) == "nvmlInit_v2 gave code 9"
    else:
        raise AssertionError("a refusal must be told")


def test_the_peak_is_what_a_block_adds_at_its_most():
    peak = PeakMemory("cpu")
    with peak:
        large = torch.ones(64 * MEGABYTE, dtype=torch.uint8)
        del large
    assert 60 * MEGABYTE < peak.num_bytes < 200 * MEGABYTE
    with peak:
        small = torch.ones(MEGABYTE, dtype=torch.uint8)
    assert peak.num_bytes < 32 * MEGABYTE and small.numel() == MEGABYTE


def test_a_system_that_tells_no_peak_says_so(tmp_path):
    peak = PeakMemory("cpu", tmp_path / "absent")
    with peak:
        pass
    assert peak.num_bytes is None and peak.source.startswith("not reported: ")
