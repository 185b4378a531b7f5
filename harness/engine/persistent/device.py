"""The kernels compiled for a GPU, and their launch through CUDA's driver; never run so far.

torch launches no clusters from Python, so the driver's library is called. A launch goes to torch's
current stream, waits for nothing and takes no memory, so that it may be captured in a CUDA graph;
the first call with a layer compiles, so it must lie before the capture.
"""

import ctypes
import functools
from collections.abc import Callable

import torch

from harness.engine.gpu.layout import Layout
from harness.engine.persistent import nvrtc
from harness.engine.persistent.arguments import Call, Kernels
from harness.engine.persistent.coverage import capacity, fitted
from harness.engine.persistent.source import Source
from harness.engine.persistent.tiling import PORTABLE_BLOCKS, ROWS

DRIVER = "libcuda.so.1"
MAX_DYNAMIC_SHARED_SIZE_BYTES = 8
NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14
"""Of the driver's ``CUfunction_attribute``."""
COMPILED_FOR = {9: 90, 8: 80}
"""A device's major version -> the architecture whose machine code it runs.

Code for sm_80 runs on all 8.x, whose blocks may have less shared memory: then the driver refuses.
"""


class DeviceError(RuntimeError):
    """A device cannot run the kernels, or the driver refused."""


@functools.lru_cache(maxsize=256)
def kernels(plan: Layout, precision: str, device: int) -> Kernels:
    """Returns a layout's kernels, loaded on a device.

    Raises:
        DeviceError: The device is of another architecture, or a block's part does not fit.
        NvrtcError: There is no NVRTC, or it refuses.
    """
    major, minor = torch.cuda.get_device_capability(device)
    architecture = COMPILED_FOR.get(major)
    if architecture is None:
        known = ", ".join(f"{number}.x" for number in COMPILED_FOR)
        raise DeviceError(f"a device must be of {known}, but got {major}.{minor}.")
    code = fitted(plan, precision, architecture)
    if reason := capacity(code, architecture):
        raise DeviceError(f"{reason}.")
    with torch.cuda.device(device):
        image = nvrtc.image("persistent", code.on("device"), architecture)
        return loaded(code, image, _driver())


def loaded(code: Source, image: bytes, driver: ctypes.CDLL) -> Kernels:
    """Returns the kernels of machine code, which is loaded into the current context.

    Raises:
        DeviceError: The driver refuses.
    """
    module = ctypes.c_void_p()
    _checked(driver.cuModuleLoadData(ctypes.byref(module), image), "load the kernels")
    return Kernels(
        code, _kernel(code, module, "forward", driver), _kernel(code, module, "backward", driver)
    )


def _kernel(
    code: Source, module: ctypes.c_void_p, name: str, driver: ctypes.CDLL
) -> Callable[[Call], None]:
    function, tile = ctypes.c_void_p(), code.tiling
    found = driver.cuModuleGetFunction(ctypes.byref(function), module, name.encode())
    _checked(found, f"find the kernel {name}")
    attributes = {MAX_DYNAMIC_SHARED_SIZE_BYTES: code.shared_bytes}
    if tile.num_blocks > PORTABLE_BLOCKS:
        attributes[NON_PORTABLE_CLUSTER_SIZE_ALLOWED] = 1
    for attribute, value in attributes.items():
        allowed = driver.cuFuncSetAttribute(function, attribute, value)
        _checked(allowed, f"allow {value} as attribute {attribute} of the kernel {name}")

    def launch(call: Call) -> None:
        grid = (tile.num_blocks, -(-call.batch // ROWS), call.runs)
        arguments = call.packed(code.pointers)
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        launched = driver.cuLaunchKernel(
            function, *grid, tile.num_threads, 1, 1, code.shared_bytes, stream, parameters, None
        )
        _checked(launched, f"launch the kernel {name} with {grid=}")

    return launch


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL(DRIVER)


def _checked(result: int, what: str) -> None:
    if result:
        raise DeviceError(f"{DRIVER} must {what}, but returned {result}.")
