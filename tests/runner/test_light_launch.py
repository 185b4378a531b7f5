"""What a launch that trains does without, and how its process ends; all of it in one launch."""

import subprocess
import sys

import pytest
import small_study

TELL = """
import atexit, gc, sys
needless = {"sympy", "scipy.stats"}
atexit.register(lambda: print("searched:", len(gc.get_objects()) > 1000))
atexit.register(lambda: print("loaded:", *sorted(needless & set(sys.modules))))
sys.argv = ["harness", *sys.argv[1:]]
from harness.cli import main
main()
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    folder = tmp_path_factory.mktemp("light")
    path = small_study.write(folder, trials=2, updates=8)
    command = [sys.executable, "-c", TELL, "run", str(path), "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Compared with narrow" in done.stdout
    return done.stdout.splitlines()


def test_a_launch_loads_neither_sympy_nor_what_scipy_has_of_statistics(said):
    assert "loaded:" in said


def test_the_interpreters_end_searches_none_of_the_objects_that_imports_made(said):
    assert "searched: False" in said
