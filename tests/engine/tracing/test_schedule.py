"""When values are computed and where they wait: laws that every schedule keeps, and the stages of
some.
"""

import pytest
from agreement import ALL_CELLS
from corner_cells import CORNERS

import cells
from harness.engine import Layer
from harness.engine.tracing.program import OPERATIONS
from harness.engine.tracing.schedule import Stage, schedule
from harness.engine.tracing.trace import trace

EVERY = [*ALL_CELLS, *CORNERS]


def plan_of(name, biases=1, adds_late=False):
    cell = CORNERS[name] if name in CORNERS else cells.find(name)
    return schedule(trace(Layer(cell, 7, biases, "float64")), adds_late)


def shape_of(steps):
    """A letter a step: s for a stage, p for a product."""
    return "".join("s" if isinstance(step, Stage) else "p" for step in steps)


def names(plan, indices):
    return [plan.program.nodes[i].name or plan.program.nodes[i].op for i in indices]


# Laws.


def leaves(plan):
    return {i for i, n in enumerate(plan.program.nodes) if n.op in ("input", "constant")} | set(
        plan.prologue
    )


@pytest.mark.parametrize("name", EVERY)
def test_a_forward_step_reads_what_is_there_and_writes_what_is_asked(name):
    plan = plan_of(name, biases=2)
    nodes = plan.program.nodes
    here, stored = leaves(plan), set()
    for step in plan.forward:
        if isinstance(step, int):
            operand = nodes[step].args[0]
            assert nodes[operand].name.startswith("state.") or operand in stored
            here |= {i for i, n in enumerate(nodes) if n.op == "gate" and n.args == (step,)}
            continue
        assert set(step.loaded) <= here | stored
        assert_in_order(nodes, step)
        stored |= {i for _, i in step.new_states} | set(step.kept) | set(step.crossing)
        assert not set(step.crossing) & set(plan.kept)
    assert set(plan.kept) <= stored
    written = sorted(s for step in stages(plan.forward) for s, _ in step.new_states)
    assert written == list(range(len(plan.program.new_state)))


def stages(steps):
    return [step for step in steps if isinstance(step, Stage)]


def assert_in_order(nodes, stage):
    known = set(stage.loaded)
    for i in stage.computed:
        assert set(nodes[i].args) <= known, (i, nodes[i])
        known.add(i)
    stored = {*stage.kept, *stage.crossing, *(i for _, i in (*stage.new_states, *stage.carries))}
    stored |= {i for _, _, i in stage.blocks if i is not None} | {
        nodes[i].args[0] for i in stage.sums
    }
    assert stored <= known


@pytest.mark.parametrize("adds_late", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_a_backward_step_reads_what_is_there_and_writes_every_gradient_once(name, adds_late):
    plan = plan_of(name, biases=2, adds_late=adds_late)
    program, nodes = plan.program, plan.program.nodes
    here = leaves(plan) | set(plan.kept) | set(program.new_state)
    blocks, carries, sums, products = [], [], [], []
    for step in plan.backward:
        if isinstance(step, int):
            stack, first = plan.place(nodes[step].args)
            written = {(s, b) for s, b, _ in blocks}
            assert {(stack, first + k) for k in range(len(nodes[step].args))} <= written
            products.append(step)
            here.add(step)
            continue
        assert set(step.loaded) <= here, names(plan, set(step.loaded) - here)
        assert_in_order(nodes, step)
        here |= set(step.crossing)
        blocks += step.blocks
        carries += step.carries
        sums += step.sums
    assert sorted(b[:2] for b in blocks) == [
        (s, b) for s, stack in enumerate(plan.stacks) for b in range(len(stack))
    ]
    assert all(plan.stacks[s][b] == i for s, b, i in blocks)
    by_product = [s for s, i in enumerate(program.state_gradients) if i in products]
    without = [s for s, i in enumerate(program.state_gradients) if i is None]
    assert sorted([s for s, _ in carries] + by_product + without) == list(
        range(len(program.state_gradients))
    )
    assert sorted(sums) == [i for i, n in enumerate(nodes) if n.op == "batch_sum"]
    assert sorted(products) == program.products(range(len(nodes)), "transposed")
    vectors = {i for i in program.vector_gradients.values() if i is not None}
    assert vectors <= set(sums) | set(plan.epilogue)


@pytest.mark.parametrize("name", EVERY)
def test_terms_that_are_added_late_make_the_gradient_in_the_order_of_its_sum(name):
    """A product that is such a term is read by nothing else, so that it needs no other place."""
    plan = plan_of(name, adds_late=True)
    program, nodes = plan.program, plan.program.nodes
    stored = {s: i for step in stages(plan.backward) for s, i in step.carries}
    for s, whole in enumerate(program.state_gradients):
        terms = [i for state, i in plan.carried if state == s]
        for term in reversed(terms):
            assert nodes[whole].op == "add" and nodes[term].op == "transposed"
            assert [term in node.args for node in nodes].count(True) == 1
            (whole,) = set(nodes[whole].args) - {term}
        assert stored.get(s, whole) == whole


@pytest.mark.parametrize("name", EVERY)
def test_every_stack_of_a_product_has_a_place(name):
    plan = plan_of(name)
    wanted = [plan.program.input_gradients]
    wanted += [term.cotangent for terms in plan.program.matrix_gradients.values() for term in terms]
    for stack in wanted:
        index, first = plan.place(stack)
        assert plan.stacks[index][first : first + len(stack)] == stack


@pytest.mark.parametrize("name", EVERY)
def test_what_costs_is_kept_and_not_computed_again(name):
    plan = plan_of(name)
    again = {i for stage in stages(plan.backward) for i in stage.computed} & plan.program.forward()
    costly = {
        i for i in again if (op := plan.program.nodes[i].op) in OPERATIONS and OPERATIONS[op].costly
    }
    assert not costly, names(plan, costly)


def test_a_stack_without_a_place_is_a_mistake_of_ours():
    with pytest.raises(AssertionError, match="every stack has a place"):
        plan_of("lstm").place((-1, -2))


# Stages.


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [
        ("lstm", "ps", "sp"),
        ("gru", "ps", "sps"),  # the gradient of h is a product plus z times the cotangent
        ("gru-reset-before", "psps", "spsps"),
        ("my-full-gate-recurrence", "pppps", "spppp"),
        ("indrnn", "s", "s"),
        ("NewStateIntoProduct", "psps", "spsp"),
        ("SameMatrixTwice", "psps", "spsp"),
        ("Swap", "s", "s"),
        ("UnreadVectorAndProduct", "ps", "sp"),
        ("OutputIgnoresState", "s", "s"),
        ("SharedGradient", "sps", "sp"),
        ("RowAcrossProduct", "spsps", "spsps"),
        ("ProductOfGate", "sps", "sps"),
        ("ProductForTwo", "spps", "spps"),
    ],
)
def test_a_product_stands_between_two_stages(name, forward, backward):
    plan = plan_of(name)
    assert (shape_of(plan.forward), shape_of(plan.backward)) == (forward, backward)


@pytest.mark.parametrize(
    ("name", "backward"),
    [
        ("gru", "sp"),
        ("gru-reset-before", "spsp"),
        ("gru3", "sps"),  # what the last stage makes is not the gradient of the state alone
        ("lstm", "sp"),
        ("ProductForTwo", "spps"),
    ],
)
def test_no_stage_only_adds_where_the_earlier_step_adds(name, backward):
    assert shape_of(plan_of(name, adds_late=True).backward) == backward


def test_lstm_keeps_its_gates_and_the_tanh_of_c_and_nothing_else():
    plan = plan_of("lstm")
    assert sorted(names(plan, plan.kept)) == ["sigmoid"] * 3 + ["tanh"] * 2
    assert len(plan.stacks) == 1 and len(plan.stacks[0]) == 4


def test_gru_stacks_the_candidates_cotangent_before_and_after_the_reset():
    assert [len(stack) for stack in plan_of("gru").stacks] == [3, 3]


def test_a_vector_is_prepared_before_the_first_step_and_its_gradient_finished_after_the_last():
    plan = plan_of("VectorThroughSigmoid")
    assert names(plan, plan.prologue)[0] == "sigmoid"
    assert plan.epilogue and names(plan, plan.epilogue)[-1] == "mul"
    computed = {i for stage in stages((*plan.forward, *plan.backward)) for i in stage.computed}
    assert not computed & set(plan.prologue) and not computed & set(plan.epilogue)
    assert plan_of("lstm-peephole").prologue == plan_of("lstm-peephole").epilogue == ()


def test_a_value_that_only_a_later_stage_reads_crosses_and_is_not_kept():
    plan = plan_of("CheapAcrossProduct")
    first, second = stages(plan.forward)
    assert names(plan, first.crossing) == ["add"]
    assert set(first.crossing) <= set(second.loaded) and not set(first.crossing) & set(plan.kept)
    back = stages(plan_of("DependentReductions").backward)
    assert [len(stage.crossing) for stage in back] == [1, 0]


def test_values_of_a_row_are_kept_as_such():
    plan = plan_of("RowAcrossProduct")
    assert {plan.program.nodes[i].kind for i in plan.kept} == {"full", "row"}


def test_a_gate_that_the_gradient_reads_is_kept_where_a_stage_first_loads_it():
    plan = plan_of("SameMatrixOnTwoStates")
    assert names(plan, plan.kept).count("gate") == 2
    (stage,) = stages(plan.forward)
    assert {i for i in stage.kept if plan.program.nodes[i].op == "gate"} <= set(stage.loaded)


def test_a_gate_that_is_multiplied_is_kept_as_an_operand():
    plan = plan_of("ProductOfGate")
    (kept,) = [i for i in plan.kept if plan.program.nodes[i].name == "x.h"]
    assert plan.forward[0].kept == (kept,) and plan.forward[0].computed == ()
