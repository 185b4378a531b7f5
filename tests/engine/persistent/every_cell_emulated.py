"""Each cell named, and each corner, as NVRTC makes it, beside the definition; tools run it.

It prints a line for what differs and for what a device would not forgive; the exit code is then 1.
With ``--costs`` it prints what a time step of a block costs instead, a JSON object a line.
"""

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import emulated
import torch
from agreement import case, results, share_of_bounds
from corner_cells import CORNERS
from odd_cells import ODD_CELLS
from ptx.counts import Counts
from ptx.memory import Fault
from ptx.program import PtxError

import cells
from harness import engine
from harness.engine import Layer
from harness.engine.persistent import loop, persistent
from harness.engine.persistent.passes import exchanges
from harness.engine.persistent.source import plan_of
from harness.engine.persistent.tiling import Tiling

SHAPES = (
    (Tiling(20, 4), "float64"),
    (Tiling(20, 4), "float32"),
    (Tiling(40, 2), "tf32"),
    (Tiling(20, 4), "bf16"),
)
COSTLY = (Tiling(256, 8), ("float32", "tf32", "bf16"))


def problems(name: str) -> list[str]:
    """What differs or is not forgiven, a line each."""
    found = []
    for tile, precision in SHAPES:
        where = f"{name} H={tile.hidden_size} {precision}"
        try:
            share = _share(name, tile, precision)
        except (Fault, PtxError) as error:
            found.append(f"{where}: {error}")
            continue
        if share is not None and not share < 1:
            found.append(f"{where}: differs by {share:.3g} times what may be")
    return found


def _share(name: str, tile: Tiling, precision: str) -> float | None:
    cell = _cells()[name]
    if _engine(tile).refusal(cell, "cpu", precision):
        return None
    plan = plan_of(Layer(cell, tile.hidden_size, 2, precision))
    _engine(replace(tile, exchanges=exchanges(plan)))
    scale = 0.3 / (tile.hidden_size / 7) ** 0.5
    sizes = dict(steps=3, runs=2, batch=9, hidden=tile.hidden_size, biases=2)
    given = case(cell, inputs="tokens", scale=scale, **sizes).to(precision)
    with emulated.in_place_of_the_hosts():
        return share_of_bounds(results("persistent", given), results("reference", given), precision)


def costs(name: str) -> list[str]:
    """What a time step of a block costs: the difference of four and of three time steps."""
    tile, precisions = COSTLY
    rows = []
    for precision in precisions:
        three, four = (_counts(name, tile, precision, steps) for steps in (3, 4))
        for kernel, all_steps in four.items():
            step = all_steps - three[kernel]
            per_block = {
                "instructions of a warp": sum(step.issued.values()) / (tile.num_threads // 32),
                "shared memory, cycles": sum(step.cycles.values()),
                "of them by conflicts": sum(step.cycles.values()) - sum(step.least.values()),
                "other memory, pieces of 32 bytes": sum(step.sectors.values()),
            }
            row = dict(cell=name, hidden_size=tile.hidden_size, precision=precision, kernel=kernel)
            row |= {what: round(total / tile.num_blocks) for what, total in per_block.items()}
            rows.append(json.dumps(row))
    return rows


def _counts(name: str, tile: Tiling, precision: str, steps: int) -> dict[str, Counts]:
    _engine(tile)
    counts = {"forward": Counts(), "backward": Counts()}
    given = case(
        name, steps=steps, runs=1, batch=8, hidden=tile.hidden_size, inputs="tokens", scale=0.05
    ).to(precision)
    with emulated.in_place_of_the_hosts(counts=counts.get):
        results("persistent", given)
    return counts


def _cells() -> dict[str, type]:
    return {name: cells.find(name) for name in cells.names()} | CORNERS | ODD_CELLS


def _engine(tile: Tiling) -> persistent.Persistent:
    """Puts an engine of this tiling in place of the registered one."""
    ours = persistent.Persistent(("cpu",), lambda hidden_size: tile)
    engine.ENGINES = (ours, *(e for e in engine.ENGINES if e.name != ours.name))
    loop._empty = lambda shape, like: like.new_full(shape, torch.nan)
    return ours


def lines(names: list[str]) -> Iterator[str]:
    """What is told of all cells, by as many processes as there are cores."""
    work = costs if names[:1] == ["--costs"] else problems
    wanted = names[1:] if work is costs else [*names, *CORNERS, *ODD_CELLS]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for told in pool.map(work, wanted):
            yield from told


if __name__ == "__main__":
    any_line = False
    for line in lines(sys.argv[1:]):
        any_line = True
        print(line, flush=True)
    sys.exit(1 if any_line and sys.argv[1:2] != ["--costs"] else 0)
