"""No thread reads what another one may still write: by ThreadSanitizer, on the host's threads."""

import functools
import os
import subprocess

import pytest

import cells
from harness.engine import Layer
from harness.engine.cpu import compiler
from harness.engine.persistent.source import plan_of, source
from harness.engine.persistent.tiling import Tiling

CELLS = {
    "lstm": "one product",
    "lstm-on": "sums of a row and up to each unit besides",
    "rwkv-4": "two groups of products, an operand that has one place",
    "lstm-mogrifier": "seven groups, whose parts share their memory",
}
PRECISIONS = {"float64": 2, "bf16": 32}
"""Threads of a block: those of a warp make a product in bf16, where two units share a word."""
RACE = "WARNING: ThreadSanitizer: data race"
MAIN = """
int main() {{
  static real tensors[{count}][5000];
  for (auto& tensor : tensors)
    for (real& number : tensor) number = real(0.1);
  Arguments a{{}};
  a.runs = 2, a.steps = 3, a.batch = 9;
  real (*next)[5000] = tensors;
{arguments}
  forward(&a);
  backward(&a);
}}
"""


@functools.cache
def has_sanitizer():
    command = [*(compiler.find() or ["g++"]), "-fsanitize=thread", "-xc++", "-", "-o", os.devnull]
    try:
        return subprocess.run(command, input="int main() {}", text=True).returncode == 0
    except OSError:
        return False


@pytest.fixture(autouse=True)
def needs_sanitizer():
    if not has_sanitizer():
        pytest.skip("no ThreadSanitizer")


def program(name, precision="float64"):
    """A program that runs both kernels of a cell by three blocks."""
    plan = plan_of(Layer(cells.find(name), 7, 2, precision))
    code = source(plan, precision, Tiling(7, 3, PRECISIONS[precision]))
    arguments = "\n".join(f"  a.{pointer} = *next++;" for pointer in code.pointers)
    return code.on("host") + MAIN.format(count=len(code.pointers), arguments=arguments)


def told(text, folder):
    """What a run of the program tells of races; nothing where there are none."""
    file, binary = folder / "program.cpp", folder / "program"
    file.write_text(text)
    options = ["-std=c++17", "-O1", "-fsanitize=thread", "-pthread"]
    subprocess.run([*compiler.find(), *options, str(file), "-o", str(binary)], check=True)
    environment = os.environ | {"TSAN_OPTIONS": "halt_on_error=1"}
    for _ in range(50):
        done = subprocess.run([str(binary)], env=environment, capture_output=True, text=True)
        if "unexpected memory mapping" not in done.stderr:  # each run draws anew
            break
    assert done.returncode == 0 or RACE in done.stderr, done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_no_two_threads_meet(name, tmp_path):
    assert told(program(name), tmp_path) == ""


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_barrier_that_is_missing_is_seen(tmp_path, precision):
    """The one behind which a block reads what all blocks have sent it."""
    text = program("lstm", precision)
    assert told(text, tmp_path) == ""
    barrier, product = "    block.cluster_wait();\n", "    product<12,"
    assert text.count(barrier + product) == 1
    assert RACE in told(text.replace(barrier + product, product), tmp_path)
