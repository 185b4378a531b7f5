"""Each cell named, and each corner, as threads of the host beside the definition; tools run it.

A line for what differs; the exit code is then 1.
"""

import sys

import torch
from agreement import case, differences
from corner_cells import CORNERS
from odd_cells import ODD_CELLS

import cells
from harness import engine
from harness.engine.persistent import loop, persistent
from harness.engine.persistent.tiling import Tiling

CASES = (
    dict(steps=5, runs=2, batch=9, biases=2, inputs="tokens"),
    dict(steps=1, runs=1, batch=1, biases=2, inputs="rows"),
)


def main(names):
    ours = persistent.Persistent(("cpu",), lambda hidden_size: Tiling(hidden_size, 4, 2))
    engine.ENGINES = (ours, *engine.ENGINES)
    loop._empty = lambda shape, like: like.new_full(shape, torch.nan)
    wanted = {name: cells.find(name) for name in names} | CORNERS | ODD_CELLS
    found = False
    for name, cell in wanted.items():
        if ours.refusal(cell, "cpu", "float64"):
            continue
        for kind in CASES:
            for line in differences("persistent", case(cell, hidden=7, **kind)):
                found = True
                print(f"{name}: {line}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
