"""A value of a program in C++: its expression, and where it lies in memory."""

from harness.engine.tracing.program import MOVES, Node
from harness.engine.tracing.schedule import Schedule

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
    "where": "choose({}, {}, {})",
    "sqrt": "root({})",
    "rsqrt": "reciprocal_root({})",
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
    "cumsum": "running_sum({0}, sum_to_{0})",
    "roll": "rolled({row}, {1}, j, H)",
    "flip": "flipped({row}, j, H)",
    "part": "choose((numbered(j) >= {2}) & (numbered(j) < {3}), {0}, {1})",
    "lt": "{} < {}",
    "le": "{} <= {}",
    "eq": "{} == {}",
    "and": "{} & {}",
    "or": "{} | {}",
    "not": "~{}",
}
"""OPERATIONS in C++, over vectors; ``row`` is where an argument's whole row lies."""

HELPERS = {
    "cumsum": ("running_sum",),
    "sin": ("circular",),
    "cos": ("circular",),
    "atan": ("polynomial", "arctangent"),
    "erf": ("polynomial", "error"),
    "fmod": ("polynomial", "modulo"),
    "roll": ("units",),
    "flip": ("units",),
    "part": ("units",),
}
"""Operation -> the files ``kernels/*.inc`` that stand in the code that calls it.

A change of the headers would be one of every cell's code.
"""


class Values:
    """Writes the values of a schedule, in the loops over rows ``b`` and units ``j``.

    Attributes:
        owners: Node -> the state whose gradient it is.
        reads_tape: Whether a product's gate is read from the tape, as the gradient does, and not
            from the product.
    """

    def __init__(
        self,
        schedule: Schedule,
        matrices: dict[str, int],
        vectors: tuple[str, ...],
        gates: tuple[str, ...],
        states: tuple[str, ...],
        biased: tuple[str, ...],
        noise: tuple[str, ...],
    ):
        self.schedule, self.program, self.nodes = schedule, schedule.program, schedule.program.nodes
        self.matrices, self.vectors, self.gates, self.states = matrices, vectors, gates, states
        self.biased, self.noise = biased, noise
        self.owners = {i: s for s, i in enumerate(self.program.state_gradients) if i is not None}
        self.reads_tape = False

    def rows(self, i: int) -> str:
        """Returns where a (B, H) value of this time step begins."""
        node = self.nodes[i]
        if node.op == "transposed":
            return f"out_{self.owners[i]}" if i in self.owners else f"transposed_{i}"
        if node.op == "input" and node.name.startswith("state."):
            return f"prev_{self.states.index(node.name[6:])}"
        if i in self.program.new_state:
            return f"next_{self.program.new_state.index(i)}"
        return f"now_{i}" if i in self.schedule.kept else f"cross_{i}"

    def declare(self, i: int, expression: str) -> str:
        """Returns the declaration of a value by an expression for it."""
        if not self.nodes[i].boolean:
            return f"const vec v{i} = {expression};"
        mask = f"is_true({expression})" if expression.startswith("load(") else expression
        return f"const ivec v{i} = {mask};"

    def value(self, i: int, stored: bool) -> str:
        """Returns a declared value; where ``stored``, as numbers, a boolean too."""
        return f"choose(v{i}, splat(1), splat(0))" if stored and self.nodes[i].boolean else f"v{i}"

    def expression(self, i: int) -> str:
        """Returns a value in terms of its arguments, which are declared."""
        node = self.nodes[i]
        row = f"across_{node.args[0]}" if node.op in MOVES else ""
        return EXPRESSIONS[node.op].format(*(f"v{a}" for a in node.args), row=row)

    def load(self, i: int) -> str:
        """Returns a value as it is read from memory, or a constant."""
        node: Node = self.nodes[i]
        one = "b * row_length(1, S) + j"
        if node.op == "constant":
            return f"splat((real){node.value!r})".replace("inf", "INFINITY").replace("nan", "NAN")
        if node.op == "gate" and not self.reads_tape:
            product = node.args[0]
            blocks = self.matrices[self.nodes[product].name]
            return (
                f"load(product_{product} + b * row_length({blocks}, S) + {blocks} * u_begin + "
                f"{int(node.value)} * units + j - u_begin)"
            )
        if node.op == "batch_sum":
            return f"load(sum_{i} + j)"
        if node.op == "input":
            group, _, name = node.name.partition(".")
            if group == "vector":
                return f"load(vector_{self.vectors.index(name)} + j)"
            if group == "x":
                g = self.gates.index(name)
                shift = f" + load(bias + {g} * S + j)" if name in self.biased else ""
                return f"load(x_row + {g} * S + j){shift}"
            if group == "noise":
                return f"load(noise_row + {self.noise.index(name)} * S + j)"
            if group == "cotangent":
                s = self.states.index(name)
                return f"load(in_{s} + {one})" + (
                    f" + load(output_gradient + {one})" if s == 0 else ""
                )
        if node.kind == "vector":
            return f"load(value_{i} + j)"
        return f"load({self.rows(i)} + {one})"
