"""What a device says of the energy that it has taken: a GPU through NVML, a processor through RAPL.

Both count the whole device, idle power and the work of other processes included.
"""

import ctypes
from pathlib import Path
from typing import Protocol

import torch

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"


class Meter(Protocol):
    """A counter of energy.

    Attributes:
        source: What counts, or why nothing does.
    """

    source: str

    def begin(self) -> None:
        """Begins a measurement."""
        ...

    def joules(self) -> float | None:
        """Returns the energy since the beginning; None: it is not reported."""
        ...


class NoMeter:
    """A device that reports no energy, and why."""

    def __init__(self, why: str):
        self.source = f"not reported: {why}"

    def begin(self) -> None:
        """See :class:`Meter`."""

    def joules(self) -> float | None:
        """See :class:`Meter`."""
        return None


class Rapl:
    """The packages of the processors, by the counters that Linux shows in files."""

    def __init__(self, folder: Path):
        """Finds them.

        Raises:
            OSError: There are none, or they may not be read.
        """
        # intel-rapl:0 is a package (AMD's too), intel-rapl:0:0 a part of it.
        self._packages = sorted(p for p in folder.glob("intel-rapl:*") if p.name.count(":") == 1)
        if not self._packages:
            raise FileNotFoundError(f"there is no counter in {folder}")
        self._ranges = [_number(path / "max_energy_range_uj") for path in self._packages]
        self.source = f"RAPL, {len(self._packages)} package(s) of the machine, whole"
        self.begin()

    def begin(self) -> None:
        """See :class:`Meter`."""
        self._before = self._microjoules()

    def joules(self) -> float | None:
        """See :class:`Meter`; a counter that has begun again at zero is allowed for."""
        after = self._microjoules()
        triples = zip(self._before, after, self._ranges, strict=True)
        return sum((end - begun) % (most + 1) for begun, end, most in triples) / 1e6

    def _microjoules(self) -> list[int]:
        return [_number(path / "energy_uj") for path in self._packages]


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


class Nvml:
    """A GPU's own counter, through NVIDIA's library."""

    def __init__(self, uuid: str, library: ctypes.CDLL):
        """Finds the GPU.

        Raises:
            OSError: The library refuses it.
        """
        self._library, self._device = library, ctypes.c_void_p()
        self._call("nvmlInit_v2")
        name = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
        self._call("nvmlDeviceGetHandleByUUID", name.encode(), ctypes.byref(self._device))
        self.source = "NVML, the whole GPU"
        self.begin()

    def begin(self) -> None:
        """See :class:`Meter`."""
        self._before = self._millijoules()

    def joules(self) -> float | None:
        """See :class:`Meter`."""
        return (self._millijoules() - self._before) / 1e3

    def _millijoules(self) -> int:
        found = ctypes.c_ulonglong()
        self._call("nvmlDeviceGetTotalEnergyConsumption", self._device, ctypes.byref(found))
        return found.value

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            raise OSError(f"{name} gave code {code}")


def meter(device: str, powercap: Path = POWERCAP) -> Meter:
    """Returns the counter of a device, or what says why there is none."""
    try:
        if device == "cuda":
            uuid = str(torch.cuda.get_device_properties(0).uuid)
            return Nvml(uuid, ctypes.CDLL(NVML))
        return Rapl(powercap)
    except (AttributeError, OSError, ValueError) as error:
        return NoMeter(_reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{error.filename} may not be read by this user"
    return " ".join(str(error).split())
