"""Equations drawn at random from the table of operations agree with the definition; every operation
is drawn.
"""

from dataclasses import dataclass

import torch
from agreement import case, differences
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st
from torch import sigmoid, tanh

from cells import Cell
from harness.engine.tracing.program import OPERATIONS, REDUCTIONS
from harness.engine.tracing.trace import trace

SEED = 2025
NUM_EXAMPLES = 25

UNARY = {
    "neg": lambda a: -a,
    "abs": torch.abs,
    "sign": lambda a: a * torch.sign(a - 0.3),
    "sqrt": lambda a: torch.sqrt(1 + a * a),
    "rsqrt": lambda a: torch.rsqrt(1 + a * a),
    "exp": lambda a: torch.exp(0.5 * tanh(a)),
    "expm1": lambda a: torch.expm1(0.5 * tanh(a)),
    "log": lambda a: torch.log(0.5 + a * a),
    "log1p": lambda a: torch.log1p(a * a),
    "sigmoid": sigmoid,
    "tanh": tanh,
    "row_sum": lambda a: a - a.mean(-1, keepdim=True),
    "row_max": lambda a: torch.softmax(a, -1),
    "cumsum": lambda a: torch.cumsum(0.2 * a, -1),
    "sin and cos": lambda a: torch.sin(a) * torch.cos(2 * a),
    "atan and erf": lambda a: torch.atan(a) + torch.erf(a),
    "fmod": lambda a: torch.fmod(a, 1.7),
    "flip": lambda a: a.flip(-1),
    "part and roll": lambda a: torch.cat([a[..., 3:], a[..., :3]], -1),
}
BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": lambda a, b: a * tanh(b),
    "div": lambda a, b: a / (1.5 + tanh(b)),
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "lt": lambda a, b: torch.where(a < b, 0.5 * a, b),
    "le": lambda a, b: torch.where(a <= 0.2, a, b),
    "eq": lambda a, b: torch.where(torch.sign(a) == torch.sign(b), a, 0.5 * b),
    "and": lambda a, b: torch.where((a > -0.5) & (b < 0.5), a, tanh(b)),
    "or": lambda a, b: torch.where((a > 0.5) | (b < 0.1), b, tanh(a)),
    "not": lambda a, b: torch.where(torch.logical_not(a > b), a, 0.3 * b),
}
"""By what is meant to occur in the program; arguments stay where a function is tame, and away from
its edges.
"""


@dataclass(frozen=True)
class Line:
    """One line of equations: a function of values that came before, by their distance back."""

    name: str
    first: int
    second: int

    def value(self, known):
        a, b = (known[-1 - back % len(known)] for back in (self.first, self.second))
        if self.name in (*REDUCTIONS, "cumsum", "flip", "part and roll"):
            a = a + known[0]  # of a vector alone it would be refused
        return UNARY[self.name](a) if self.name in UNARY else BINARY[self.name](a, b)


LINES = st.builds(
    Line, st.sampled_from([*UNARY, *BINARY]), first=st.integers(0, 7), second=st.integers(0, 9)
)


@st.composite
def equations(draw):
    """A cell: lines, a second product of one of their values perhaps, and one or two states made of
    the last.
    """
    states = draw(st.sampled_from([("h",), ("h", "c")]))
    second = draw(st.sampled_from(["none", "dependent", "beside"]))
    before = draw(st.lists(LINES, min_size=4, max_size=7))
    after = draw(st.lists(LINES, min_size=4, max_size=7))

    def step(self, p, x, *state):
        r = p.R(state[-1])
        known = [x.a, *state, p.v, x.b + r.b, p.w, r.a]
        for line in before:
            known.append(line.value(known))
        if second != "none":
            known.append(p.S(tanh(known[-1] + x.b) if second == "dependent" else state[0]).b)
        for line in after:
            known.append(line.value(known))
        whole = known[-1] + 0.5 * known[-2] + x.a  # a step of vectors alone would be no state
        return tuple(tanh((k + 1) * 0.5 * whole + known[-3 - k]) for k in range(len(states)))

    products = {"R": ("a", "b")} | ({} if second == "none" else {"S": ("b",)})
    vectors = {"v": 0.1, "w": 0.1}
    body = {
        "name": "composed",
        "gates": ("a", "b"),
        "state": states,
        "products": products,
        "vectors": vectors,
    }
    return type("Composed", (Cell,), {**body, "step": step, "lines": (*before, second, *after)})


def test_drawn_equations_agree_with_the_definition_and_use_every_operation():
    used, count = set(), 0

    @seed(SEED)
    @settings(
        max_examples=NUM_EXAMPLES,
        deadline=None,
        database=None,
        phases=[
            Phase.generate
        ],  # a smaller example would be compiled for every attempt to find one
        suppress_health_check=list(HealthCheck),
    )
    @given(equations())
    def check(cell):
        nonlocal count
        note(f"seed {SEED}: {cell.state} {cell.lines}")
        drawn = case(cell, runs=2, hidden=5, scale=0.5)
        assert differences("cpu", drawn) == []
        used.update(node.op for node in trace(drawn.layer).nodes)
        count += 1

    check()
    assert count == NUM_EXAMPLES
    assert not {*OPERATIONS, *REDUCTIONS} - used
