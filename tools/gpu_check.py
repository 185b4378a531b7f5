"""What can be known of engine `gpu` on a machine without a GPU; ``make gpu-check``.

All kernels of all cells, and the optimizers' step, are compiled for every architecture, and all
cells run forward and backward in Triton's interpreter beside the definition. The exit code is 1
where a kernel does not compile, is compiled anew for other t, T, N or B, or spills more registers
than are borne, or where a cell computes something else.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import gpu_kernels
import torch
import triton
from gpu_kernels import OPTIMIZER, Job, Kernel
from kernel_file import text_of

import cells
from harness import provenance

ROOT = Path(__file__).resolve().parent.parent
INTERPRETER = ROOT / "tests" / "engine" / "gpu" / "interpreted.py"
SIZES = ((256, "float32"), (1024, "float32"), (256, "bf16"), (7, "float64"))
"""Kernels in tf32 are those in float32: they take no part in products."""
ARCHITECTURES = (90, 80)
BORNE = {"float64": 16}
"""Bytes of spilled registers in a precision that a thread may have; they are told all the same.

That is two numbers of float64, whose values take two registers each and in which nothing is timed:
ptxas of one version spills them and that of the next does not. In others any spill is a problem.
"""
MOST_NAMED = 20
"""Of what is wrong; the JSON holds all of it."""


def compiled(jobs: Sequence[Job], processes: int) -> Iterator[list[Kernel]]:
    """Yields the kernels of each job as they come, compiled by so many processes at once."""
    if processes == 1:
        yield from map(gpu_kernels.compile_job, jobs)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(gpu_kernels.compile_job, jobs)


def problems(kernels: Sequence[Kernel]) -> list[str]:
    """Returns what is wrong with kernels, a line each."""
    lines = []
    for kernel in kernels:
        if kernel.problem is not None:
            lines.append(f"{_where(kernel)}: {kernel.problem}")
        elif kernel.num_versions != 1:
            lines.append(
                f"{_where(kernel)}: compiled {kernel.num_versions} times over t, T, N and B"
            )
        elif kernel.stack_bytes > BORNE.get(kernel.precision, 0):
            lines.append(f"{_where(kernel)}: {kernel.stack_bytes} bytes of registers spilled")
    return lines


def borne(kernels: Sequence[Kernel]) -> list[str]:
    """Returns a line for each kernel whose spill is too small to be a problem."""
    return [
        f"{_where(kernel)}: {kernel.stack_bytes} bytes of registers spilled, which is no problem "
        f"up to {BORNE[kernel.precision]}"
        for kernel in kernels
        if kernel.problem is None and 0 < kernel.stack_bytes <= BORNE.get(kernel.precision, 0)
    ]


def _where(kernel: Kernel) -> str:
    size = f" H={kernel.hidden_size}" if kernel.cell != OPTIMIZER else ""
    return f"sm_{kernel.architecture} {kernel.cell}{size} {kernel.precision} {kernel.name}"


def summary(kernels: Sequence[Kernel]) -> list[str]:
    """Returns a line for each architecture."""
    lines = []
    for architecture in sorted({kernel.architecture for kernel in kernels}, reverse=True):
        of_it = [kernel for kernel in kernels if kernel.architecture == architecture]
        names = {kernel.cell for kernel in of_it} - {OPTIMIZER}
        made = [kernel for kernel in of_it if kernel.problem is None]
        widest = max(made, key=lambda kernel: kernel.registers, default=None)
        most = (
            "no registers"
            if widest is None
            else f"most registers {widest.registers} ({widest.cell}, H={widest.hidden_size}, "
            f"{widest.precision}, {widest.name})"
        )
        lines.append(
            f"sm_{architecture}: {len(names)} cells, {len(made)} kernels, "
            f"{len(of_it) - len(made)} failures, "
            f"{sum(kernel.num_versions > 1 for kernel in made)} compiled anew over t, T, N and B, "
            f"{sum(kernel.stack_bytes > 0 for kernel in made)} with spills; {most}, most shared "
            f"memory {max((kernel.shared_bytes for kernel in made), default=0)} bytes"
        )
    return lines


def interpreted(names: Sequence[str], processes: int) -> list[str]:
    """Returns what differs from the definition in Triton's interpreter, a line each."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in (".", "tests"))
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": paths}

    def run(part: Sequence[str]) -> list[str]:
        command = [sys.executable, str(INTERPRETER), *part]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        told = done.stdout.splitlines()
        if done.returncode and not told:
            told = [f"the interpreter ended with {done.returncode}: {done.stderr.strip()[-300:]}"]
        return told

    parts = [part for k in range(processes) if (part := names[k::processes])]
    with ThreadPoolExecutor(processes) as pool:
        return [line for told in pool.map(run, parts) for line in told]


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--cells", type=lambda text: text.split(","), help="default: all")
    parser.add_argument(
        "--architectures",
        type=lambda text: [int(number) for number in text.split(",")],
        default=ARCHITECTURES,
        help="such as 90,80 (the default)",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="file for a row of every kernel")
    parser.add_argument("--only", choices=("compile", "interpret"))
    options = parser.parse_args(words)
    options.cells = options.cells or list(cells.names())
    if unknown := sorted(set(options.cells) - set(cells.names())):
        parser.error(f"cells must be in the registry, but got {', '.join(unknown)}")
    if options.jobs < 1:
        parser.error(f"jobs must be 1 at least, but got {options.jobs}")
    return options


def main(words: Sequence[str]) -> int:
    """Checks, prints what was found and returns the exit code."""
    options, begun = parse(words), time.monotonic()
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance.describe("cpu"),
        "triton": triton.__version__,
    }
    print(f"torch {torch.__version__}, triton {triton.__version__}, commit {facts['git_commit']}")
    kernels: list[Kernel] = []
    wrong: list[str] = []

    def write() -> None:
        facts["seconds"] = str(round(time.monotonic() - begun))
        if options.json is not None:
            options.json.write_text(text_of(facts, wrong, kernels), encoding="utf-8")

    for architecture in options.architectures if options.only != "interpret" else ():
        jobs = [
            Job(name, cells.find(name), size, precision, architecture)
            for size, precision in SIZES
            for name in options.cells
        ]
        made = list(itertools.chain.from_iterable(compiled(jobs, options.jobs)))
        made += gpu_kernels.optimizer_kernels(architecture)
        kernels += made
        wrong += problems(made)
        print("\n".join([*summary(made), *borne(made)]), flush=True)
        write()
    if options.only != "compile":
        differing = interpreted(options.cells, options.jobs)
        wrong += differing
        facts["cells_interpreted"] = str(len(options.cells))
        print(f"interpreter: {len(options.cells)} cells, {len(differing)} differences")
    write()
    print("\n".join(wrong[:MOST_NAMED]) or f"all is well ({facts['seconds']} s)")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
