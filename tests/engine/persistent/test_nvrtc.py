"""The kernels' machine code, where NVRTC is; and what is read from its log."""

import ctypes
import re
import subprocess
from pathlib import Path

import pytest

import cells
from harness import cache
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


def test_a_log_in_other_words_costs_no_machine_code():
    assert nvrtc.resources(LOG.replace("Used 255 registers", "255 registers")) == {
        "forward": Resources(registers=64, spill_bytes=0, stack_bytes=0)
    }


@pytest.fixture
def compiling(tmp_path, monkeypatch):
    """Takes down what is compiled, and compiles nothing."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    asked = []

    def compile_for(text, architecture):
        asked.append((text, architecture))
        return nvrtc.Compiled(f"code {len(asked)}".encode(), {})

    monkeypatch.setattr(nvrtc, "compile_for", compile_for)
    monkeypatch.setattr(nvrtc, "version", lambda: "12.9.86")
    return asked


def test_kernels_are_compiled_once_for_what_they_depend_on(compiling, monkeypatch):
    assert nvrtc.image("a", "text", 90) == nvrtc.image("a", "text", 90) == b"code 1"
    assert compiling == [("text", 90)]
    nvrtc.image("a", "other text", 90)
    nvrtc.image("a", "text", 80)
    monkeypatch.setattr(nvrtc, "version", lambda: "12.9.87")
    nvrtc.image("a", "text", 90)
    monkeypatch.setattr(nvrtc, "OPTIONS", ("--std=c++20",))
    nvrtc.image("a", "text", 90)
    assert len(compiling) == 5
    kept = sorted(path.suffix for path in cache.compiled_folder().iterdir())
    assert kept == sorted(5 * [".cu", ".cubin", ".sha256"])


def test_a_compiler_that_does_not_load_is_told(monkeypatch, tmp_path):
    (tmp_path / "libnvrtc.so.13").write_bytes(b"half")
    monkeypatch.setattr(nvrtc, "find", lambda: str(tmp_path / "libnvrtc.so.13"))
    with pytest.raises(nvrtc.NvrtcError, match="NVRTC must load, but got .*libnvrtc.so.13"):
        nvrtc._library.__wrapped__()


def test_damaged_kernels_are_compiled_again_and_a_refusal_leaves_none(compiling, monkeypatch):
    nvrtc.image("a", "text", 90)
    (file,) = cache.compiled_folder().glob("a-*.cubin")
    file.write_bytes(b"half")
    assert nvrtc.image("a", "text", 90) == b"code 2" and cache.is_sound(file)

    def refuse(text, architecture):
        raise nvrtc.NvrtcError("no")

    monkeypatch.setattr(nvrtc, "compile_for", refuse)
    with pytest.raises(nvrtc.NvrtcError, match="no"):
        nvrtc.image("b", "text", 90)
    assert not list(cache.compiled_folder().glob("b-*"))


def test_a_cache_that_cannot_be_written_is_told(compiling, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    with pytest.raises(nvrtc.NvrtcError, match="file/engine: must hold compiled code, but got"):
        nvrtc.image("a", "text", 90)


@pytest.fixture
def installing(tmp_path, monkeypatch):
    """Nothing is installed but torch; what is called with a file puts it there."""
    monkeypatch.setattr(nvrtc.sys, "path", [str(tmp_path / "first"), str(tmp_path / "torchs")])
    monkeypatch.setattr(nvrtc.sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(nvrtc.torch, "__file__", str(tmp_path / "torchs/torch/__init__.py"))

    def install(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return str(path)

    return install


def found_by_torch_for(cuda, monkeypatch):
    monkeypatch.setattr(nvrtc.torch.version, "cuda", cuda)
    return nvrtc.find.__wrapped__()


def test_of_several_nvrtcs_torchs_own_is_taken(installing, monkeypatch):
    later = installing("first/nvidia/cu13/lib/libnvrtc.so.13")
    earlier = installing("first/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")
    assert found_by_torch_for("12.8", monkeypatch) == earlier
    assert found_by_torch_for("13.0", monkeypatch) == later
    own = installing("torchs/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")
    assert found_by_torch_for("12.8", monkeypatch) == own
    # It has none of its own: the one that was asked for first, by the order of folders.
    assert found_by_torch_for(None, monkeypatch) == later


def test_another_cudas_nvrtc_is_taken_where_there_is_none_of_torchs(installing, monkeypatch):
    assert found_by_torch_for("12.8", monkeypatch) is None
    other = installing("first/nvidia/cu13/lib/libnvrtc.so.13")
    assert found_by_torch_for("12.8", monkeypatch) == other
    condas = installing("prefix/lib/libnvrtc.so.12")
    assert found_by_torch_for("12.8", monkeypatch) == condas


def test_nvrtc_of_the_system_is_found_where_no_package_has_it(installing, monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}.so.12")
    assert found_by_torch_for("13.0", monkeypatch) == "libnvrtc.so.12"


def test_the_version_has_the_number_of_a_correction(monkeypatch):
    head = b"//\n// Cuda compilation tools, release 12.9, V12.9.86\n// Based on NVVM 7.0.1\n"
    monkeypatch.setattr(nvrtc, "_made", lambda text, options, what: (head, ""))
    assert nvrtc.version.__wrapped__() == "12.9.86"
    monkeypatch.setattr(nvrtc, "_made", lambda text, options, what: (b"// other", ""))
    with pytest.raises(nvrtc.NvrtcError, match="must write its version into PTX, but got"):
        nvrtc.version.__wrapped__()


@needs_nvrtc
def test_nvrtc_tells_its_version():
    assert nvrtc.version().count(".") == 2


@needs_nvrtc
def test_nvrtcs_code_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    text = 'extern "C" __global__ void k() {}'
    code = nvrtc.image("k", text, 90)
    assert code.startswith(b"\x7fELF")
    monkeypatch.setattr(nvrtc, "compile_for", None)
    assert nvrtc.image("k", text, 90) == code


def test_without_nvrtc_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(nvrtc, "find", lambda: None)
    nvrtc._library.cache_clear()
    with pytest.raises(nvrtc.NvrtcError) as caught:
        nvrtc.compile_for("", 90)
    assert str(caught.value) == (
        "NVRTC was not found. Install nvidia-cuda-nvrtc, or a build of torch for CUDA."
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
def test_no_time_step_loads_what_registers_did_not_hold(tmp_path):
    """A layer whose columns take all of them; tensor cores multiply in the time loop alone."""
    tools = Path(pytest.importorskip("triton").__file__).parent / "backends" / "nvidia" / "bin"
    code = fitted(plan_of(Layer(cells.find("lstm"), 768, 2, "bf16")), "bf16", 90)
    made, file = nvrtc.compile_for(code.on("device"), 90), tmp_path / "lstm.cubin"
    file.write_bytes(made.code)
    command = [tools / "nvdisasm", "-c", file]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for kernel in ("forward", "backward"):
        (text,) = re.findall(rf"^\.text\.{kernel}:\n(.*?)^//-", told + "//-", re.M | re.S)
        before, is_there, time_loop = text.partition("HMMA.16816")
        assert is_there and "LDL" not in time_loop


@needs_nvrtc
def test_an_architecture_that_nvrtc_does_not_know_is_told(monkeypatch):
    monkeypatch.setattr(nvrtc, "version", lambda: "12.6.85")
    known = nvrtc.architectures()
    assert {80, 90} <= set(known)
    with pytest.raises(nvrtc.NvrtcError) as caught:
        nvrtc.compile_for("", 990)
    assert str(caught.value) == (
        "NVRTC must know sm_990, but got version=12.6.85, which knows sm_"
        f"{', '.join(map(str, known))}. Install a build of torch whose CUDA knows it."
    )


@needs_nvrtc
def test_what_does_not_compile_is_told():
    with pytest.raises(nvrtc.NvrtcError, match=r"must compile with .*sm_90 .*no_such_name"):
        nvrtc.compile_for('extern "C" __global__ void k() { no_such_name(); }', 90)
