"""Values of one (unit, row) in C++."""

import math

from harness.engine.gpu.launches import Load
from harness.engine.persistent.passes import EXCHANGED
from harness.engine.persistent.places import register
from harness.engine.tracing.program import Node

EXPRESSIONS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "abs": "absolute({})",
    "sign": "sign({})",
    "minimum": "minimum({}, {})",
    "maximum": "maximum({}, {})",
    "where": "{} ? {} : {}",
    "sqrt": "root({})",
    "rsqrt": "real(1) / root({})",
    "exp": "exponential({})",
    "expm1": "exponential_minus_1({})",
    "log": "logarithm({})",
    "log1p": "logarithm_of_1_plus({})",
    "sigmoid": "sigmoid({})",
    "tanh": "hyperbolic_tangent({})",
    "sin": "sine({})",
    "cos": "cosine({})",
    "atan": "arctangent({})",
    "erf": "error_function({})",
    "fmod": "modulo({}, {})",
    "part": "e.unit >= {2} && e.unit < {3} ? {0} : {1}",
    "lt": "{} < {}",
    "le": "{} <= {}",
    "eq": "{} == {}",
    "and": "{} && {}",
    "or": "{} || {}",
    "not": "!{}",
}
"""OPERATIONS in C++, of one (unit, row); those that need other units are not here."""
TOTALS = {"row_sum": "Sum", "row_max": "Largest", "cumsum": "Running"}
"""What a block makes of its own units' terms, in C++."""


def loaded(load: Load) -> str:
    """Returns the declaration of what a piece loads."""
    value = " + ".join(f"{register(place)}[p]" for place in load.places)
    if load.node.boolean:
        return f"const bool v{load.index} = {value} != 0;"
    return f"const real v{load.index} = {value};"


def number(i: int, node: Node) -> str:
    """Returns a value as a number, as memory holds it."""
    return f"real(v{i})" if node.boolean else f"v{i}"


def again(i: int, node: Node) -> str:
    """Returns the declaration of what an earlier pass had, or of a constant."""
    if node.op == "constant":
        return f"const real v{i} = {_constant(node.value)};"
    return f"const {_kind(node)} v{i} = across_{i}[p]{' != 0' if node.boolean else ''};"


def computed(i: int, node: Node) -> str:
    """Returns the declaration of what a node computes."""
    arguments = [f"v{a}" for a in node.args]
    # A row of one unit is its own sum.
    value = arguments[0] if node.op in EXCHANGED else EXPRESSIONS[node.op].format(*arguments)
    return f"const {_kind(node)} v{i} = {value};"


def offered(i: int, node: Node) -> str:
    """Returns the statement that offers a (unit, row)'s term of an exchanged node."""
    return f"*term(terms_{i}_0, e) = v{node.args[0]};"


def sent(i: int, node: Node) -> str:
    """Returns the call that sends a block's totals of an exchanged node to all blocks."""
    return f"send_totals(block, {TOTALS[node.op]}{{}}, terms_{i}_0, {_totals(i)});"


def received(i: int, node: Node) -> str:
    """Returns the declaration of what the totals of all blocks come to for a (unit, row)."""
    if node.op == "cumsum":
        return f"const real v{i} = up_to(block, terms_{i}_0, {_totals(i)}, e);"
    return f"const real v{i} = total({TOTALS[node.op]}{{}}, {_totals(i)}, e);"


def _totals(i: int) -> str:
    return f"(t % 2 ? totals_{i}_1 : totals_{i}_0)"


def _kind(node: Node) -> str:
    return "bool" if node.boolean else "real"


def _constant(value: float) -> str:
    if math.isfinite(value):
        return f"real({value!r})"
    return "not_a_number()" if math.isnan(value) else f"{'-' if value < 0 else ''}infinity()"
