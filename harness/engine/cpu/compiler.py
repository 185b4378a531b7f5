"""Compiles C++ once: a cache keyed by what a library depends on.

That is the source, its headers, the flags, the compiler and the processor.
"""

import ctypes
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
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
PRIVATE = 0o700
"""The mode of the folder and of the libraries: whoever may write there runs code as the user."""
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
MAKING = "making-"
"""Begins the names of folders in which a library is being made."""
STALE_SECONDS = 24 * 3600
"""So old is a half-made library whose maker was killed."""


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
        _make_private(library.parent)
        if not is_sound(library):
            _compile(command, source, library)
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise CompileError(
            f"{library.parent}: must hold compiled code, but got error={str(error)!r}."
        ) from error


def _make_private(folder: Path) -> None:
    """Makes the folder of the libraries one that only its owner writes to.

    Raises:
        CompileError: It is another user's: what lies there is not to be run.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
    found = folder.stat()
    if found.st_uid not in _TRUSTED:
        raise CompileError(
            f"{folder}: must be a folder of the user who runs, but got uid={found.st_uid}. "
            "Name another with HARNESS_CACHE."
        )
    if found.st_mode & WRITABLE_BY_OTHERS and found.st_uid == os.geteuid():
        folder.chmod(PRIVATE)


_TRUSTED = (os.geteuid(), 0) if hasattr(os, "geteuid") else ()


def is_sound(library: Path) -> bool:
    """Returns whether a library is there that may be run: ours, and as it was compiled.

    A library that was cut off or damaged would not raise: its process ends by a signal.
    """
    try:
        found, content = library.stat(), library.read_bytes()
        checksum = checksum_file(library).read_text(encoding="ascii")
    except (OSError, ValueError):
        return False
    is_ours = found.st_uid in _TRUSTED and not found.st_mode & WRITABLE_BY_OTHERS
    return is_ours and checksum == hashlib.sha256(content).hexdigest()


def checksum_file(library: Path) -> Path:
    """Returns the file that holds a library's checksum; earlier versions wrote none."""
    return library.with_suffix(".sha256")


def _compile(command: list[str], source: str, library: Path) -> None:
    """Compiles a library into the cache, whole: it is on the disk before it has its name."""
    _remove_stale(library.parent)
    with tempfile.TemporaryDirectory(prefix=MAKING, dir=library.parent) as folder:
        made = Path(folder) / library.name
        source_file, its_checksum = made.with_suffix(".cpp"), checksum_file(made)
        source_file.write_text(source, encoding="utf-8")
        _run_compiler([*command, str(source_file), "-o", str(made)], library.stem)
        made.chmod(PRIVATE)
        its_checksum.write_text(hashlib.sha256(made.read_bytes()).hexdigest(), encoding="ascii")
        # The source lies beside the library, for whoever wants to read it.
        for file in (source_file, its_checksum, made):
            with file.open("rb") as content:
                os.fsync(content.fileno())
            os.replace(file, library.with_suffix(file.suffix))


def _run_compiler(command: list[str], name: str) -> None:
    done = _ended(command, f"compile {name}", COMPILE_SECONDS)
    if done.returncode != 0:
        raise CompileError(
            f"{command[0]} must compile {name}, but said: {done.stderr.strip()[-2000:]}"
        )


def _ended(command: list[str], what: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Returns a compiler that has ended; one that hangs is ended and named."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise CompileError(
            f"{command[0]} must {what} within {seconds} s, but did not. "
            "Set CXX to another compiler."
        ) from error


def _remove_stale(folder: Path) -> None:
    """Removes what killed processes left half made."""
    for path in folder.glob(f"{MAKING}*"):
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        except FileNotFoundError:  # another process was faster
            continue


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
