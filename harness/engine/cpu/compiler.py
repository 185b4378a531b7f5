"""Compiles C++ once: a cache keyed by what a library depends on.

That is the source, its headers, the flags, the compiler and the processor.
"""

import ctypes
import functools
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness import cache
from harness.engine import ending

KERNELS = Path(__file__).parent / "kernels"
FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
    "-pthread",
)


ROUND = 16
"""Rows of buffers are whole multiples of it, so that no loop has a remainder."""
SLICE = 16
"""Rows of a batch whose sums one thread takes together.

So the sums are the same on any number of threads.
"""
DEPTH = 192
"""Rows of one pass of a product over rows.

The backward pass takes as many rows of time steps before it multiplies their gradients: few enough
to stay in a core's cache.
"""
OPERATIONS_BETWEEN_MEETINGS = 100_000
"""The operations of a time step that make a second thread worth its meetings."""
OPERATIONS_PER_THREAD = 8_000_000
"""The arithmetic operations of a call that make a second thread worth its wake-up."""

SIZES = {
    "ROUND": ROUND,
    "SLICE": SLICE,
    "DEPTH": DEPTH,
    "OPERATIONS_PER_THREAD": OPERATIONS_PER_THREAD,
}
"""What C++ and Python must agree on: macros of every source."""


INCLUDED = re.compile(r'^#include "(\w+\.inc)"$', re.MULTILINE)
"""A line of a source that stands for another file."""

COMPILE_SECONDS = 600
"""So long a compiler may take; the largest cell takes some seconds."""
VERSION_SECONDS = 60
"""So long it may take to say its version."""


class CompileError(RuntimeError):
    """There is no compiler, or it refused the source."""


def find() -> list[str] | None:
    """Returns the C++ compiler's command, None without a compiler.

    It is what CXX says, else g++, clang++ or c++.
    """
    wanted = os.environ.get("CXX")
    for command in [shlex.split(wanted)] if wanted else [["g++"], ["clang++"], ["c++"]]:
        if command and (path := shutil.which(command[0])):
            return [path, *command[1:]]
    return None


def source_of(name: str) -> str:
    """Returns a file of :data:`KERNELS` with the ``.inc`` files that it includes, in their places.

    So whatever its library depends on is in its source, and the headers.
    """
    text = (KERNELS / name).read_text(encoding="utf-8")
    return INCLUDED.sub(lambda line: source_of(line[1]), text)


def load(name: str, source: str, *defines: str) -> ctypes.CDLL:
    """Returns the loaded library, compiled where the cache does not hold it.

    Args:
        name: Begins the file's name, for a person who looks into the cache.
        source: C++ that may include the headers beside ``products.cpp``.
        *defines: Macros beside :data:`SIZES`: ``REAL=float``.

    Raises:
        CompileError: It cannot be compiled, or the cache folder cannot be written; the message says
            why.
    """
    compiler = find()
    if compiler is None:
        raise CompileError("no C++ compiler was found. Install g++ or clang++, or set CXX.")
    macros = [*(f"{name}={size}L" for name, size in SIZES.items()), *defines]
    command = [*compiler, *FLAGS, *(f"-D{macro}" for macro in macros), f"-I{KERNELS}"]
    key = [source, _headers(), *command, _version(tuple(compiler)), _processor()]
    library = cache.compiled_file(name, key, ".so")

    def make(source_file: Path, made: Path) -> None:
        _run_compiler([*command, str(source_file), "-o", str(made)], library.stem)

    try:
        cache.make_once(library, library.with_suffix(".cpp"), source, make)
        return ctypes.CDLL(str(library))
    except cache.CacheError as error:
        raise CompileError(str(error)) from error
    except OSError as error:
        raise CompileError(
            f"{library}: must be loaded, but got error={str(error)!r}. "
            "Name a cache elsewhere with HARNESS_CACHE."
        ) from error


def _run_compiler(command: list[str], name: str) -> None:
    done = _ended(command, f"compile {name}", COMPILE_SECONDS)
    if done.returncode != 0:
        raise CompileError(
            f"{command[0]} must compile {name}, but said: {done.stderr.strip()[-2000:]}"
        )


def _ended(command: list[str], what: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Returns a compiler that has ended; one that hangs is ended and named."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A group of its own, since g++ has other programs do the work; it may not read a terminal then.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, **pipes) as process:
        try:
            _running.add(process)
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise CompileError(
                f"{command[0]} must {what} within {seconds} s, but did not. "
                "Set CXX to another compiler."
            ) from error
        finally:
            _kill(process)
            _running.discard(process)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


_running: set["subprocess.Popen[str]"] = set()


@ending.at_end
def _end_compilers() -> None:
    """Ends what works for a thread that the process's end does not wait for."""
    for process in list(_running):
        _kill(process)


def _kill(process: "subprocess.Popen[str]") -> None:
    """Ends a compiler and what it has started; does nothing to one that has ended."""
    if process.returncode is None:  # else its number may be another's by now
        with suppress(ProcessLookupError, PermissionError):  # it is ending
            os.killpg(process.pid, signal.SIGKILL)


@functools.cache
def _headers() -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(KERNELS.glob("*.h")))


@functools.cache
def _version(compiler: tuple[str, ...]) -> str:
    return _ended([*compiler, "--version"], "say its version", VERSION_SECONDS).stdout


@functools.cache
def _processor() -> str:
    """Returns what ``-march=native`` depends on.

    Home folders may be shared by machines with other processors.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
