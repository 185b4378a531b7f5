"""A layer's compiled functions: traced, scheduled, written, compiled once, and kept."""

import ctypes
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.engine.base import Layer
from harness.engine.beside import begin, outcome
from harness.engine.cpu import compiler, cpp
from harness.engine.cpu.interface import Interface
from harness.engine.cpu.products import PLAIN, REAL, optimizer_step, products
from harness.engine.rounding import dtype_of
from harness.engine.tracing.schedule import schedule
from harness.engine.tracing.trace import trace, vector_names


@dataclass(frozen=True)
class Code:
    """A layer's compiled functions and what they take.

    Attributes:
        interface: Their buffers and pointers.
        matrices: Name -> gates that it feeds.
        vectors: (parameter, block of H units in it).
        forward: The first function.
        backward: The second.
        can_split_units: Whether threads may share the units of all rows.
        kernels: The products.
        table: The address of those that the functions call.
    """

    interface: Interface
    matrices: dict[str, int]
    vectors: tuple[tuple[str, int], ...]
    forward: Callable[..., None]
    backward: Callable[..., None]
    can_split_units: bool
    kernels: ctypes.CDLL
    table: int

    @property
    def written(self) -> set[str]:
        """The parameters whose gradient the second function writes."""
        return {"W", "b", *self.matrices, *(name for name, _ in self.vectors)}


_tracing, _shared = threading.Lock(), threading.Lock()


def code_for(layer: Layer) -> Code:
    """Returns the compiled functions of a layer.

    They come from memory, from the cache folder, or from the compiler. Threads that ask for one
    layer wait for the first; those that ask for others compile beside it.
    """
    layer = replace(layer, threads=1)
    with _lock_of(layer):
        return _code(layer)


@functools.cache
def _lock_of(layer: Layer) -> threading.Lock:
    return threading.Lock()


def _shared_libraries(precision: str) -> ctypes.CDLL:
    """Returns the compiled products; the optimizer's step and the draws are compiled too."""
    dtype = dtype_of(precision)
    with _shared:
        optimizer_step(dtype)
        products(PLAIN[dtype])
        return products(precision)


@functools.lru_cache(maxsize=256)
def _code(layer: Layer) -> Code:
    cell = layer.cell
    matrices = {name: len(gates) for name, gates in cell.recurrent_products().items()}
    vectors = vector_names(layer)
    biased = tuple(g for g in cell.gates if g not in cell.unbiased)
    # Side by side, since the first cell of a machine would wait for one compiler after another.
    kernels = begin(functools.partial(_shared_libraries, layer.precision))
    with _tracing:
        emitter = cpp.Emitter(
            schedule(trace(layer)), matrices, vectors, cell.gates, cell.state,
            biased, cell.noise, cell.reads_input,
        )  # fmt: skip
        source = emitter.source()
    real = REAL[dtype_of(layer.precision)]
    library = compiler.load(cell.name, source, f"REAL={real}")
    for function in (library.forward, library.backward):
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p], None
    compiled = outcome(kernels)
    return Code(
        interface=emitter.interface,
        matrices=matrices,
        vectors=tuple(_vector_block(layer, name) for name in vectors),
        forward=library.forward,
        backward=library.backward,
        can_split_units=emitter.can_split_units,
        kernels=compiled,
        table=compiled.kernels(),
    )


def _vector_block(layer: Layer, name: str) -> tuple[str, int]:
    """Returns the parameter that holds a vector, and which block of it that is.

    A vector is a parameter, or one gate of a recurrent bias.
    """
    parameter, _, gate = name.partition(".")
    specs = layer.cell.parameters(1, layer.hidden_size, layer.biases)
    gates = next(spec.gates for spec in specs if spec.name == parameter)
    return parameter, gates.index(gate)
