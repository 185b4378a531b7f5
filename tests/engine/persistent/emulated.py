"""The kernels as NVRTC makes them of the text for CUDA, run by a machine for PTX.

What a device gets goes through here: the text, the compiler, the launch's numbers and the kernels'
instructions. The names of a layer's kernels on the host are taken by these.
"""

import contextlib
import functools
from types import SimpleNamespace

import torch
from ptx.driver import Driver

from harness.engine.persistent import device, host, nvrtc
from harness.engine.persistent.arguments import Kernels
from harness.engine.persistent.source import source

ARCHITECTURE = 90
DEVICE = 0


def kernels(plan, precision, tile, edited=lambda text: text, counts=lambda name: None):
    """A layer's kernels, as ``host.kernels`` returns them.

    `edited` changes the text for CUDA; `counts` gives where a kernel's costs are added.
    """
    code = source(plan, precision, tile)
    image = _ptx(edited(code.on("device")))
    reached = []
    with _one_device():
        made = device.loaded(code, image, DEVICE, Driver(lambda: reached, counts))

    def calling(kernel):
        def call(arguments):
            tensors = arguments.tensors | (
                {} if arguments.tokens is None else {"tokens": arguments.tokens}
            )
            reached[:] = [(name, t.detach().numpy()) for name, t in tensors.items() if t.numel()]
            with _one_device():
                kernel(arguments)

        return call

    return Kernels(code, calling(made.forward), calling(made.backward))


@functools.lru_cache(maxsize=64)
def _ptx(text):
    return nvrtc.ptx(text, ARCHITECTURE).encode()


@contextlib.contextmanager
def _one_device():
    """torch tells that there is a device, with a stream."""
    before = torch.cuda.device, torch.cuda.current_stream
    torch.cuda.device = lambda number: contextlib.nullcontext()
    torch.cuda.current_stream = lambda: SimpleNamespace(cuda_stream=0)
    try:
        yield
    finally:
        torch.cuda.device, torch.cuda.current_stream = before


@contextlib.contextmanager
def in_place_of_the_hosts(**options):
    """Layers on the CPU run these kernels."""
    before = host.kernels
    host.kernels = functools.partial(kernels, **options)
    try:
        yield
    finally:
        host.kernels = before
