"""A source is compiled once and whole; whatever the code depends on is in its key; without a
compiler, one line.
"""

import ctypes
import os
import re
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import cells
from harness import cache as kept
from harness import engine
from harness.engine import beside
from harness.engine.cpu import compiler

FORTY_TWO = 'extern "C" int answer() { return 42; }\n'
ROOT = Path(__file__).parents[3]
ALONE = f"import sys\nsys.path.append({str(Path(compiler.__file__).parent)!r})\nimport compiler"
"""The module for another process, which need not wait for its package's torch."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test alone."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    return tmp_path / "engine"


@pytest.fixture
def commands(monkeypatch):
    """The commands that were run, but for those that ask the compiler for its version."""
    found, run = [], compiler._ended

    def recorded(command, *rest):
        if "--version" not in command:
            found.append(command)
        return run(command, *rest)

    monkeypatch.setattr(compiler, "_ended", recorded)
    return found


def libraries(cache):
    return sorted(path.name for path in cache.glob("*.so"))


def test_a_source_is_compiled_once(cache, commands):
    assert compiler.load("a", FORTY_TWO).answer() == 42
    assert compiler.load("a", FORTY_TWO).answer() == 42
    assert len(commands) == len(libraries(cache)) == 1
    assert libraries(cache)[0].startswith("a-")
    (source,) = cache.glob("*.cpp")
    assert source.read_text() == FORTY_TWO
    # And nothing half done.
    assert sorted(path.suffix for path in cache.iterdir()) == [".cpp", ".sha256", ".so"]


def test_defines_and_headers_reach_the_source():
    source = '#include "vector.h"\nextern "C" long answer() { return sizeof(real) * NUMBER; }\n'
    assert compiler.load("a", source, "REAL=double", "NUMBER=3").answer() == 24
    assert compiler.load("a", source, "REAL=float", "NUMBER=3").answer() == 12


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A compiler that writes an empty file, so that only the key is looked at; and a library that
    is not loaded.
    """
    script = tmp_path / "fake-compiler"

    def write(version, place=script):
        place.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo {version}\n'
            'while [ $# -gt 0 ]; do\n  [ "$1" = -o ] && : > "$2"\n  shift\ndone\n'
        )
        place.chmod(place.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CXX", str(place))
        compiler._version.cache_clear()

    write("1")
    monkeypatch.setattr(compiler.ctypes, "CDLL", lambda path: Path(path).name)
    yield write
    compiler._version.cache_clear()


def test_the_key_holds_all_that_the_code_depends_on(fake, monkeypatch, tmp_path):
    first = compiler.load("a", FORTY_TWO)
    assert compiler.load("a", FORTY_TWO) == first
    seen = {first}

    def new():
        key = compiler.load("a", FORTY_TWO)
        seen.add(key)
        return len(seen)

    seen.add(compiler.load("a", FORTY_TWO + " "))
    seen.add(compiler.load("a", FORTY_TWO, "REAL=float"))
    assert len(seen) == 3
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-g"))
        assert new() == 4
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_processor", lambda: "another")
        assert new() == 5
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_headers", lambda: "other headers")
        assert new() == 6
    fake("2")
    assert new() == 7
    fake("2", tmp_path / "another-compiler")
    assert new() == 8
    fake("1")
    assert new() == 8  # as at first


def test_the_headers_and_the_processor_are_read():
    assert "typedef REAL real;" in compiler._headers()
    assert len(compiler._processor()) > 3


def test_two_processes_at_once_leave_one_library(cache):
    program = textwrap.dedent(f"""
        compiler._version(tuple(compiler.find()))
        print("ready", flush=True)
        sys.stdin.readline()
        print(compiler.load("a", {FORTY_TWO!r}).answer(), flush=True)
    """)
    command = [sys.executable, "-c", ALONE + program]
    pipes = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "cwd": ROOT,
    }
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=600) for process in both]
    assert [out for out, _ in ends] == ["42\n"] * 2, ends
    assert len(libraries(cache)) == 1
    assert sorted(path.suffix for path in cache.iterdir()) == [".cpp", ".sha256", ".so"]


def test_both_of_two_that_found_no_library_compile_it_and_the_second_replaces_it_by_its_equal(
    cache, monkeypatch
):
    """The race itself, without its luck: both look before one writes."""
    monkeypatch.setattr(kept, "is_sound", lambda library: False)
    assert [compiler.load("a", FORTY_TWO).answer() for _ in range(2)] == [42, 42]
    assert len(libraries(cache)) == 1


def test_a_compile_that_is_interrupted_leaves_no_library(cache, monkeypatch):
    run = compiler._ended

    def interrupted(command, *rest):
        if "--version" in command:
            return run(command, *rest)
        Path(command[-1]).write_bytes(b"half of a library")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_ended", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compiler.load("a", FORTY_TWO)
    assert list(cache.iterdir()) == []
    assert compiler.load("a", FORTY_TWO).answer() == 42


def test_a_source_that_is_refused_says_why_and_leaves_nothing(cache):
    with pytest.raises(
        compiler.CompileError,
        match=r"(?s)must compile wrong-\w+, but said: .*error: .*undefined_name",
    ) as raised:
        compiler.load("wrong", 'extern "C" int answer() { return undefined_name; }')
    assert str(raised.value).startswith(compiler.find()[0])
    assert list(cache.iterdir()) == []


# Where there is no compiler.


def test_a_compiler_is_found_by_its_name_or_by_cxx(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    asked = []
    monkeypatch.setattr(compiler.shutil, "which", lambda name: asked.append(name))
    assert compiler.find() is None
    assert asked == ["g++", "clang++", "c++"]
    monkeypatch.setenv("CXX", "my-compiler")
    assert compiler.find() is None
    assert asked[3:] == ["my-compiler"]
    monkeypatch.setattr(compiler.shutil, "which", lambda name: f"/bin/{name}")
    assert compiler.find() == ["/bin/my-compiler"]
    monkeypatch.setenv("CXX", "ccache g++ -B/usr/bin")
    assert compiler.find() == ["/bin/ccache", "g++", "-B/usr/bin"]


@pytest.fixture
def without_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent")


def test_arms_are_compiled_at_once_and_as_they_are_run(monkeypatch):
    """What is asked of a cell with two biases compiles its code with two, and that is run then."""
    gathered, asked = threading.Barrier(2, timeout=300), []

    def code_for(layer):
        asked.append((layer.cell.name, layer.biases))
        gathered.wait()  # one after another would never get here

    monkeypatch.setattr("harness.engine.cpu.cpu.code_for", code_for)
    monkeypatch.setattr(beside, "cpu_count", lambda: 2)
    cell_pair = [cells.find("gru"), cells.find("lstm")]
    assert engine.resolve(cell_pair, "cpu", "float32", [1, 2]) == ("cpu", [])
    assert sorted(asked) == [("gru", 1), ("lstm", 2)]


@pytest.mark.usefixtures("without_compiler")
def test_without_a_compiler_the_engine_refuses_and_the_next_one_runs():
    assert compiler.find() is None
    refusal = "no C++ compiler was found (g++, clang++ or CXX)"
    peephole, lstm = cells.find("lstm-peephole"), cells.find("lstm")
    assert engine.get("cpu").refusal(peephole, "cpu", "float32") == refusal
    line = f"engine cpu: not used, {refusal}"
    assert engine.resolve([peephole, lstm], "cpu", "float32") == ("reference", [line])
    assert engine.resolve([lstm], "cpu", "float32") == ("native", [line])


def test_a_folder_that_cannot_be_written_is_a_refusal(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        compiler.CompileError, match=r"file/engine: must hold compiled code, but got error="
    ):
        compiler.load("a", FORTY_TWO)


def compiled_elsewhere(cache):
    """Returns a library that another process compiled: this one must not have it open."""
    program = f"{ALONE}; compiler.load('a', {FORTY_TWO!r})"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    (library,) = cache.glob("*.so")
    return library


def flipped(content):
    """Returns a library of the same length whose code is no code."""
    middle = len(content) // 2
    return (
        content[: middle - 64]
        + bytes(b ^ 0xFF for b in content[middle - 64 : middle + 64])
        + (content[middle + 64 :])
    )


@pytest.mark.parametrize("damage", [lambda content: content[:100], flipped, lambda content: b""])
def test_a_damaged_library_is_compiled_again(cache, damage):
    library = compiled_elsewhere(cache)
    library.write_bytes(damage(library.read_bytes()))
    assert compiler.load("a", FORTY_TWO).answer() == 42
    assert kept.is_sound(library)


@pytest.mark.parametrize("name", ["the checksum", "the mode"])
def test_a_library_that_may_not_be_ours_is_compiled_again(cache, commands, name):
    library = compiled_elsewhere(cache)
    if name == "the checksum":
        library.with_suffix(".sha256").unlink()
    else:
        library.chmod(0o777)
    assert compiler.load("a", FORTY_TWO).answer() == 42
    (compiling,) = commands
    assert compiling[0] == compiler.find()[0]
    assert stat.S_IMODE(library.stat().st_mode) == 0o700


def test_a_folder_that_others_may_write_to_is_closed(cache):
    cache.mkdir()
    cache.chmod(0o777)
    compiler.load("a", FORTY_TWO)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_a_folder_of_another_user_is_refused(cache, monkeypatch):
    cache.mkdir()
    monkeypatch.setattr(kept, "_TRUSTED", (cache.stat().st_uid + 1,))
    with pytest.raises(compiler.CompileError, match="must be a folder of the user who runs, but"):
        compiler.load("a", FORTY_TWO)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "limit", "work"),
    [
        ('[ "$1" = --version ] || exec sleep 60', "COMPILE_SECONDS", r"compile a-\w+"),
        ("exec sleep 60", "VERSION_SECONDS", "say its version"),
    ],
)
def test_a_compiler_that_hangs_is_ended_and_named(
    cache, monkeypatch, tmp_path, script, limit, work
):
    slow = tmp_path / "slow-compiler"
    slow.write_text(f"#!/bin/sh\n{script}\n")
    slow.chmod(0o700)
    monkeypatch.setenv("CXX", str(slow))
    monkeypatch.setattr(compiler, limit, 0.2)
    with pytest.raises(compiler.CompileError, match=f"slow-compiler must {work} within"):
        compiler.load("a", FORTY_TWO)
    assert not list(cache.glob("*"))


def test_what_a_killed_process_left_is_removed_a_day_later(cache):
    for name, age in (("making-old", kept.STALE_SECONDS + 60), ("making-new", 0)):
        (cache / name).mkdir(parents=True)
        when = time.time() - age
        os.utime(cache / name, (when, when))
    compiler.load("a", FORTY_TWO)
    assert [path.name for path in cache.glob("making-*")] == ["making-new"]


@pytest.mark.usefixtures("without_compiler")
def test_without_a_compiler_loading_says_what_to_install():
    words = re.escape("no C++ compiler was found. Install g++ or clang++, or set CXX.")
    with pytest.raises(compiler.CompileError, match=f"^{words}$"):
        compiler.load("a", FORTY_TWO)


def test_a_library_of_the_cache_is_a_library(cache):
    compiler.load("a", FORTY_TWO)
    assert ctypes.CDLL(str(cache / libraries(cache)[0])).answer() == 42
