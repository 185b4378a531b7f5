"""Every cell of the registry and the four of a user's file satisfy the contract; each check finds
what it is for.
"""

import pytest
import torch
from parity import ALL_CELLS
from torch import sigmoid, tanh

import cells
from cells.base import Cell
from harness import contract


@pytest.mark.parametrize("name", ALL_CELLS)
def test_a_cell_satisfies_the_contract(name):
    assert contract.check(cells.find(name)) == []


class Right(Cell):
    """i = sigmoid(W_i x + R_i h + v * h + b_i); c' = i * tanh(c) + W_g x + R_g h + b_g; h' =
    tanh(c').

    Source: none. Reference: none. Differs: no parent.
    """

    name = "right"
    gates = ("i", "g")
    state = ("h", "c")
    vectors = {"v": 1.0}

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i + p.v * h)
        c = i * tanh(c) + x.g + r.g
        return tanh(c), c


def wrong(step=None, **declared):
    """A cell that is right but for `step`, which takes what the right step returns too, and for
    `declared`.
    """

    def changed(self, p, x, h, c):
        return step(self, p, x, h, c, Right.step(self, p, x, h, c))

    body = {"__doc__": Right.__doc__, **declared} | ({} if step is None else {"step": changed})
    return type("Wrong", (Right,), body)


def a_list(self, p, x, h, c, new):
    return list(new)


def too_few(self, p, x, h, c, new):
    return new[:1]


def a_sum_over_h(self, p, x, h, c, new):
    return new[0].sum(-1, keepdim=True), new[1]


def always_double(self, p, x, h, c, new):
    return new[0], new[1] * torch.ones(1, dtype=torch.float64)


def log_of_negative(self, p, x, h, c, new):
    return new[0], torch.log(new[1] - 100)


def mean_over_batch(self, p, x, h, c, new):
    return new[0] - new[0].mean(-2, keepdim=True), new[1]


def mean_over_first_axis(self, p, x, h, c, new):
    return new[0] - new[0].mean(0, keepdim=True), new[1]


def counts_time(self, p, x, h, c, new):
    self.time = getattr(self, "time", 0) + 1
    return new[0] * self.time, new[1]


def noise(self, p, x, h, c, new):
    return new[0] + torch.rand_like(h), new[1]


def in_place(self, p, x, h, c, new):
    with torch.no_grad():
        h.mul_(0.5)
    return new


def detached(self, p, x, h, c, new):
    return Right.step(self, p, x, h.detach(), c)


def half_detached(self, p, x, h, c, new):
    return new[0], new[1] + 0.3 * tanh(c).detach()


def raises(self, p, x, h, c, new):
    raise RuntimeError("what I say")


def marks_twice(self, p, x, h, c, new):
    return p.drop(new[0]), p.drop(new[1])


def marks_for_nothing(self, p, x, h, c, new):
    p.drop(new[1])
    return new


def always_with_a_run_axis(self, p, x, h, c, new):
    return new[0].reshape(-1, *h.shape[-2:]), new[1]


def fails_at_one_unit(self, p, x, h, c, new):
    return new[0] / (h.shape[-1] - 1), new[1]


@pytest.mark.parametrize(
    ("cell", "check", "words"),
    [
        (wrong(gates=("i", "i")), "declarations", ": gates must be"),
        (wrong(__doc__="Source: Reference: Differs"), "docstring", "but not gate i."),
        (wrong(__doc__=Right.__doc__.replace("v *", "")), "docstring", "but not vector v."),
        (wrong(__doc__=Right.__doc__.replace("R_", "")), "docstring", "but not product R."),
        (wrong(__doc__=Right.__doc__.replace("c'", "")), "docstring", "but not new state c'."),
        (wrong(a_list), "returned_states", "must return a tuple of 2 states (h, c), but got list."),
        (
            wrong(too_few),
            "returned_states",
            "must return a tuple of 2 states (h, c), but got 1 of them.",
        ),
        (
            wrong(a_sum_over_h),
            "returned_states",
            "shape (N, B, H)=(2, 2, 3) and be torch.float64, but got shape=(2, 2, 1)",
        ),
        (
            wrong(always_double),
            "returned_states",
            "be torch.float32, but got shape=(2, 2, 3) dtype=torch.float64",
        ),
        (
            wrong(log_of_negative),
            "returned_states",
            "the new state c must be finite for moderate arguments, but is not",
        ),
        (
            wrong(raises),
            "returned_states",
            "Wrong: step must run, but raised RuntimeError: what I say (test_contract.py:",
        ),
        (
            wrong(mean_over_batch),
            "parts_alone",
            "row 1 of a batch must equal that alone, but differs by",
        ),
        (
            wrong(mean_over_first_axis),
            "parts_alone",
            "run 0 of a pack must equal that alone, but differs by",
        ),
        (
            wrong(mean_over_first_axis),
            "leading_axes",
            "alike to (N, B, H) and to (B, H), but differs by",
        ),
        (
            wrong(counts_time),
            "carried_state",
            "5 steps must equal 2 steps and then 3 from the carried state, but differ",
        ),
        (wrong(counts_time), "purity", "gave two results for the same arguments"),
        (wrong(noise), "purity", "gave two results for the same arguments"),
        (
            wrong(noise),
            "small_sizes",
            "T=1, B=1, H=7 must give one output, the same each time, but got",
        ),
        (
            wrong(in_place),
            "purity",
            "must leave its arguments as they were, but changed the initial state h (test_",
        ),
        (
            wrong(candidates=("g",)),
            "marked_content",
            "once for each of candidates=('g',), but got calls=0. Wrap",
        ),
        (
            wrong(marks_twice),
            "marked_content",
            "call p.drop once for each of candidates=(), but got calls=2.",
        ),
        (
            wrong(marks_twice, candidates=("g",)),
            "marked_content",
            "of candidates=('g',), but got calls=2. Wrap",
        ),
        (
            wrong(marks_for_nothing, candidates=("g",)),
            "marked_content",
            "must depend on what p.drop returns, but does",
        ),
        (wrong(fails_at_one_unit), "small_sizes", "T=1, B=1, H=1 from the initial state must"),
        (wrong(detached), "everything_acts", "the initial state h must act"),
        (
            wrong(detached),
            "gradients",
            "gradients must equal finite differences, but that of the outputs to",
        ),
        (
            wrong(half_detached),
            "gradients",
            "gradients must equal finite differences, but that of the",
        ),
        (
            wrong(vectors={"v": 1.0, "h": 0.0}),
            "everything_acts",
            "h must act on the outputs or the final state",
        ),
        (
            wrong(gates=("i", "g", "c")),
            "everything_acts",
            "W, gate c, must act on the outputs or the final state",
        ),
        (wrong(reference=("LSTM", {})), "torch_parity", "step must run, but raised"),
    ],
)
def test_a_check_finds_what_it_is_for(cell, check, words):
    found = contract.check(cell)
    assert any(f.check == check and words in f.message for f in found), found


def test_of_violations_with_one_cause_the_cause_is_told():
    class InPlace(Right):
        __doc__ = Right.__doc__

        def step(self, p, x, h, c):
            h.zero_()  # a second time it changes nothing
            return Right.step(self, p, x, h, c)

    line = InPlace.step.__code__.co_firstlineno + 1
    (said,), following = contract.causes(contract.check(InPlace))
    assert f"changed the initial state h (test_contract.py:{line}). Do nothing" in said
    assert {"everything_acts", "gradients"} <= set(following)


def test_violations_that_differ_in_their_numbers_are_told_once():
    def mean_of_rows(self, p, x, h, c, new):
        return new[0] - h.mean(0), new[1]

    found = contract.check(wrong(mean_of_rows))
    (line,), following = contract.causes(found)
    assert line.startswith("leading_axes: ") and line.endswith(" (1 more alike)")
    assert "one time step" in line and following == ["parts_alone"] and len(found) > 3


def test_a_step_that_loops_over_time_is_told_what_it_gets():
    class Looping(Right):
        __doc__ = Right.__doc__

        def step(self, p, x, h, c):
            for t in range(x.i.shape[0]):
                h = tanh(x.i[t] + p.R(h[t]).i)
            return h, c

    (finding,) = contract.check(Looping)
    assert "of one time step, (N, B, H): a step loops over none" in finding.message


def test_the_right_cell_of_these_tests_is_right():
    assert contract.check(Right) == []


class Highway(Cell):
    """A highway of its input.

    n = tanh(W_n x + R_n h + b_n); u = sigmoid(W_u x + R_u h + b_u)
    y' = u * x + (1 - u) * n; h' = n

    Source: none. Reference: none. Differs: no parent.
    """

    name = "highway"
    gates = ("n", "u")
    state = ("y", "h")
    reads_input = True
    unread = ("y",)

    def step(self, p, x, y, h):
        r = p.R(h)
        n, u = tanh(x.n + r.n), sigmoid(x.u + r.u)
        return u * x.input + (1 - u) * n, n


class Rows(Cell):
    """h' = tanh(V x + R h). Source: none. Reference: none. Differs: no parent."""

    name = "rows"
    gates = ()
    reads_input = True
    products = {"V": ("i",), "R": ("i",)}

    def step(self, p, x, h):
        return (tanh(p.V(x.input).i + p.R(h).i),)


@pytest.mark.parametrize("cell", [Highway, Rows])
def test_a_cell_may_read_its_input_and_have_a_state_that_it_does_not(cell):
    assert contract.check(cell) == []


@pytest.mark.parametrize(
    ("declared", "check", "words"),
    [
        ({"reads_input": False}, "returned_states", "step must run, but raised AttributeError"),
        (
            {"unread": ()},
            "everything_acts",
            "the initial state y must act on the outputs or the final state",
        ),
        (
            {"unread": ("h",)},
            "everything_acts",
            "the initial state h must act on nothing, since it is unread, but its",
        ),
    ],
)
def test_what_a_step_reads_must_be_declared(declared, check, words):
    found = contract.check(type("Wrong", (Highway,), {"__doc__": Highway.__doc__, **declared}))
    assert any(f.check == check and words in f.message for f in found), found


class AlmostLSTM(cells.find("lstm")):
    """Like lstm: i f g o, W_i W_f W_g W_o, R, h' = o * c, c' = c.

    Source: x. Reference: LSTM. Differs: wrong.
    """

    name = "almost-lstm"

    def step(self, p, x, h, c):
        h, c = super().step(p, x, h, c)
        return h + 1e-6 * c, c


def test_a_cell_that_is_nearly_its_reference_is_found():
    found = contract.check(AlmostLSTM)
    assert {f.check for f in found} == {"torch_parity"}
    assert any(
        "biases=2: the gradient of R must equal torch.nn.LSTM's, but differs by" in f.message
        for f in found
    )


def test_a_cell_with_fewer_biases_than_its_reference_is_found():
    lacking = type(
        "Lacking",
        (cells.find("lstm"),),
        {"unbiased": ("g",), "__doc__": cells.find("lstm").__doc__},
    )
    (finding,) = contract.check(lacking)
    assert finding.check == "torch_parity"
    assert "must have torch.nn's 128 parameters with two biases, but got 120" in finding.message


def test_a_wrong_number_of_parameters_is_found():
    class Doubled(Right):
        __doc__ = Right.__doc__

        @classmethod
        def num_parameters(cls, input_size, hidden_size, biases):
            return 2 * super().num_parameters(input_size, hidden_size, biases)

    found = [f.message for f in contract.check(Doubled)]
    assert found == [
        f"Doubled: must have {right} parameters for I=7, H=5, biases={biases}, "
        f"but got num_parameters={2 * right}."
        for biases, right in ((1, 7 * 10 + 10 + 5 * 10 + 5), (2, 7 * 10 + 10 + 5 * 10 + 10 + 5))
    ]
