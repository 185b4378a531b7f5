"""Wrong cells, made mechanically from right ones by rewriting the source of `step`."""

import ast
import contextlib
import inspect
import itertools
import sys
import textwrap
from dataclasses import dataclass, field
from unittest import mock

import torch

from cells.base import Cell, split_gates
from harness.engine import reference


@dataclass(frozen=True)
class Mutant:
    """A wrong cell, or a right one in a wrong engine: `context` is entered while it runs."""

    label: str
    cell: type
    context: contextlib.AbstractContextManager = field(default_factory=contextlib.nullcontext)


def rewritten(cell, *transformers):
    """The cell with `step` rewritten by `ast.NodeTransformer`s."""
    tree = _step_of(cell)
    for transformer in transformers:
        tree = ast.fix_missing_locations(transformer.visit(tree))
    names = vars(sys.modules[cell.__module__]) | {
        f.__name__: f for f in (rebuilt, transposed, turned, without_bias)
    }
    exec(compile(tree, f"<mutant of {cell.name}>", "exec"), names)
    return type(f"{cell.__name__}Mutant", (cell,), {"step": names["step"], "__doc__": cell.__doc__})


def _step_of(cell):
    return ast.parse(textwrap.dedent(inspect.getsource(cell.step)))


@dataclass
class SwapInputs(ast.NodeTransformer):
    """`x.i` and `x.f` change places: each gate gets the other's W x + b."""

    one: str
    other: str

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "x":
            node.attr = {self.one: self.other, self.other: self.one}.get(node.attr, node.attr)
        return node


@dataclass
class SwapUses(ast.NodeTransformer):
    """Where the value `i` is read, `f` is, and the other way round."""

    one: str
    other: str

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Load):
            node.id = {self.one: self.other, self.other: self.one}.get(node.id, node.id)
        return node


@dataclass
class Detach(ast.NodeTransformer):
    """The state loses its history at the step's entry."""

    state: str

    def visit_FunctionDef(self, node):
        node.body.insert(0, ast.parse(f"{self.state} = {self.state}.detach()").body[0])
        return node


@dataclass
class Drop(ast.NodeTransformer):
    """`p.v`, or `x.input`, counts as 0."""

    owner: str
    name: str

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if (
            isinstance(node.value, ast.Name)
            and node.value.id == self.owner
            and node.attr == self.name
        ):
            return ast.BinOp(node, ast.Mult(), ast.Constant(0))
        return node


@dataclass
class WrapProduct(ast.NodeTransformer):
    """`p.R(h)` becomes `wrapper(p.R, gates, h)`."""

    product: str
    gates: tuple
    wrapper: str

    def visit_Call(self, node):
        self.generic_visit(node)
        if not (isinstance(node.func, ast.Attribute) and node.func.attr == self.product):
            return node
        gates = ast.Constant(self.gates)
        return ast.Call(ast.Name(self.wrapper, ast.Load()), [node.func, gates, *node.args], [])


def _matrices(product, gates, h):
    """Each gate's matrix (..., H, H) and bias (..., 1, H), read off the product itself."""
    identity = torch.eye(h.shape[-1], dtype=h.dtype).expand(*h.shape[:-2], -1, -1)
    at_zero, at_identity = product(torch.zeros_like(identity)), product(identity)
    biases = [getattr(at_zero, gate) for gate in gates]
    return [getattr(at_identity, gate) - bias for gate, bias in zip(gates, biases, strict=True)], [
        bias[..., :1, :] for bias in biases
    ]


def rebuilt(product, gates, h):
    """The product itself, from what was read off it."""
    matrices, biases = _matrices(product, gates, h)
    parts = [h @ matrix + bias for matrix, bias in zip(matrices, biases, strict=True)]
    return split_gates(torch.cat(parts, dim=-1), gates)


def transposed(product, gates, h):
    """The product with each gate's matrix transposed."""
    matrices, biases = _matrices(product, gates, h)
    parts = [h @ matrix.mT + bias for matrix, bias in zip(matrices, biases, strict=True)]
    return split_gates(torch.cat(parts, dim=-1), gates)


def turned(product, gates, h):
    """The product with each gate's part given to the gate before it."""
    found = product(h)
    return split_gates(
        torch.cat([getattr(found, gate) for gate in (*gates[1:], gates[0])], dim=-1), gates
    )


def without_bias(product, gates, h):
    """The product without its bias."""
    matrices, _ = _matrices(product, gates, h)
    return split_gates(torch.cat([h @ matrix for matrix in matrices], dim=-1), gates)


def swaps_of_inputs(cell):
    for one, other in itertools.combinations(cell.input_products(), 2):
        yield Mutant(f"swap x.{one} x.{other}", rewritten(cell, SwapInputs(one, other)))


def swaps_of_uses(cell):
    """Those that change something and run: a swap may read a value before it is there."""
    fed = (gate for gates in cell.recurrent_products().values() for gate in gates)
    loads = (
        node
        for node in ast.walk(_step_of(cell))
        if isinstance(getattr(node, "ctx", None), ast.Load)
    )
    read = {node.id for node in loads if isinstance(node, ast.Name)}
    for one, other in itertools.combinations(dict.fromkeys((*cell.gates, *fed)), 2):
        mutant = rewritten(cell, SwapUses(one, other))
        with contextlib.suppress(UnboundLocalError, NameError):
            _try(mutant)
            if read & {one, other}:
                yield Mutant(f"swap uses of {one} {other}", mutant)


def _try(cell):
    parameters = {spec.name: torch.zeros(1, *spec.shape(2)) for spec in cell.parameters(2, 2, 1)}
    layer = reference.Layer(cell, 2, 1, "float32")
    reference.Reference().run(
        layer, parameters, torch.zeros(1, 1, 1, 2), (torch.zeros(1, 1, 2),) * len(cell.state)
    )


def undeclared_biases(cell):
    for gate in set(cell.gates) - set(cell.unbiased):
        initialized = {"forget_gates": (), "input_gates": ()}  # those must have a bias
        changed = {"unbiased": (*cell.unbiased, gate), **initialized, "__doc__": cell.__doc__}
        yield Mutant(f"declare no b_{gate}", type("Unbiased", (cell,), changed))
    if cell.recurrent_biases:
        changed = {"recurrent_biases": (), "__doc__": cell.__doc__}
        yield Mutant("declare no recurrent bias", type("Unbiased", (cell,), changed))


def ignored_biases(cell):
    """An engine that declares b_g, differentiates with respect to it, and never adds it."""
    biased = [gate for gate in cell.gates if gate not in cell.unbiased]
    for place, gate in enumerate(biased):
        yield Mutant(
            f"ignore b_{gate}",
            cell,
            mock.patch.object(reference, "input_product", _blind_to(place, biased)),
        )


def _blind_to(place, biased, right=reference.input_product):
    def input_product(layer, parameters, inputs):
        blocks = list(parameters["b"].chunk(len(biased), dim=-1))
        blocks[place] = blocks[place] * 0
        return right(layer, {**parameters, "b": torch.cat(blocks, dim=-1)}, inputs)

    return input_product


def ignored_recurrent_biases(cell):
    for name, gates in cell.recurrent_products().items():
        if any(spec.name == f"b_{name}" for spec in cell.parameters(1, 1, 2)):
            yield Mutant(
                f"ignore b_{name}", rewritten(cell, WrapProduct(name, gates, "without_bias"))
            )


def detached_states(cell):
    for state in (s for s in cell.state if s not in cell.unread):
        yield Mutant(f"detach {state}", rewritten(cell, Detach(state)))


def dropped_vectors(cell):
    for vector in cell.vectors:
        yield Mutant(f"drop {vector}", rewritten(cell, Drop("p", vector)))


def dropped_inputs(cell):
    if cell.reads_input:
        yield Mutant("drop x.input", rewritten(cell, Drop("x", "input")))


def transposed_products(cell):
    for name, gates in cell.recurrent_products().items():
        yield Mutant(f"transpose {name}", rewritten(cell, WrapProduct(name, gates, "transposed")))


def turned_products(cell):
    for name, gates in cell.recurrent_products().items():
        if len(gates) > 1:
            yield Mutant(
                f"turn the gates of {name}", rewritten(cell, WrapProduct(name, gates, "turned"))
            )


def unprepared_matrices(cell):
    """The parameters themselves in the place of what is made of them, where that has their
    shape.
    """
    if cell.is_prepared() and cell.recurrent_rows(4) == 4 and not cell.projects:
        unmade = {"prepared": Cell.prepared, "__doc__": cell.__doc__}
        yield Mutant("prepare nothing", type("Unprepared", (cell,), unmade))
