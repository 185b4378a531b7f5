"""Runs a kernel: all threads of a cluster step by step, those that are together at once."""

import numpy as np

from ptx.cluster import Cluster
from ptx.counts import Counts
from ptx.instructions import compiled
from ptx.memory import Device, Fault
from ptx.program import Program


def launch(
    device: Device,
    program: Program,
    parameters: bytes,
    grid: tuple[int, int, int],
    num_threads: int,
    shared_bytes: int,
    counts: Counts | None = None,
) -> None:
    """Runs a kernel to its end, one cluster after another.

    Args:
        device: What the kernel reaches.
        program: The kernel.
        parameters: As a driver hands them over.
        grid: Blocks along x, y, z; a cluster is ``program.cluster_size`` of them along x.
        num_threads: Of a block.
        shared_bytes: Of a block, filled with NaN.
        counts: Where its costs are added, if they are wanted.

    Raises:
        Fault: The kernel does what a device would not forgive.
        PtxError: The kernel has an instruction that is unknown.
    """
    if len(parameters) != program.parameters[""]:
        raise Fault(f"{program.name} must get {program.parameters['']} bytes of parameters.")
    if program.num_threads and num_threads > program.num_threads:
        raise Fault(f"{program.name} must get at most {program.num_threads} threads.")
    if grid[0] % program.cluster_size or max(grid[1:]) > 65_535:
        raise Fault(f"{program.name}: a grid must hold whole clusters, but got {grid=}.")
    actions = [[compiled(one) for one in block] for block in program.blocks]
    number = 0
    with np.errstate(all="ignore"):
        for z in range(grid[2]):
            for y in range(grid[1]):
                for x in range(0, grid[0], program.cluster_size):
                    at = (x, y, z)
                    shape = (num_threads, shared_bytes, number)
                    Cluster(device, program, parameters, grid, at, shape, counts).run(actions)
                    number += 1
