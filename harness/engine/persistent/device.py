"""The kernels compiled for a GPU, and their launch through CUDA's driver.

torch launches no clusters from Python, so the driver's library is called. A launch goes to torch's
current stream, waits for nothing and takes no memory, so that it may be captured in a CUDA graph;
the first call with a layer compiles, so it must lie before the capture.
"""

import ctypes
import functools
from collections.abc import Callable

import torch

from harness.engine.gpu.launches import Layout
from harness.engine.persistent import nvrtc
from harness.engine.persistent.arguments import Call, Kernels
from harness.engine.persistent.coverage import capacity, fitted
from harness.engine.persistent.source import Source
from harness.engine.persistent.tiling import PORTABLE_BLOCKS, ROWS

DRIVER = "libcuda.so.1"
MAX_DYNAMIC_SHARED_SIZE_BYTES = 8
NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14
"""Of the driver's ``CUfunction_attribute``."""
FIRST_MAJOR = 8
"""The kernels copy and multiply as devices of compute capability 8.0 can, the first that could."""


class DeviceError(RuntimeError):
    """A device cannot run the kernels, or the driver refused."""


def architecture_of(device: torch.device | int) -> int:
    """Returns what kernels are compiled for to run on a device: 90 for sm_90.

    Devices run the code of all with the same major version that came before.

    Raises:
        DeviceError: It is too old.
    """
    major, minor = torch.cuda.get_device_capability(device)
    if major < FIRST_MAJOR:
        raise DeviceError(
            f"a device must have compute capability {FIRST_MAJOR}.0 or more, "
            f"but got {major}.{minor}."
        )
    return 10 * major


def shared_bytes_of(device: torch.device | int) -> int:
    """Returns the shared memory of a block, which a kernel may ask for on a device."""
    properties = torch.cuda.get_device_properties(device)
    return int(properties.shared_memory_per_block_optin)  # type: ignore[attr-defined]  # no stub


def cut_for(device: torch.device | int, plan: Layout, precision: str) -> Source:
    """Returns the source of a layout's kernels for as few blocks as a device needs.

    Raises:
        DeviceError: The device is too old, or a block's part does not fit.
    """
    architecture, most_bytes = architecture_of(device), shared_bytes_of(device)
    code = fitted(plan, precision, architecture, most_bytes)
    if reason := capacity(code, architecture, most_bytes):
        raise DeviceError(f"{reason}.")
    return code


@functools.lru_cache(maxsize=256)
def kernels(plan: Layout, precision: str, device: int) -> Kernels:
    """Returns a layout's kernels, loaded on a device.

    Raises:
        DeviceError: The device is too old, or a block's part does not fit, or the driver refuses.
        NvrtcError: There is no NVRTC, or it refuses.
    """
    code = cut_for(device, plan, precision)
    image = nvrtc.image("persistent", code.on("device"), architecture_of(device))
    with torch.cuda.device(device):
        torch.zeros(1, device="cuda")  # a thread has no context before its first work
        return loaded(code, image, device, _driver())


def loaded(code: Source, image: bytes, device: int, driver: ctypes.CDLL) -> Kernels:
    """Returns the kernels of machine code, which is loaded into the current context.

    Raises:
        DeviceError: The driver refuses, or the device holds no such cluster.
    """
    asking = _Asking(driver)
    module, context = ctypes.c_void_p(), ctypes.c_void_p()
    asking.must("tell the context", "cuCtxGetCurrent", ctypes.byref(context))
    asking.must("load the kernels", "cuModuleLoadData", ctypes.byref(module), image)
    return Kernels(
        code,
        _kernel(code, module, context, "forward", device, asking),
        _kernel(code, module, context, "backward", device, asking),
    )


class _Asking:
    """Calls the driver, and raises what it answers."""

    def __init__(self, driver: ctypes.CDLL):
        self._driver = driver

    def must(self, what: str, name: str, *arguments: object) -> None:
        """Calls a function that returns 0 where all is well.

        Raises:
            DeviceError: It returns something else.
        """
        result = getattr(self._driver, name)(*arguments)
        if result:
            told = [self._told(about, result) for about in ("cuGetErrorName", "cuGetErrorString")]
            said = ": ".join(text for text in told if text)
            said = f" ({said})" if said else ""
            raise DeviceError(f"{DRIVER} must {what}, but returned {result}{said}.")

    def _told(self, about: str, result: int) -> str:
        told = ctypes.c_char_p()
        getattr(self._driver, about)(result, ctypes.byref(told))
        return (told.value or b"").decode()


class _Launch(ctypes.Structure):
    """The driver's ``CUlaunchConfig``."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("num_attributes", ctypes.c_uint),
    ]


def _kernel(
    code: Source,
    module: ctypes.c_void_p,
    context: ctypes.c_void_p,
    name: str,
    device: int,
    asking: _Asking,
) -> Callable[[Call], None]:
    function, tile = ctypes.c_void_p(), code.tiling
    asking.must(
        f"find the kernel {name}",
        "cuModuleGetFunction",
        ctypes.byref(function),
        module,
        name.encode(),
    )
    attributes = {MAX_DYNAMIC_SHARED_SIZE_BYTES: code.shared_bytes}
    if tile.is_cluster and tile.num_blocks > PORTABLE_BLOCKS:
        attributes[NON_PORTABLE_CLUSTER_SIZE_ALLOWED] = 1
    for attribute, value in attributes.items():
        what = f"allow {value} as attribute {attribute} of the kernel {name}"
        asking.must(what, "cuFuncSetAttribute", function, attribute, value)
    if tile.is_cluster:
        _check_clusters(code, function, name, asking)

    def launch(call: Call) -> None:
        grid = (tile.num_blocks, -(-call.batch // ROWS), call.runs)
        cluster = tile.num_blocks if tile.is_cluster else 1
        arguments = call.packed(code.pointers)
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        with torch.cuda.device(device):
            # Torch's thread for backward passes has no context before it has launched something.
            asking.must("take the kernels' context", "cuCtxSetCurrent", context)
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            asking.must(
                f"launch the kernel {name} with {grid=}, cluster={cluster}, "
                f"threads={tile.num_threads}, shared_bytes={code.shared_bytes}",
                "cuLaunchKernel",
                *(function, *grid, tile.num_threads, 1, 1, code.shared_bytes),
                *(stream, parameters, None),
            )

    return launch


def _check_clusters(code: Source, function: ctypes.c_void_p, name: str, asking: _Asking) -> None:
    """Raises a DeviceError where the device, or the part of it that is ours, holds no cluster.

    The kernel says itself how many blocks a cluster has.
    """
    tile, count = code.tiling, ctypes.c_int()
    launch = _Launch((tile.num_blocks, 1, 1), (tile.num_threads, 1, 1), code.shared_bytes)
    what = f"say how many clusters of the kernel {name} it holds"
    asked = (ctypes.byref(count), function, ctypes.byref(launch))
    asking.must(what, "cuOccupancyMaxActiveClusters", *asked)
    if count.value < 1:
        raise DeviceError(
            f"the device must hold a cluster of {tile.num_blocks} blocks of {code.shared_bytes:,} "
            f"bytes of shared memory, but got clusters={count.value}."
        )


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL(DRIVER)
