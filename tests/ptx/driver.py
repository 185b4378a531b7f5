"""A stand-in for CUDA's driver: it takes PTX for machine code, and runs it when it is launched."""

import ctypes
from collections.abc import Callable, Iterable

import numpy as np

from ptx.counts import Counts
from ptx.machine import launch
from ptx.memory import Device, Fault
from ptx.program import programs

MAX_DYNAMIC_SHARED_SIZE_BYTES, NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 8, 14
WITHOUT_ASKING = {"shared_bytes": 49_152, "cluster_size": 8}
"""What a kernel may have that has not asked for more."""


class Driver:
    """The functions that a launch needs, of which each returns 0; a fault is raised.

    Args:
        tensors: Gives the arrays that a kernel may reach, with their names, when it is launched.
        counts: Gives where a kernel's costs are added, by its name, if they are wanted.
    """

    def __init__(
        self,
        tensors: Callable[[], Iterable[tuple[str, np.ndarray]]],
        counts: Callable[[str], Counts | None] = lambda name: None,
    ):
        self._tensors, self._counts = tensors, counts
        self._programs, self._asked = [], {}

    def cuCtxGetCurrent(self, context):
        context._obj.value = 1
        return 0

    def cuCtxSetCurrent(self, context):
        return 0

    def cuModuleLoadData(self, module, image):
        self._programs.append(programs(image.decode()))
        module._obj.value = len(self._programs)
        return 0

    def cuModuleGetFunction(self, function, module, name):
        program = self._programs[module.value - 1][name.decode()]
        function._obj.value = handle = 1 + len(self._asked)
        self._asked[handle] = (program, {})
        return 0

    def cuFuncSetAttribute(self, function, attribute, value):
        self._asked[function.value][1][attribute] = value
        return 0

    def cuOccupancyMaxActiveClusters(self, count, function, config):
        count._obj.value = 1
        return 0

    def cuLaunchKernel(self, function, *arguments):
        *sizes, _, parameters, _ = arguments
        grid, (num_threads, *others), shared_bytes = sizes[:3], sizes[3:6], sizes[6]
        program, asked = self._asked[function.value]
        if others != [1, 1]:
            raise Fault(f"{program.name}: threads must be along x, but got {others}.")
        most = asked.get(MAX_DYNAMIC_SHARED_SIZE_BYTES, WITHOUT_ASKING["shared_bytes"])
        if shared_bytes > most:
            raise Fault(f"{program.name} must ask for {shared_bytes} bytes, but asked for {most}.")
        is_wide = program.cluster_size > WITHOUT_ASKING["cluster_size"]
        if is_wide and not asked.get(NON_PORTABLE_CLUSTER_SIZE_ALLOWED):
            raise Fault(f"{program.name} must ask for {program.cluster_size} blocks of a cluster.")
        device = Device()
        given = np.frombuffer(ctypes.string_at(parameters[0], program.parameters[""]), np.int64)
        numbers = given.copy()
        for name, array in self._tensors():
            numbers[given == array.ctypes.data] = device.hold(array, name)
        launch(
            device,
            program,
            numbers.tobytes(),
            tuple(grid),
            num_threads,
            shared_bytes,
            self._counts(program.name),
        )
        return 0
