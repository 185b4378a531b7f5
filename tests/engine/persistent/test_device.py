"""The launch through CUDA's driver: what it is asked for, and on a GPU what the kernels compute."""

import contextlib
import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from agreement import LARGEST_ERRORS, assert_same, case, results, share_of_bounds

import cells
from harness import engine
from harness.engine import Layer
from harness.engine.cpu import compiler
from harness.engine.persistent import device, nvrtc, persistent
from harness.engine.persistent.arguments import Call
from harness.engine.persistent.coverage import fitted
from harness.engine.persistent.source import plan_of

OTHERS = ["gru", "rnn-tanh", "rnn-relu", "lstm-on"]
CONTEXT = 0x5EED
ERROR = {"cuGetErrorName": b"CUDA_ERROR_ILLEGAL_ADDRESS", "cuGetErrorString": b"an illegal address"}


class Driver:
    """Takes down what the driver is asked for, and does nothing."""

    def __init__(self, refusing="", num_fields=1, num_clusters=1):
        self.calls, self.refusing, self.num_fields = [], refusing, num_fields
        self.num_clusters = num_clusters

    def __getattr__(self, name):
        def call(*arguments):
            if name == "cuLaunchKernel":  # the arguments need not outlive the call
                *others, parameters, extra = arguments
                numbers = (ctypes.c_int64 * self.num_fields).from_address(parameters[0])
                arguments = (*others, list(numbers), extra)
            if name == "cuOccupancyMaxActiveClusters":
                count, _, launch = arguments
                count._obj.value = self.num_clusters
                arguments = launch._obj
                arguments = (list(arguments.grid), list(arguments.block), arguments.shared_bytes)
            if name == "cuCtxGetCurrent":
                arguments[0]._obj.value = CONTEXT
            if name in ERROR:
                arguments[1]._obj.value = ERROR[name]
                return 0
            self.calls.append((name, *arguments))
            return 700 if name == self.refusing else 0

        return call

    def named(self, name):
        return [arguments for called, *arguments in self.calls if called == name]


def code(name, hidden_size):
    return fitted(plan_of(Layer(cells.find(name), hidden_size, 1, "float32")), "float32", 90)


@pytest.fixture
def stream(monkeypatch):
    """The current stream of device 3, which is not the current device."""
    current = [0]

    @contextlib.contextmanager
    def other(number):
        before, current[0] = current[0], number
        yield
        current[0] = before

    def stream_of():
        return SimpleNamespace(cuda_stream=74 + current[0])

    monkeypatch.setattr(torch.cuda, "device", other)
    monkeypatch.setattr(torch.cuda, "current_stream", stream_of)


def test_a_launch_is_a_cluster_for_each_run_and_eight_rows(stream):
    lstm = code("lstm", 256)
    driver = Driver(num_fields=5 + len(lstm.pointers))
    kernels = device.loaded(lstm, b"code", 3, driver)
    tokens, x = torch.zeros(3, 35, 33, dtype=torch.int64), torch.zeros(3, 50, 1024)
    kernels.forward(Call(3, 35, 33, tokens, {"x": x}))
    ((_, *sizes, stream, fields, extra),) = driver.named("cuLaunchKernel")
    assert sizes == [8, 5, 3, 256, 1, 1, lstm.shared_bytes]
    assert stream.value == 77 and extra is None
    assert fields[:5] == [3, 35, 33, 50, tokens.data_ptr()]
    given = dict(zip(lstm.pointers, fields[5:], strict=True))
    assert {name for name, address in given.items() if address} == {"x"}
    assert given["x"] == x.data_ptr()


def test_a_kernel_asks_for_its_shared_memory_and_for_a_wide_cluster(stream):
    for name, size, clusters in (("lstm", 256, []), ("rwkv-4", 256, [1]), ("min-gru", 1024, [])):
        driver, wanted = Driver(), code(name, size)
        device.loaded(wanted, b"code", 3, driver)
        asked = [tuple(arguments[1:]) for arguments in driver.named("cuFuncSetAttribute")]
        shared = (device.MAX_DYNAMIC_SHARED_SIZE_BYTES, wanted.shared_bytes)
        wide = [(device.NON_PORTABLE_CLUSTER_SIZE_ALLOWED, value) for value in clusters]
        assert asked == 2 * [shared, *wide]


def test_a_launch_takes_the_context_that_the_kernels_were_loaded_into(stream):
    """A thread of autograd may have none yet."""
    driver = Driver()
    kernels = device.loaded(code("lstm", 7), b"code", 3, driver)
    for launch in (kernels.forward, kernels.backward):
        del driver.calls[:]
        launch(Call(2, 1, 3, None, {}))
        assert [name for name, *_ in driver.calls] == ["cuCtxSetCurrent", "cuLaunchKernel"]
        assert driver.calls[0][1].value == CONTEXT


def test_what_the_driver_refuses_is_told(stream):
    with pytest.raises(
        device.DeviceError,
        match="must load the kernels, but returned 700 "
        r"\(CUDA_ERROR_ILLEGAL_ADDRESS: an illegal address\)",
    ):
        device.loaded(code("lstm", 7), b"code", 3, Driver("cuModuleLoadData"))
    kernels = device.loaded(code("lstm", 7), b"code", 3, Driver("cuLaunchKernel"))
    with pytest.raises(
        device.DeviceError,
        match=r"must launch the kernel backward with grid=\(1, 1, 2\), cluster=1, threads=256, "
        r"shared_bytes=[0-9]+, but returned 700",
    ):
        kernels.backward(Call(2, 1, 3, None, {}))


def test_a_device_that_holds_no_cluster_is_told():
    wide, some, none = code("rwkv-4", 256), Driver(num_clusters=1), Driver(num_clusters=0)
    device.loaded(wide, b"code", 3, some)
    sizes = [[16, 1, 1], [256, 1, 1], wide.shared_bytes]
    assert some.named("cuOccupancyMaxActiveClusters") == 2 * [sizes]
    message = "must hold a cluster of 16 blocks of .* shared memory, but got clusters=0"
    with pytest.raises(device.DeviceError, match=message):
        device.loaded(wide, b"code", 3, none)
    device.loaded(code("lstm", 7), b"code", 3, none)  # one block alone is no cluster
    device.loaded(code("min-gru", 1024), b"code", 3, none)  # nor are blocks that send nothing


def test_the_structure_of_a_launch_is_the_drivers():
    """CUlaunchConfig of cuda.h: seven unsigned ints, a gap, two pointers, an unsigned int."""
    assert _offsets() == [0, 12, 24, 32, 40, 48, 56]


def _offsets():
    fields = [getattr(device._Launch, name).offset for name, _ in device._Launch._fields_]
    return [*fields, ctypes.sizeof(device._Launch)]


HEADERS = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include"]
HEADERS += [Path(folder) / "nvidia" / "cu13" / "include" for folder in sys.path]
"""Where CUDA's toolkit and the package ``nvidia-cuda-runtime`` put cuda.h."""
DECLARED = """
#include <cuda.h>
#include <cstddef>
#include <cstdio>
#include <type_traits>
#define TEXT(name) #name
#define SYMBOL(name) TEXT(name)  // cuda.h renames what has a newer version
#define TAKING(...) CUresult (*)(__VA_ARGS__)
#define IS(function, ...) \\
  static_assert(std::is_same<decltype(&function), TAKING(__VA_ARGS__)>::value, #function)
typedef unsigned int U;
IS(cuCtxGetCurrent, CUcontext*);
IS(cuCtxSetCurrent, CUcontext);
IS(cuModuleLoadData, CUmodule*, const void*);
IS(cuModuleGetFunction, CUfunction*, CUmodule, const char*);
IS(cuFuncSetAttribute, CUfunction, CUfunction_attribute, int);
IS(cuOccupancyMaxActiveClusters, int*, CUfunction, const CUlaunchConfig*);
IS(cuLaunchKernel, CUfunction, U, U, U, U, U, U, U, CUstream, void**, void**);
IS(cuGetErrorName, CUresult, const char**);
IS(cuGetErrorString, CUresult, const char**);
#define AT(field) (int)offsetof(CUlaunchConfig, field)
int main() {
  const int numbers[] = {
      AT(gridDimX), AT(blockDimX), AT(sharedMemBytes), AT(hStream), AT(attrs), AT(numAttrs),
      sizeof(CUlaunchConfig), CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
      CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED};
  for (int number : numbers) std::printf("%d ", number);
  std::puts(SYMBOL(cuCtxGetCurrent) " " SYMBOL(cuCtxSetCurrent) " " SYMBOL(cuModuleLoadData) " "
            SYMBOL(cuModuleGetFunction) " " SYMBOL(cuFuncSetAttribute) " "
            SYMBOL(cuOccupancyMaxActiveClusters) " " SYMBOL(cuLaunchKernel) " "
            SYMBOL(cuGetErrorName) " " SYMBOL(cuGetErrorString));
}
"""


def test_what_is_asked_of_the_driver_is_as_its_header_declares_it(tmp_path, stream):
    """Structure, attributes, and every function by the name that the library has it under."""
    folders = [folder for folder in HEADERS if (folder / "cuda.h").exists()]
    if not folders or compiler.find() is None:
        pytest.skip("CUDA's headers or a compiler are not installed")
    file, binary = tmp_path / "declared.cpp", tmp_path / "declared"
    file.write_text(DECLARED)
    command = [*compiler.find(), "-std=c++17", f"-I{folders[0]}", str(file), "-o", str(binary)]
    subprocess.run(command, check=True)
    told = subprocess.run([str(binary)], capture_output=True, text=True, check=True).stdout.split()
    assert [int(number) for number in told[:9]] == [
        *_offsets(), device.MAX_DYNAMIC_SHARED_SIZE_BYTES, device.NON_PORTABLE_CLUSTER_SIZE_ALLOWED
    ]  # fmt: skip
    driver = Driver()
    device.loaded(code("rwkv-4", 256), b"code", 3, driver).forward(Call(2, 1, 3, None, {}))
    assert {name for name, *_ in driver.calls} | ERROR.keys() == set(told[9:])


@pytest.mark.parametrize(
    ("capability", "hidden_size", "message"),
    [
        ((7, 5), 7, r"a device must have compute capability 8.0 or more, but got 7.5"),
        ((8, 0), 256, "at most 166,912 bytes of shared memory on sm_80"),
    ],
)
def test_a_device_that_cannot_is_told(monkeypatch, capability, hidden_size, message):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: capability)
    told = SimpleNamespace(shared_memory_per_block_optin=166_912)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: told)
    plan = plan_of(Layer(cells.find("lstm"), hidden_size, 1, "float32"))
    with pytest.raises(device.DeviceError, match=message):
        device.kernels(plan, "float32", 0)


class OnCuda:
    """The engine on a GPU, its arguments and results on the CPU."""

    name = "persistent"

    def run(self, layer, parameters, inputs, state):
        engine.allow_tf32(layer.precision)
        parameters = {name: value.cuda() for name, value in parameters.items()}
        outputs, final = persistent.Persistent().run(
            layer, parameters, inputs.cuda(), tuple(s.cuda() for s in state)
        )
        return outputs.cpu(), tuple(s.cpu() for s in final)


@pytest.fixture
def on_cuda(monkeypatch):
    if nvrtc.find() is None:
        pytest.skip("NVRTC is not installed")
    monkeypatch.setattr(engine, "ENGINES", (OnCuda(), *engine.ENGINES))
    yield
    engine.allow_tf32("float32")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    ("name", "hidden", "precision"),
    [
        *(("lstm", hidden, precision) for hidden in (7, 256) for precision in LARGEST_ERRORS),
        *((name, 256, precision) for name in OTHERS for precision in ("float32", "tf32")),
        ("lstm", 512, "tf32"),
        ("lstm", 512, "float32"),
    ],
)
def test_a_cell_is_the_definitions_on_a_device(on_cuda, name, hidden, precision):
    if precision == "float64" and hidden == 256:
        hidden = 128  # numbers of twice the size
    for steps, batch in [(1, 1), (35, 32), (35, 33)]:
        given = case(
            name, steps=steps, runs=2, batch=batch, hidden=hidden, biases=2, inputs="tokens",
            scale=0.5 / hidden**0.5,
        ).to(precision)  # fmt: skip
        found = results("persistent", given)
        assert share_of_bounds(found, results("reference", given), precision) < 1
        assert_same(results("persistent", given), found)
