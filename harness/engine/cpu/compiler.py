"""Compiles C++ once: a cache keyed by what a library depends on.

That is the source, its headers, the flags, the compiler and the processor.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness.cache import cache_folder

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
OPERATIONS_PER_THREAD = 30_000_000
"""The arithmetic operations of a call that make a second thread worth its wake-up."""

SIZES = {
    "ROUND": ROUND,
    "SLICE": SLICE,
    "DEPTH": DEPTH,
    "OPERATIONS_PER_THREAD": OPERATIONS_PER_THREAD,
}
"""What C++ and Python must agree on: macros of every source."""


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


def load(name: str, source: str, *defines: str) -> ctypes.CDLL:
    """Returns the loaded library, compiled where the cache does not hold it.

    Two processes may compile the same source at once: each writes a file of its own and renames it.

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
    key = hashlib.sha256(
        "\0".join([source, _headers(), *command, _version(tuple(compiler)), _processor()]).encode()
    )
    library = cache_folder() / "engine" / f"{name}-{key.hexdigest()[:24]}.so"
    try:
        if library.exists():
            try:
                return ctypes.CDLL(str(library))
            except OSError:  # cut off by a full disk, say
                library.unlink()
        _compile(command, source, library)
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise CompileError(
            f"{library.parent}: must hold compiled code, but got error={str(error)!r}."
        ) from error


def _compile(command: list[str], source: str, library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        source_file, library_file = (
            Path(folder) / f"{library.stem}.cpp",
            Path(folder) / library.name,
        )
        source_file.write_text(source, encoding="utf-8")
        done = subprocess.run(
            [*command, str(source_file), "-o", str(library_file)], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise CompileError(
                f"{command[0]} must compile {library.stem}, but said: {done.stderr.strip()[-2000:]}"
            )
        # The source lies beside the library, for whoever wants to read it.
        os.replace(source_file, library.with_suffix(".cpp"))
        os.replace(library_file, library)


@functools.cache
def _headers() -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(KERNELS.glob("*.h")))


@functools.cache
def _version(compiler: tuple[str, ...]) -> str:
    return subprocess.run([*compiler, "--version"], capture_output=True, text=True).stdout


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
