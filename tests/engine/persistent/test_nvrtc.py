"""The kernels' machine code, where NVRTC is; and what is read from its log."""

import pytest

import cells
from harness.engine import Layer
from harness.engine.persistent import nvrtc
from harness.engine.persistent.coverage import fitted
from harness.engine.persistent.nvrtc import Resources
from harness.engine.persistent.source import plan_of

LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'backward' for 'sm_80'
ptxas info    : Function properties for backward
    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 16 bytes cumulative stack size
ptxas info    : Compile time = 640.318 ms
ptxas info    : Compiling entry function 'forward' for 'sm_80'
ptxas info    : Function properties for forward
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers
"""

needs_nvrtc = pytest.mark.skipif(nvrtc.find() is None, reason="NVRTC is not installed")


def test_the_log_tells_what_a_kernel_takes():
    assert nvrtc.resources(LOG) == {
        "backward": Resources(registers=255, spill_bytes=12, stack_bytes=16),
        "forward": Resources(registers=64, spill_bytes=0, stack_bytes=0),
    }


def test_without_nvrtc_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(nvrtc, "find", lambda: None)
    nvrtc._library.cache_clear()
    with pytest.raises(nvrtc.NvrtcError) as caught:
        nvrtc.compile_for("", 90)
    assert str(caught.value) == (
        "NVRTC was not found. Install nvidia-cuda-nvrtc-cu12, or a build of torch for CUDA."
    )


@needs_nvrtc
@pytest.mark.parametrize("architecture", [90, 80])
@pytest.mark.parametrize("precision", ["float64", "float32", "tf32", "bf16"])
def test_both_kernels_compile_without_spills(precision, architecture):
    layer = Layer(cells.find("lstm"), 64, 2, precision)
    code = fitted(plan_of(layer), precision, architecture)
    compiled = nvrtc.compile_for(code.on("device"), architecture)
    assert compiled.code.startswith(b"\x7fELF")
    assert sorted(compiled.resources) == ["backward", "forward"]
    assert not any(kernel.spill_bytes for kernel in compiled.resources.values())


@needs_nvrtc
def test_what_does_not_compile_is_told():
    with pytest.raises(nvrtc.NvrtcError, match=r"must compile for sm_90, .*no_such_name"):
        nvrtc.compile_for('extern "C" __global__ void k() { no_such_name(); }', 90)
