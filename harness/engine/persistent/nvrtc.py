"""Compiles the kernels for a GPU, which need not be there: NVRTC, then what ``ptxas`` says of them.

NVRTC comes with torch's builds for CUDA; alone it is the package ``nvidia-cuda-nvrtc``. What it
compiles is kept as the CPU engine's libraries are.
"""

import ctypes
import ctypes.util
import functools
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from harness import cache

PACKAGED, CONDA = "nvidia/**/libnvrtc.so.*", "lib/libnvrtc.so.*"
"""Where packages put it, below a folder of ``sys.path``, and conda, below that of Python."""
OPTIONS = ("--std=c++17", "--fmad=true", "--ptxas-options=--verbose")


class NvrtcError(RuntimeError):
    """There is no NVRTC, or it refused the source."""


@dataclass(frozen=True)
class Resources:
    """What a kernel takes of a device.

    Attributes:
        registers: A thread's.
        spill_bytes: What a thread stores in memory since its registers do not suffice.
        stack_bytes: What a thread has in memory besides.
    """

    registers: int
    spill_bytes: int
    stack_bytes: int


@dataclass(frozen=True)
class Compiled:
    """Machine code for one architecture.

    Attributes:
        code: What a driver loads.
        resources: By the kernel's name.
    """

    code: bytes
    resources: dict[str, Resources]


@functools.cache
def find() -> str | None:
    """Returns NVRTC's library, None where neither a package nor the system has it.

    Of several it is torch's own, or one of the same CUDA: a driver that is new enough for torch
    need not load what another CUDA compiles.
    """
    cuda = torch.version.cuda
    folders = [Path(torch.__file__).parents[1]] if cuda else []
    folders += [Path(folder or ".") for folder in sys.path]
    found = [path for folder in folders for path in sorted(folder.glob(PACKAGED))]
    found += sorted(Path(sys.prefix).glob(CONDA))
    if name := ctypes.util.find_library("nvrtc"):
        found.append(Path(name))
    alike = f"libnvrtc.so.{cuda.partition('.')[0]}" if cuda else "libnvrtc.so"
    own = [path for path in found if path.name.startswith(alike)]
    return next((str(path) for path in (*own, *found)), None)


def architectures() -> list[int]:
    """Returns for what NVRTC compiles, in ascending order: 90 for sm_90.

    Raises:
        NvrtcError: There is none, or it does not say.
    """
    count = ctypes.c_int()
    counted = _library().nvrtcGetNumSupportedArchs(ctypes.byref(count))
    _checked(counted, "count its architectures")
    found = (ctypes.c_int * count.value)()
    _checked(_library().nvrtcGetSupportedArchs(found), "tell its architectures")
    return list(found)


@functools.cache
def version() -> str:
    """Returns NVRTC's version, as 12.9.86: what it writes at the head of a text for PTX.

    ``nvrtcVersion`` leaves out the last number, which a correction of the compiler changes.

    Raises:
        NvrtcError: There is none, or it writes no version.
    """
    head = _made("", [], "PTX")[0].decode()
    found = re.search(r"V(\d+\.\d+\.\d+)", head)
    if found is None:
        raise NvrtcError(f"NVRTC must write its version into PTX, but got {head[:200]!r}.")
    return found[1]


@functools.cache
def _library() -> ctypes.CDLL:
    path = find()
    if path is None:
        raise NvrtcError(
            "NVRTC was not found. Install nvidia-cuda-nvrtc, or a build of torch for CUDA."
        )
    try:
        # NVRTC opens this one by its name alone, and 13.0 does not look beside itself.
        for builtins in Path(path).parent.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins))
        return ctypes.CDLL(path)
    except OSError as error:
        raise NvrtcError(f"NVRTC must load, but got {error}.") from error


def _checked(code: int, what: str, log: str = "") -> None:
    if code:
        raise NvrtcError(f"NVRTC must {what}, but returned {code}. {log}".rstrip())


def image(name: str, text: str, architecture: int) -> bytes:
    """Returns the machine code of a source, compiled where the cache does not hold it.

    Args:
        name: Begins the file's name, for a person who looks into the cache.
        text: CUDA C++.
        architecture: 90 for sm_90.

    Raises:
        NvrtcError: There is no NVRTC, or it refuses, or the cache cannot be written.
    """
    key = [text, version(), *_options(architecture)]
    file = cache.compiled_file(name, key, ".cubin")

    def make(source: Path, made: Path) -> None:
        made.write_bytes(compile_for(text, architecture).code)

    try:
        cache.make_once(file, file.with_suffix(".cu"), text, make)
        return file.read_bytes()
    except (cache.CacheError, OSError) as error:
        raise NvrtcError(str(error)) from error


def _options(architecture: int) -> list[str]:
    return [f"--gpu-architecture=sm_{architecture}", *OPTIONS]


def compile_for(text: str, architecture: int) -> Compiled:
    """Returns the machine code of a source for the device.

    Args:
        text: CUDA C++.
        architecture: 90 for sm_90.

    Raises:
        NvrtcError: There is no NVRTC, or it does not know the architecture, or it refuses; the
            message holds what it said.
    """
    known = architectures()
    if architecture not in known:
        raise NvrtcError(
            f"NVRTC must know sm_{architecture}, but got version={version()}, which knows sm_"
            f"{', '.join(map(str, known))}. Install a build of torch whose CUDA knows it."
        )
    code, log = _made(text, _options(architecture), "CUBIN")
    return Compiled(code, resources(log))


def ptx(text: str, architecture: int) -> str:
    """Returns what NVRTC writes before it becomes machine code, which a person can read.

    Raises:
        NvrtcError: There is no NVRTC, or it refuses; the message holds what it said.
    """
    return _made(text, _options(architecture), "PTX")[0].decode().rstrip("\0")


def _made(text: str, options: list[str], what: str) -> tuple[bytes, str]:
    """Returns what NVRTC makes of a source, ``CUBIN`` or ``PTX``, and its log."""
    library, program = _library(), ctypes.c_void_p()
    source = text.encode()
    created = library.nvrtcCreateProgram(
        ctypes.byref(program), source, b"recurrence.cu", 0, None, None
    )
    _checked(created, "take the source")
    try:
        encoded = [option.encode() for option in options]
        done = library.nvrtcCompileProgram(
            program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded)
        )
        log = _read(program, "ProgramLog").decode(errors="replace").rstrip("\0")
        _checked(done, f"compile with {' '.join(options)}", log[-2000:])
        return _read(program, what), log
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _read(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _checked(getattr(_library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)), "end")
    buffer = ctypes.create_string_buffer(size.value)
    _checked(getattr(_library(), f"nvrtcGet{what}")(program, buffer), "end")
    return buffer.raw


def resources(log: str) -> dict[str, Resources]:
    """Returns what ``ptxas`` says of each kernel in its log.

    A kernel of which it says this in other words is left out: the machine code is good all the
    same.
    """
    found = {}
    for part in re.split(r"Compiling entry function ", log)[1:]:
        name = re.match(r"'(\w+)'", part)
        registers = re.search(r"Used (\d+) registers", part)
        memory = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", part)
        if name and registers and memory:
            stack, stores = map(int, memory.groups())
            found[name[1]] = Resources(int(registers[1]), stores, stack)
    return found
