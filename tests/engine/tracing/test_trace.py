"""Equations become programs; what cannot is refused by name; and a program means what the step
means.
"""

import re
from collections import Counter

import pytest
import torch
from agreement import assert_agrees, case
from corner_cells import CORNERS
from torch import sigmoid, tanh
from torch.nn import functional

import cells
from cells import Cell
from harness import engine
from harness.engine import Layer
from harness.engine.tracing.program import OPERATIONS, Builder, joined
from harness.engine.tracing.trace import Untraceable, trace, vector_names


def traced(cell, biases=1, hidden=7):
    if isinstance(cell, str):
        cell = CORNERS[cell] if cell in CORNERS else cells.find(cell)
    return trace(Layer(cell, hidden, biases, "float64"))


def made(step, **declared):
    """A cell of one gate whose step is a function of (p, x, *state)."""
    body = {
        "name": "made",
        "gates": ("h",),
        "step": lambda self, p, x, *state: step(p, x, *state),
        **declared,
    }
    return type("Made", (Cell,), body)


def ops(program, within=None):
    nodes = program.nodes if within is None else [program.nodes[i] for i in sorted(within)]
    return [node.op for node in nodes]


# Programs of real cells.


def test_the_forward_program_of_lstm_is_its_equations():
    program = traced("lstm")
    expected = {"input": 6, "product": 1, "gate": 4, "add": 5, "sigmoid": 3, "tanh": 2, "mul": 3}
    assert Counter(ops(program, program.forward())) == expected


def test_lstm_has_one_product_its_transpose_and_one_outer_term():
    program = traced("lstm")
    nodes = program.nodes
    (product,) = program.products(range(len(nodes)))
    (transposed,) = program.products(range(len(nodes)), "transposed")
    (term,) = program.matrix_gradients["R"]
    assert nodes[nodes[product].args[0]].name == nodes[term.operand].name == "state.h"
    assert nodes[product].name == nodes[transposed].name == "R"
    assert (
        nodes[transposed].args == term.cotangent == program.input_gradients
    )  # R h and W x enter as one sum
    assert program.state_gradients[0] == transposed
    assert program.vector_gradients == {}


def test_two_biases_are_a_vector_a_gate_whose_gradient_is_that_of_the_input_summed():
    program = traced("lstm", biases=2)
    assert tuple(program.vector_gradients) == ("b_R.i", "b_R.f", "b_R.g", "b_R.o")
    for own, source in zip(program.vector_gradients.values(), program.input_gradients, strict=True):
        assert program.nodes[own].op == "batch_sum"
        assert program.nodes[own].args == (source,)


def test_gru_multiplies_before_it_resets():
    program = traced("gru")
    (term,) = program.matrix_gradients["R"]
    assert term.cotangent[:2] == program.input_gradients[:2]
    assert term.cotangent[2] != program.input_gradients[2]  # r stands between
    assert vector_names(Layer(cells.find("gru"), 7, 1, "float64")) == ("b_R.n",)


def test_gru_reset_before_has_two_dependent_products():
    program = traced("gru-reset-before")
    first, second = program.products(program.forward())
    assert first in program.ancestors([program.nodes[second].args[0]])
    assert len(program.products(range(len(program.nodes)), "transposed")) == 2


def test_peepholes_are_vectors_and_the_gradient_of_each_is_a_sum():
    program = traced("lstm-peephole")
    assert list(program.vector_gradients) == ["p_i", "p_f", "p_o"]
    assert {program.nodes[i].op for i in program.vector_gradients.values()} == {"batch_sum"}
    assert {n.kind for n in program.nodes if n.name.startswith("vector.")} == {"vector"}


def test_equal_nodes_are_one_and_nothing_is_left_over():
    for name in cells.names():
        program = traced(name, biases=2)
        assert len(set(program.nodes)) == len(program.nodes)
        wanted = {
            i
            for i in (*program.new_state, *program.input_gradients, *program.state_gradients)
            if i is not None
        }
        wanted |= {i for i in program.vector_gradients.values() if i is not None}
        for terms in program.matrix_gradients.values():
            wanted |= {i for term in terms for i in (term.operand, *term.cotangent)}
        assert program.ancestors(wanted) == set(range(len(program.nodes)))
        assert all(a < i for i, node in enumerate(program.nodes) for a in node.args)


# Programs of corners.


def test_the_operand_of_a_product_may_be_a_new_state():
    program = traced("NewStateIntoProduct")
    second = next(n for n in program.nodes if n.op == "product" and n.name == "S")
    assert second.args == (program.new_state[1],)


@pytest.mark.parametrize(
    ("name", "transposes"), [("SameMatrixTwice", 2), ("SameMatrixOnTwoStates", 2)]
)
def test_a_matrix_used_twice_has_a_gradient_of_two_terms(name, transposes):
    program = traced(name)
    first, second = program.matrix_gradients["R"]
    assert first.operand != second.operand and first.cotangent != second.cotangent
    assert len(program.products(range(len(program.nodes)), "transposed")) == transposes


def test_new_states_may_be_old_states_constants_gates_and_vectors():
    def new(name, place):
        program = traced(name)
        return program.nodes[program.new_state[place]]

    assert [new("Delay", k).name for k in (1, 2)] == ["state.h", "state.d"]
    assert new("StateStays", 1).name == "state.c"
    assert (new("ConstantState", 1).op, new("ConstantState", 1).value) == ("constant", 0.25)
    assert new("GateIsState", 1).name == "x.g"
    assert new("VectorIsState", 1).name == "vector.a"
    assert new("ProductIsState", 1).op == "gate"
    assert len(set(traced("NewStateTwice").new_state)) == 1


def test_what_acts_on_nothing_has_no_gradient():
    unread = traced("UnreadGate")
    assert [i is None for i in unread.input_gradients] == [False, True, False]
    (term,) = unread.matrix_gradients["R"]
    assert (
        unread.nodes[term.cotangent[1]].op == "constant"
        and unread.nodes[term.cotangent[1]].value == 0
    )
    program = traced("UnreadVectorAndProduct")
    assert program.vector_gradients == {"a": None}
    assert program.matrix_gradients["S"] == ()
    assert traced("UnreadState").state_gradients[1] is None
    assert traced("OutputIgnoresState").state_gradients == (None,)
    assert traced("ConstantState").state_gradients[1] is not None


def test_states_may_share_a_gradient():
    h, c, d = traced("SharedGradient").state_gradients
    assert h == c != d
    assert traced("SharedGradient").nodes[h].op == "transposed"
    h, c = traced("OneGradientForAll").state_gradients
    assert h == c


def test_a_value_of_vectors_alone_is_a_vector_and_its_gradient_is_made_of_sums():
    program = traced("VectorThroughSigmoid")
    assert ("sigmoid", "vector") in {(n.op, n.kind) for n in program.nodes}
    end = program.nodes[program.vector_gradients["a"]]
    assert (end.op, end.kind) == ("mul", "vector")
    assert any(
        program.nodes[i].op == "batch_sum"
        for i in program.ancestors([program.vector_gradients["a"]])
    )


def test_reductions_are_values_of_a_row():
    softmax = traced("SoftmaxWithin")
    assert {n.kind for n in softmax.nodes if n.op in ("row_sum", "row_max")} == {"row"}
    assert {"row_sum", "row_max"} <= set(ops(softmax, softmax.forward()))
    rows = traced("RowGradients")
    assert [rows.nodes[i].kind for i in (rows.input_gradients[0], rows.state_gradients[1])] == [
        "row",
        "row",
    ]
    assert rows.nodes[rows.new_state[2]].kind == "row"


@pytest.mark.parametrize("name", CORNERS)
def test_a_program_means_what_the_step_means(name):
    assert_agrees("cpu", case(CORNERS[name], runs=2))


# Operations of torch.

SMOOTH_AND_NOT = {
    "elu": lambda x: functional.elu(x, 0.7),
    "selu": functional.selu,
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.1),
    "relu": torch.relu,
    "relu6": lambda x: functional.relu6(4 * x),
    "hardtanh": functional.hardtanh,
    "softplus": lambda x: functional.softplus(x, 1.5, 2.0),
    "logsigmoid": functional.logsigmoid,
    "silu": functional.silu,
    "softsign": functional.softsign,
    "tanhshrink": functional.tanhshrink,
    "clamp": lambda x: torch.clamp(x, -0.4, 0.5),
    "clamp_min": lambda x: x.clamp_min(-0.3),
    "clamp_max": lambda x: x.clamp(max=0.3),
    "square": torch.square,
    "cube": lambda x: x**3,
    "half power": lambda x: (1.5 + tanh(x)) ** 0.5,
    "negative power": lambda x: (1.5 + tanh(x)) ** -1.5,
    "reciprocal": lambda x: torch.reciprocal(1.5 + tanh(x)),
    "lerp": lambda x: (
        torch.lerp(x, x * x, tanh(x)) + torch.lerp(x, x * x, 0.3) + torch.lerp(x, x * x, 0.7)
    ),
    "addcmul": lambda x: (
        torch.addcmul(x, x, tanh(x), value=0.5) + torch.addcdiv(x, x, 1.5 + tanh(x), value=-0.5)
    ),
    "in place": lambda x: (x * x).mul_(0.5).add_(x).clamp_(-1.0, 1.0),
    "rsub": lambda x: torch.rsub(x, 2.0, alpha=0.5),
    "scaled": lambda x: torch.add(x, x * x, alpha=-0.3) / 4 + torch.sub(x, x, alpha=0.2) / 3,
    "compared": lambda x: torch.where((x >= 0.2) | (x < -0.5) & (x != 1), x, x * x),
    "mask as number": lambda x: x * (x > 0) + (x < 1).to(x.dtype),
    "number as mask": lambda x: torch.where(torch.logical_and(torch.relu(x), x < 1), x, -x),
    "masked_fill": lambda x: x.masked_fill(x > 0.4, 0.3),
    "maximum": lambda x: torch.maximum(x, x * x) + torch.minimum(x, -x),
    "detached": lambda x: x * torch.sign(x).detach() + torch.ones_like(x) - torch.zeros_like(x),
    "cumsum": lambda x: torch.cumsum(x * x, -1) - torch.cumsum(x.flip(-1), -1).flip(-1),
}


def test_torchs_functions_of_one_value():
    """One gate each, so that the gradient of W tells which is wrong."""
    gates = tuple(re.sub(r"\W", "_", name) for name in SMOOTH_AND_NOT)

    def step(p, x, h):
        values = [
            f(getattr(x, gate) + 0.1 * h)
            for gate, f in zip(gates, SMOOTH_AND_NOT.values(), strict=True)
        ]
        return (tanh(0.2 * sum(values)),)

    assert_agrees("cpu", case(made(step, gates=gates, products={})))


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda p, x, h: (torch.cumprod(h, -1) + x.h,), "operation cumprod"),
        (lambda p, x, h: (torch.cumsum(h, -2) + x.h,), "operation cumsum over the batch"),
        (
            lambda p, x, h: (torch.cumsum(p.a, -1) + x.h,),
            "operation cumsum of a value that is equal in all units or rows",
        ),
        (lambda p, x, h: (h.flip(-2) + x.h,), "operation flip over the batch"),
        (lambda p, x, h: (torch.roll(h, 1, -2) + x.h,), "operation roll over the batch"),
        (
            lambda p, x, h: (torch.roll(p.a, 1, -1) + x.h,),
            "operation roll of a value that is equal in all units or rows",
        ),
        (lambda p, x, h: (torch.lgamma(h) + x.h,), "operation lgamma"),
        (
            lambda p, x, h: (torch.cat([h[..., ::2], h[..., 1::2]], -1) + x.h,),
            "operation slice of some rows, or with a step",
        ),
        (
            lambda p, x, h: (h.amax(-2, keepdim=True) * x.h,),
            "operation amax over anything but the units",
        ),
        (
            lambda p, x, h: (h.norm(dim=-2).unsqueeze(-2) * x.h,),
            "operation linalg_vector_norm over anything but the units",
        ),
        (
            lambda p, x, h: (h / h.norm(p=3, dim=-1, keepdim=True) + x.h,),
            "operation linalg_vector_norm with order=3",
        ),
        (
            lambda p, x, h: (torch.cat([h[..., :4].roll(1, -1), h[..., 4:]], -1) + x.h,),
            "4 units where all are needed",
        ),
        (
            lambda p, x, h: (torch.cat([h, x.h[..., :4]], -1)[..., :16] + x.h,),
            "operation cat of parts to more than the units",
        ),
        (
            lambda p, x, h: (h * p.a[..., :1] + x.h,),
            "operation slice of one unit of a vector",
        ),
        (
            lambda p, x, h: (
                torch.cat([h[..., :8] * p.a[..., 8:], h[..., 8:] * p.a[..., :8]], -1) + x.h,
            ),
            "operation mul of different units of a vector",
        ),
        (
            lambda p, x, h: (functional.layer_norm(h, (16,), torch.ones(16)) + x.h,),
            "operation native_layer_norm with weights, or over the batch",
        ),
        (
            lambda p, x, h: (h - h.mean(-2, keepdim=True) + x.h,),
            "operation mean over anything but the units",
        ),
        (
            lambda p, x, h: (h - h.mean() + x.h,),
            "operation mean over anything but the units",
        ),
        (lambda p, x, h: (h - h.sum() + x.h,), "operation sum over all"),
        (lambda p, x, h: (torch.softmax(h, -2) + x.h,), "operation _softmax over the batch"),
        (
            lambda p, x, h: (h * p.a.sum(-1, keepdim=True) + x.h,),
            "operation sum of a value that is equal in all units or rows",
        ),
        (
            lambda p, x, h: (torch.exp(h) ** x.h,),
            "operation pow of a value with an exponent that is no number",
        ),
        (lambda p, x, h: (h**17 + x.h,), "operation pow with exponent=17"),
        (lambda p, x, h: ((-2.0) ** h + x.h,), "operation pow of -2.0"),
        (lambda p, x, h: (torch.round(h, decimals=1) + x.h,), "operation round with decimals=1"),
        (
            lambda p, x, h: (h * h.unsqueeze(-1).squeeze(-1) + x.h,),
            "operation unsqueeze of anything but one number a row",
        ),
        (
            lambda p, x, h: (torch.div(h, 2.0, rounding_mode="floor") + x.h,),
            "operation div with rounding_mode='floor'",
        ),
        (
            lambda p, x, h: (torch.softmax(h.unflatten(-1, (2, -1)), -1).flatten(-2) + x.h,),
            "operation view to (3, 2, 8)",
        ),
        (
            lambda p, x, h: (torch.cat(h.chunk(2, 0), -2) + x.h,),
            "operation split over the batch",
        ),
        (lambda p, x, h: (torch.cat([h, x.h], -2)[:3],), "operation cat over the batch"),
        (lambda p, x, h: (h.half().to(x.h.dtype) + x.h,), "operation _to_copy to torch.float16"),
        (lambda p, x, h: (h * x.h.int(),), "operation _to_copy to torch.int32"),
        (
            lambda p, x, h: (p.R(torch.ones_like(h)).h + x.h,),
            "a product of what is equal in all units or rows",
        ),
        (
            lambda p, x, h: (p.R(p.a.expand_as(h)).h + x.h,),
            "a product of what is equal in all units or rows",
        ),
        (lambda p, x, h: (h * torch.tensor(0.5) + x.h,), "a tensor that was made outside the step"),
        (lambda p, x, h: (x.h if (h > 0).all() else h,), "operation all"),
        (lambda p, x, h: (h * h.max().item() + x.h,), "operation max"),
        (
            lambda p, x, h: (x.h if h.detach().numpy().sum() > 0 else h * 2,),
            "operations that depend on the values",
        ),
        (
            lambda p, x, h: (h * 2 + h.detach().mul_(2) + x.h,),
            "operation mul_ on memory that is shared",
        ),
        (
            lambda p, x, h: (h.detach(),),
            "a new state that depends on nothing that could be learned",
        ),
        (
            lambda p, x, h: (x.h / (1 // 0),),
            "ZeroDivisionError: integer division or modulo by zero",
        ),
        (lambda p, x, h: (x.h / next(iter(())),), "StopIteration"),
        (
            lambda p, x, h: ((x.h + h).sum(-1, keepdim=True),),
            "a new state must have the shape (B, H), here (3, 16), but got (3, 1)",
        ),
    ],
)
def test_what_cannot_be_traced_is_refused_by_name_and_the_reference_runs_it(step, words):
    cell = made(step, vectors={"a": 0.5})
    with pytest.raises(Untraceable, match=f"^{re.escape(words)}$"):
        trace(Layer(cell, 16, 1, "float32"))
    assert engine.get("cpu").refusal(cell, "cpu", "float32") == f"made: {words}"
    assert engine.resolve([cell], "cpu", "float32") == (
        "reference",
        [f"engine cpu: not used, made: {words}"],
    )


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_trace_needs_no_gradient_of_its_callers(mode):
    with mode():
        assert trace(
            Layer(made(lambda p, x, h: (tanh(x.h + p.R(h).h),)), 7, 1, "float64")
        ).state_gradients != (None,)


@pytest.mark.parametrize("hidden", [1, 3])
@pytest.mark.parametrize("turned", [lambda rows: rows.roll(1, -1), lambda rows: rows.flip(-1)])
def test_what_turns_one_number_a_row_turns_the_batch_and_is_refused_at_any_size(turned, hidden):
    cell = made(lambda p, x, h: (x.h + h * turned(h.mean(-1))[..., None],), products={})
    with pytest.raises(Untraceable, match="one number a row"):
        traced(cell, hidden=hidden)


def test_running_what_cannot_be_traced_says_so():
    with pytest.raises(Untraceable, match="operation lgamma"):
        case(made(lambda p, x, h: (torch.lgamma(h) + x.h,))).run("cpu")


# The parts.


def test_a_builder_folds_constants_and_drops_what_changes_nothing():
    build = Builder()
    x = build.node("input", name="x.a")
    assert build.get(build.apply("mul", 3.0, build.apply("add", 1.0, 1.0))).value == 6
    for same in (
        ("add", x, 0.0),
        ("add", 0.0, x),
        ("mul", 1.0, x),
        ("sub", x, 0.0),
        ("div", x, 1.0),
    ):
        assert build.apply(*same) == x
    assert build.apply("neg", build.apply("neg", x)) == x
    assert build.get(build.apply("add", x, build.apply("neg", x))).op == "sub"
    assert build.apply("where", build.apply("lt", x, 0.0), x, x) == x
    assert build.apply("add", x, -0.0) != x  # -0.0 + -0.0 is not what 0.0 would make of it
    assert build.get(build.apply("mul", x, 0.0)).op == "mul"  # a NaN stays one
    assert build.apply("tanh", x) == build.apply("tanh", x)


@pytest.mark.parametrize(
    ("kinds", "together"),
    [
        (["full", "row"], "full"),
        (["row", "vector"], "full"),
        (["row", "scalar"], "row"),
        (["vector", "scalar"], "vector"),
        (["scalar", "scalar"], "scalar"),
    ],
)
def test_kinds_join_to_what_varies_along_the_axes_of_both(kinds, together):
    assert joined(kinds) == together


def test_every_operation_has_a_meaning_and_an_expression():
    from harness.engine.cpu.values import EXPRESSIONS

    assert EXPRESSIONS.keys() == OPERATIONS.keys()
    assert [name for name, operation in OPERATIONS.items() if operation.boolean] == [
        "lt",
        "le",
        "eq",
        "and",
        "or",
        "not",
    ]


def test_a_trace_is_made_once_for_a_layer():
    assert traced("lstm") is traced("lstm")


def test_a_constant_of_the_number_of_units_is_that_of_this_size():
    cell = made(lambda p, x, h: (sigmoid(x.h) - h.mean(-1, keepdim=True),), products={})
    values = {
        hidden: {n.value for n in traced(cell, hidden=hidden).nodes if n.op == "constant"}
        for hidden in (4, 8)
    }
    assert 0.25 in values[4] and 0.125 in values[8]
