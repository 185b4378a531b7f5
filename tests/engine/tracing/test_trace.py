"""Equations become programs, and a program means what the step means."""

from collections import Counter

import pytest
from agreement import assert_agrees, case
from corner_cells import CORNERS
from made_cells import made, traced
from torch import sigmoid

import cells
from harness.engine import Layer
from harness.engine.tracing.program import OPERATIONS, Builder, joined
from harness.engine.tracing.trace import vector_names


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
