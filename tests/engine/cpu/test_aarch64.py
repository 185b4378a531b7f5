"""The generated code on another processor: cross-compiled for aarch64, and run by an emulator.

The emulated program gets the memory that a call would touch, and what it changed is written back:
all else is the engine as it is.
"""

import ctypes
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from agreement import assert_agrees, case
from variant_steps import COMPILED, together

import cells
from harness.engine.cpu import call, compiler, cpp
from harness.engine.cpu.products import REAL
from harness.engine.tracing.schedule import schedule
from harness.engine.tracing.trace import trace, vector_names

COMPILER, EMULATOR, LIBRARIES = "aarch64-linux-gnu-g++", "qemu-aarch64", "/usr/aarch64-linux-gnu"
STRETCH = 1 << 15
"""Bytes from a pointer on that a call of these sizes may touch, and more."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which(COMPILER) and shutil.which(EMULATOR)),
        reason="no cross compiler and emulator of aarch64",
    ),
]


def source_of(layer):
    cell = layer.cell
    matrices = {name: len(gates) for name, gates in cell.recurrent_products().items()}
    biased = tuple(gate for gate in cell.gates if gate not in cell.unbiased)
    return cpp.Emitter(
        schedule(trace(layer)),
        matrices,
        vector_names(layer),
        cell.gates,
        cell.state,
        biased,
        cell.noise,
        cell.reads_input,
    ).source()


def built(layer, folder, products):
    """The program of a layer's functions."""
    (folder / "layer.cpp").write_text(source_of(layer))
    program = folder / "program"
    driver = Path(__file__).with_name("emulated.cpp")
    compiled([folder / "layer.cpp", driver, products], "-o", program)
    return program


def compiled(sources, *options):
    flags = [f for f in compiler.FLAGS if f not in ("-march=native", "-shared", "-O3")]
    macros = [f"-D{name}={size}L" for name, size in compiler.SIZES.items()]
    macros.append(f"-DREAL={REAL[torch.float64]}")
    command = [COMPILER, *flags, "-O1", *macros, f"-I{compiler.KERNELS}", *sources, *options]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    made = tmp_path_factory.mktemp("aarch64") / "products.o"
    compiled([compiler.KERNELS / "products.cpp"], "-c", "-o", made)
    return made


def readable(addresses):
    """The memory behind addresses, (start, bytes) without gaps: what is not mapped is left out."""
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        found = []
        for start in sorted(addresses):
            if found and start <= found[-1][0] + len(found[-1][1]):
                known, content = found.pop()
                more = max(0, start + STRETCH - known - len(content))
                content += os.pread(memory, more, known + len(content)) if more else b""
                found.append((known, content))
            else:
                found.append((start, os.pread(memory, STRETCH, start)))
        return found
    finally:
        os.close(memory)


def emulated(program, is_backward, folder, lengths, pointers):
    """Calls a function in the emulator, and writes back what it changed."""
    *given, _ = pointers  # the last ones are the kernels, which the program has itself
    stretches = readable({p for p in given if p})
    places = []
    for pointer in given:
        at = [k for k, (start, _) in enumerate(stretches) if pointer and start <= pointer]
        places += [at[-1], pointer - stretches[at[-1]][0]] if at else [-1, 0]
    sizes = [len(content) for _, content in stretches]
    numbers = [is_backward, len(lengths), len(given), len(stretches), *lengths, *places, *sizes]
    file = folder / "memory"
    before = b"".join(content for _, content in stretches)
    head = (ctypes.c_int64 * len(numbers))(*numbers)
    file.write_bytes(bytes(head) + before)
    subprocess.run([EMULATOR, "-L", LIBRARIES, program, file], check=True)
    after = file.read_bytes()[len(bytes(head)) :]
    first = 0
    for start, content in stretches:
        for k, (old, new) in enumerate(zip(content, after[first:], strict=False)):
            if old != new:
                ctypes.memset(start + k, new, 1)
        first += len(content)


@pytest.mark.parametrize(
    ("cell", "hidden"),
    [
        (cells.find("lstm-peephole"), 7),
        (cells.find("gru-reset-before"), 16),
        (together(COMPILED), 7),
    ],
    ids=["lstm-peephole", "gru-reset-before", "variants"],
)
def test_generated_code_is_the_definition_on_aarch64(cell, hidden, products, tmp_path, monkeypatch):
    given = case(cell, steps=2, batch=2, hidden=hidden, inputs="tokens")
    program = built(given.layer, tmp_path, products)
    own, calls = call.code_for, []

    def code_for(layer):
        code = own(layer)

        def function(is_backward):
            def emulate(lengths, pointers):
                calls.append(is_backward)
                emulated(program, is_backward, tmp_path, list(lengths), list(pointers))

            return emulate

        return replace(code, forward=function(0), backward=function(1))

    monkeypatch.setattr(call, "code_for", code_for)
    call.plan.cache_clear()
    assert_agrees("cpu", given)
    call.plan.cache_clear()
    assert calls == [0, 1]
