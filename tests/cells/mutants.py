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

from cells.base import split_gates
from harness.engine import reference


@dataclass(frozen=True)
class Mutant:
    """A wrong cell, or a right one in a wrong engine: `context` is entered while it runs."""

    label: str
    cell: type
    context: contextlib.AbstractContextManager = field(default_factory=contextlib.nullcontext)


def rewritten(cell, *transformers):
    """The cell with `step` rewritten by `ast.NodeTransformer`s."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cell.step)))
    for transformer in transformers:
        tree = ast.fix_missing_locations(transformer.visit(tree))
    names = vars(sys.modules[cell.__module__]) | {f.__name__: f for f in (rebuilt, transposed, without_bias)}
    exec(compile(tree, f"<mutant of {cell.name}>", "exec"), names)
    return type(f"{cell.__name__}Mutant", (cell,), {"step": names["step"], "__doc__": cell.__doc__})


class Identity(ast.NodeTransformer):
    """Changes nothing: the right cell, by the same road."""


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
        node.body.insert(1, ast.parse(f"{self.state} = {self.state}.detach()").body[0])
        return node


@dataclass
class DropVector(ast.NodeTransformer):
    """`p.v` counts as its value at the start would: 0."""

    vector: str

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "p" and node.attr == self.vector:
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


def without_bias(product, gates, h):
    """The product without its bias."""
    matrices, _ = _matrices(product, gates, h)
    return split_gates(torch.cat([h @ matrix for matrix in matrices], dim=-1), gates)


def swaps_of_inputs(cell):
    for one, other in itertools.combinations(cell.gates, 2):
        yield Mutant(f"swap x.{one} x.{other}", rewritten(cell, SwapInputs(one, other)))


def swaps_of_uses(cell):
    """Those that run: a swap may read a value before it is there."""
    for one, other in itertools.combinations(cell.gates, 2):
        mutant = rewritten(cell, SwapUses(one, other))
        with contextlib.suppress(UnboundLocalError, NameError):
            _try(mutant)
            yield Mutant(f"swap uses of {one} {other}", mutant)


def _try(cell):
    parameters = {spec.name: torch.zeros(1, *spec.shape(2)) for spec in cell.parameters(2, 2, 1)}
    layer = reference.Layer(cell, 2, 1, "float32")
    reference.Reference().run(layer, parameters, torch.zeros(1, 1, 1, 2), (torch.zeros(1, 1, 2),) * len(cell.state))


def undeclared_biases(cell):
    for gate in set(cell.gates) - set(cell.unbiased):
        forget_gates = tuple(g for g in cell.forget_gates if g != gate)  # a forget gate must have a bias
        changed = {"unbiased": (*cell.unbiased, gate), "forget_gates": forget_gates, "__doc__": cell.__doc__}
        yield Mutant(f"declare no b_{gate}", type("Unbiased", (cell,), changed))
    if cell.recurrent_biases:
        changed = {"recurrent_biases": (), "__doc__": cell.__doc__}
        yield Mutant("declare no recurrent bias", type("Unbiased", (cell,), changed))


def ignored_biases(cell):
    """An engine that declares b_g, differentiates with respect to it, and never adds it."""
    biased = [gate for gate in cell.gates if gate not in cell.unbiased]
    for place, gate in enumerate(biased):
        yield Mutant(f"ignore b_{gate}", cell, mock.patch.object(reference, "input_product", _blind_to(place, biased)))


def _blind_to(place, biased, right=reference.input_product):
    def input_product(layer, parameters, inputs):
        blocks = list(parameters["b"].chunk(len(biased), dim=-1))
        blocks[place] = blocks[place] * 0
        return right(layer, {**parameters, "b": torch.cat(blocks, dim=-1)}, inputs)

    return input_product


def ignored_recurrent_biases(cell):
    for name, gates in cell.recurrent_products().items():
        if any(spec.name == f"b_{name}" for spec in cell.parameters(1, 1, 2)):
            yield Mutant(f"ignore b_{name}", rewritten(cell, WrapProduct(name, gates, "without_bias")))


def detached_states(cell):
    for state in cell.state:
        yield Mutant(f"detach {state}", rewritten(cell, Detach(state)))


def dropped_vectors(cell):
    for vector in cell.vectors:
        yield Mutant(f"drop {vector}", rewritten(cell, DropVector(vector)))


def transposed_products(cell):
    for name, gates in cell.recurrent_products().items():
        yield Mutant(f"transpose {name}", rewritten(cell, WrapProduct(name, gates, "transposed")))
