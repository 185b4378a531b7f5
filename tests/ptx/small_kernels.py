"""Kernels of a few lines, for the machine's own tests."""

import struct

from ptx.machine import launch
from ptx.memory import Device
from ptx.program import programs

THREADS = 64


def kernel(body, registers="", directives=""):
    """A kernel of four addresses, of which a thread's own numbers begin at %rd1 to %rd4."""
    own = "\n".join(
        f"ld.param.u64 %rd{k}, [k_param_{k - 1}];\nmad.wide.u32 %rd{k}, %r1, 8, %rd{k};"
        for k in (1, 2, 3, 4)
    )
    parameters = ", ".join(f".param .u64 k_param_{k}" for k in range(4))
    text = f"""
.version 8.0
.target sm_90
.extern .shared .align 16 .b8 shared[];
.visible .entry k({parameters})
{directives}
{{
.reg .pred %p<9>;
.reg .b32 %r<40>;
.reg .f32 %f<40>;
.reg .b64 %rd<40>;
.reg .f64 %fd<40>;
{registers}
mov.u32 %r1, %tid.x;
{own}
{body}
ret;
}}
"""
    return programs(text)["k"]


def run(body, *arrays, threads=THREADS, shared_bytes=1024, grid=(1, 1, 1), **others):
    """Runs a kernel of up to four arrays, of which each thread's part has 8 bytes."""
    device = Device()
    addresses = [device.hold(array, f"array {k}") for k, array in enumerate(arrays)]
    addresses += [0] * (4 - len(addresses))
    launch(
        device, kernel(body, **others), struct.pack("4q", *addresses), grid, threads, shared_bytes
    )
