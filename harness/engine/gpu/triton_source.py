"""Triton source of pointwise pieces: one kernel a piece, one program of it a row of H units.

Values that vary over H are a block of the next power of two, masked; values of a row, and numbers,
are scalars.
"""

import functools
import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Iterable
from types import ModuleType

import torch

from harness.cache import cache_folder
from harness.engine.gpu.launches import Buffer, Buffers, Call, Layout, Load, Piece, Place
from harness.engine.tracing.program import Node

TYPES = {torch.float32: "tl.float32", torch.float64: "tl.float64"}

EXPRESSIONS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "divided({}, {})",
    "neg": "-{}",
    "abs": "tl.abs({})",
    "sign": "tl.where({0} > 0.0, one, zero) - tl.where({0} < 0.0, one, zero)",
    "minimum": "tl.minimum({}, {}, propagate_nan=tl.PropagateNan.ALL)",
    "maximum": "tl.maximum({}, {}, propagate_nan=tl.PropagateNan.ALL)",
    "where": "tl.where({}, {}, {})",
    "sqrt": "root({})",
    "rsqrt": "libdevice.rsqrt({})",
    "exp": "libdevice.exp({})",
    "expm1": "libdevice.expm1({})",
    "log": "libdevice.log({})",
    "log1p": "libdevice.log1p({})",
    "sigmoid": "divided(one, one + libdevice.exp(-{}))",
    "tanh": "libdevice.tanh({})",
    "sin": "libdevice.sin({})",
    "cos": "libdevice.cos({})",
    "atan": "libdevice.atan({})",
    "erf": "libdevice.erf({})",
    "fmod": "libdevice.fmod({}, {})",
    "cumsum": "tl.cumsum({}, axis=0)",
    "roll": ("tl.gather({0}, unit - {1}.to(tl.int32) + tl.where(unit < {1}, {size}, 0), axis=0)"),
    "flip": "tl.gather({0}, tl.where(mask, {size} - 1 - unit, 0), axis=0)",
    "part": "tl.where((unit >= {2}) & (unit < {3}), {0}, {1})",
    "lt": "{} < {}",
    "le": "{} <= {}",
    "eq": "{} == {}",
    "and": "{} & {}",
    "or": "{} | {}",
    "not": "~{}",
    "row_sum": "tl.sum(tl.where(mask, {}, zero), axis=0)",
    "row_max": 'tl.reduce(tl.where(mask, {}, float("-inf")), 0, larger)',
}
"""OPERATIONS in Triton, as :data:`harness.engine.tracing.program.OPERATIONS` means them.

Triton's own exp and sqrt are approximations; so is its division of float32, and it has no tanh:
those of CUDA's libdevice keep to 1 or 2 units in the last place.
"""

HEADER = """import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def larger(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def divided(a, b):
    return {divided}


@triton.jit
def root(x):
    return {root}


@triton.jit
def rounded(x):
    return x.to(tl.bfloat16)
"""
EXACT = {
    torch.float32: {"divided": "tl.div_rn(a, b)", "root": "tl.sqrt_rn(x)"},
    torch.float64: {"divided": "a / b", "root": "tl.sqrt(x)"},
}

START = """

@triton.jit(do_not_specialize=[{integers}])
def {name}({arguments}, {parameters}):
    row = tl.program_id(0).to(tl.int64)
    n = row // B
    b = row % B
    unit = tl.arange(0, {block})
    mask = unit < {size}
    zero = tl.full((), 0.0, {dtype})
    one = tl.full((), 1.0, {dtype})
"""
ONCE = ("t", "T", "B")
"""The numbers that a kernel of one time step takes."""
ALL = ("first", "count", "stride", "T", "B")
"""Those that a kernel of all time steps takes."""
LOOP = """    for k in range(count):
        t = first + k * stride
"""
END_OF_LOOP = """        tl.debug_barrier()  # what the next time step reads is written
"""


@functools.lru_cache(maxsize=256)
def kernels(plan: Layout, dtype: torch.dtype) -> ModuleType:
    """Returns the kernels of a layout's pieces, by their names."""
    return loaded(source(plan, dtype))


def loaded(text: str) -> ModuleType:
    """Returns the module of that text.

    Triton reads a function's text from its file, so there is one, in the cache folder, named by its
    content.
    """
    name = f"pieces_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    path = cache_folder() / "engine" / f"{name}.py"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False
        ) as file:
            file.write(text)
        os.replace(file.name, path)  # two processes may write it at once
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bind(module: ModuleType, buffers: Buffers, sizes: tuple[int, ...], piece: Piece) -> Call:
    """Returns what launches the piece's kernel; ``sizes`` begin with N, T, B."""
    num_runs, num_steps, batch_size = sizes[:3]
    kernel = getattr(module, piece.name)[(num_runs * batch_size,)]
    arguments = [buffers[buffer.name] for buffer in _used(piece)]
    num_warps = max(1, min(8, _block(piece.hidden_size) // 128))

    options = {"num_warps": num_warps, "enable_fp_fusion": True}

    def each(times: range) -> None:
        for t in times:
            kernel(*arguments, t, num_steps, batch_size, **options)

    def all_at_once(times: range) -> None:
        # One stage: no load of a later time step may be moved before what this one writes.
        numbers = times.start, len(times), times.step, num_steps, batch_size
        kernel(*arguments, *numbers, num_stages=1, **options)

    return all_at_once if piece.is_alone else each


def source(plan: Layout, dtype: torch.dtype) -> str:
    """Returns a module with a kernel for every pointwise piece; equal layouts give equal text."""
    pieces = [step for step in (*plan.forward, *plan.backward) if isinstance(step, Piece)]
    return text_of(pieces, dtype)


def text_of(pieces: Iterable[Piece], dtype: torch.dtype) -> str:
    """Returns a module with a kernel for each of the pieces."""
    return HEADER.format(**EXACT[dtype]) + "".join(_kernel(piece, TYPES[dtype]) for piece in pieces)


def _kernel(piece: Piece, dtype: str) -> str:
    places = dict.fromkeys(piece.places())
    starts = {f"{_start(p)} = {_address(p.buffer, p.ahead)}": None for p in places}
    lines = [*starts, *(_load(load) for load in piece.loads)]
    known = {load.index: load.node for load in piece.loads} | dict(piece.nodes)
    lines += [f"v{i} = {_value(node, known, dtype, piece.hidden_size)}" for i, node in piece.nodes]
    lines += [_store(place, i, known) for place, i in piece.stores]
    arguments = ", ".join(_name(buffer) for buffer in _used(piece))
    size, parameters = piece.hidden_size, ALL if piece.is_alone else ONCE
    head = START.format(
        name=piece.name,
        arguments=arguments,
        integers=", ".join(f'"{name}"' for name in parameters),
        parameters=", ".join(parameters),
        block=_block(size),
        size=size,
        dtype=dtype,
    )
    if not piece.is_alone:
        return head + "".join(f"    {line}\n" for line in lines)
    return head + LOOP + "".join(f"        {line}\n" for line in lines) + END_OF_LOOP


def _used(piece: Piece) -> list[Buffer]:
    return list(dict.fromkeys(place.buffer for place in piece.places()))


def _block(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _name(buffer: Buffer) -> str:
    return buffer.name.replace(".", "_")


def _start(place: Place) -> str:
    return f"{_name(place.buffer)}_{place.ahead}"


def _address(buffer: Buffer, ahead: int) -> str:
    """Returns where this program's row of a buffer begins at t + ahead."""
    if buffer.shared:
        return f"{_name(buffer)} + n * {buffer.width}"
    time = f"(t + {ahead})" if ahead else "t"
    if buffer.per_step:
        length = f"(T + {buffer.extra})" if buffer.extra else "T"
        return f"{_name(buffer)} + ((n * {length} + {time}) * B + b) * {buffer.width}"
    position = f"n * {buffer.extra} + {time} % {buffer.extra}"
    return f"{_name(buffer)} + (({position}) * B + b) * {buffer.width}"


def _load(load: Load) -> str:
    units = "" if load.node.kind == "row" else " + unit, mask=mask, other=0.0"
    value = " + ".join(f"tl.load({_start(place)} + {place.first}{units})" for place in load.places)
    return f"v{load.index} = {value} != 0.0" if load.node.boolean else f"v{load.index} = {value}"


def _value(node: Node, known: dict[int, Node], dtype: str, size: int) -> str:
    if node.op == "constant":
        return f'tl.full((), float("{node.value!r}"), {dtype})'
    if node.op.startswith("row_") and known[node.args[0]].kind in ("row", "scalar"):
        return f"v{node.args[0]}"  # H is 1
    return EXPRESSIONS[node.op].format(*(f"v{a}" for a in node.args), size=size)


def _store(place: Place, i: int | None, known: dict[int, Node]) -> str:
    value = "zero" if i is None else f"tl.where(v{i}, one, zero)" if known[i].boolean else f"v{i}"
    value = f"rounded({value})" if place.buffer.is_rounded else value
    if i is not None and known[i].kind == "row" and place.width == 1:
        return f"tl.store({_start(place)} + {place.first}, {value})"
    return f"tl.store({_start(place)} + {place.first} + unit, {value}, mask=mask)"
