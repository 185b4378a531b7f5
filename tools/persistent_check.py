"""What the one-kernel recurrences take of a GPU that is not there; ``make persistent-check``.

All cells' two kernels are compiled by NVRTC for every architecture: registers, shared memory,
spills. All cells run beside the definition, as threads of the host and as NVRTC's text for sm_90 on
a machine for PTX, which also counts what a time step costs. The exit code is 1 where a kernel that
fits does not compile, or where a cell computes something else or does what a device would not
forgive. NVRTC is no part of the lock (90 MB): ``make nvrtc``, or a build of torch for CUDA.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from kernel_file import text_of

import cells
from harness import provenance
from harness.engine import Layer
from harness.engine.persistent import nvrtc
from harness.engine.persistent.coverage import capacity, fitted, uncovered
from harness.engine.persistent.source import plan_of
from harness.engine.tracing.trace import untraceable

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "engine" / "persistent"
ON_HOST, ON_PTX = TESTS / "every_cell.py", TESTS / "every_cell_emulated.py"
COSTLY = ("lstm", "gru", "rnn-tanh", "rnn-relu", "gru-reset-before", "lstm-layer-norm")
"""Cells of which a time step's costs are counted."""
SIZES = tuple(
    (architecture, hidden_size, precision)
    for architecture, hidden_size in ((90, 256), (80, 64))
    for precision in ("float32", "tf32", "bf16")
)
"""(architecture, H, precision)."""
MOST_NAMED = 20
"""Of what is wrong; the JSON holds all of it."""


@dataclass(frozen=True)
class Kernel:
    """One direction of a cell, or why there is none.

    Attributes:
        cell: Its name.
        architecture: 90 for sm_90.
        hidden_size: H.
        precision: Of products' operands.
        name: ``forward`` or ``backward``; empty where there is no kernel.
        refusal: Why engine ``persistent`` leaves the cell to engine ``gpu``.
        problem: What NVRTC says where it does not compile.
        num_blocks: Of a cluster.
        shared_bytes: Of a block.
        registers: Of a thread.
        spill_bytes: Of a thread.
        stack_bytes: Of a thread.
    """

    cell: str
    architecture: int
    hidden_size: int
    precision: str
    name: str = ""
    refusal: str | None = None
    problem: str | None = None
    num_blocks: int = 0
    shared_bytes: int = 0
    registers: int = 0
    spill_bytes: int = 0
    stack_bytes: int = 0


def compiled(cell: str, architecture: int, hidden_size: int, precision: str) -> list[Kernel]:
    """Returns a cell's kernels, or one row that says why there are none."""
    where = (cell, architecture, hidden_size, precision)
    kind = cells.find(cell)
    if reason := untraceable(kind, precision):
        return [Kernel(*where, refusal=reason)]
    plan = plan_of(Layer(kind, hidden_size, 2, precision))
    if reason := uncovered(plan):
        return [Kernel(*where, refusal=reason)]
    code = fitted(plan, precision, architecture)
    if reason := capacity(code, architecture):
        return [Kernel(*where, refusal=reason)]
    try:
        found = nvrtc.compile_for(code.on("device"), architecture).resources
    except nvrtc.NvrtcError as error:
        return [Kernel(*where, problem=str(error))]
    return [
        Kernel(
            *where,
            name,
            num_blocks=code.tiling.num_blocks,
            shared_bytes=code.shared_bytes,
            **asdict(resources),
        )
        for name, resources in sorted(found.items())
    ]


def problems(kernels: Sequence[Kernel]) -> list[str]:
    """Returns what does not compile, a line each."""
    return [
        f"sm_{kernel.architecture} {kernel.cell} H={kernel.hidden_size} {kernel.precision}: "
        f"{kernel.problem}"
        for kernel in kernels
        if kernel.problem is not None
    ]


def summary(kernels: Sequence[Kernel]) -> str:
    """Returns a line about the kernels of one architecture, size and precision."""
    first, made = kernels[0], [kernel for kernel in kernels if kernel.name]
    refused = [kernel.cell for kernel in kernels if kernel.refusal]
    spilled = [f"{kernel.cell} {kernel.name}" for kernel in made if kernel.spill_bytes]
    widest = max(made, key=lambda kernel: kernel.registers, default=None)
    most = "none" if widest is None else f"{widest.registers} ({widest.cell}, {widest.name})"
    return (
        f"sm_{first.architecture} H={first.hidden_size} {first.precision}: "
        f"{len({kernel.cell for kernel in made})} cells compiled, {len(refused)} refused, "
        f"{sum(kernel.problem is not None for kernel in kernels)} failures, "
        f"{len(spilled)} with spills; most registers {most}, "
        f"most shared memory {max((kernel.shared_bytes for kernel in made), default=0):,} bytes"
        + (f"; refused: {', '.join(refused)}" if refused else "")
        + (f"; spilled: {', '.join(spilled)}" if spilled else "")
    )


def table(kernels: Sequence[Kernel]) -> list[str]:
    """Returns a row of Markdown for each architecture, size and precision."""
    rows = []
    for size in dict.fromkeys((k.architecture, k.hidden_size, k.precision) for k in kernels):
        of_size = [k for k in kernels if (k.architecture, k.hidden_size, k.precision) == size]
        made = [kernel for kernel in of_size if kernel.name]
        refused = [kernel.cell for kernel in of_size if kernel.refusal]
        spilled = [
            f"{k.cell}, {k.name}, {k.spill_bytes} bytes" for k in made if k.spill_bytes
        ]  # fmt: skip
        widest = max(made, key=lambda kernel: kernel.registers)
        cells = (
            f"sm_{size[0]}",
            str(size[1]),
            size[2],
            str(len({kernel.cell for kernel in made})),
            ", ".join(refused) or "none",
            str(sum(kernel.problem is not None for kernel in of_size)),
            "; ".join(spilled) or "none",
            f"{widest.registers} ({widest.cell}, {widest.name})",
            f"{max(kernel.shared_bytes for kernel in made):,} bytes",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def told(program: Path, *words: str) -> list[str]:
    """Returns the lines that a program of the tests prints, or why it ended."""
    # What lies on the path of this process, as another NVRTC, is the program's too.
    paths = [str(ROOT), str(ROOT / "tests"), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(program), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if done.returncode and not lines:
        lines = [f"{program.name} ended with {done.returncode}: {done.stderr.strip()[-300:]}"]
    return lines


def cost_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a row of Markdown for each kernel whose time step was counted."""
    texts = [[f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()] for row in rows]
    return [f"| {' | '.join(row)} |" for row in texts]


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--cells", type=lambda text: text.split(","), help="default: all")
    parser.add_argument("--json", type=Path, help="file for a row of every kernel")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="compilers at once")
    options = parser.parse_args(words)
    options.cells = options.cells or list(cells.names())
    if unknown := sorted(set(options.cells) - set(cells.names())):
        parser.error(f"cells must be in the registry, but got {', '.join(unknown)}")
    if nvrtc.find() is None:
        parser.error("NVRTC must be installed: make nvrtc")
    return options


def main(words: Sequence[str]) -> int:
    """Compiles, prints what was found and returns the exit code."""
    options, begun = parse(words), time.monotonic()
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance.describe("cpu"),
        "nvrtc": nvrtc.version(),
    }
    print(f"NVRTC {facts['nvrtc']}, commit {facts['git_commit']}")
    kernels: list[Kernel] = []
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        for size in SIZES:
            found = pool.map(compiled, options.cells, *map(itertools.repeat, size))
            made = list(itertools.chain.from_iterable(found))
            print(summary(made), flush=True)
            kernels += made
    print("\n".join(table(kernels)), flush=True)
    wrong = problems(kernels)
    for where, program in {"on the host": ON_HOST, "as PTX": ON_PTX}.items():
        lines = told(program, *options.cells)
        print(f"{where}: {len(lines)} differences", flush=True)
        wrong += lines
    counted = [name for name in COSTLY if name in options.cells]
    costs = [json.loads(line) for line in told(ON_PTX, "--costs", *counted)]
    print("\n".join(cost_table(costs)), flush=True)
    facts["seconds"] = str(round(time.monotonic() - begun))
    if options.json is not None:
        options.json.write_text(text_of(facts, wrong, kernels, costs), encoding="utf-8")
    print("\n".join(wrong[:MOST_NAMED]) or f"all is well ({facts['seconds']} s)")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
