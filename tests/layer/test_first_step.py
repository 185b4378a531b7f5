"""What a layer says of a step of one's own that does not run, or returns no states."""

import pytest
import torch
from torch import tanh

from cells import Cell
from cells.registry import InvalidCell
from harness import Recurrent, RecurrentCell
from harness.layer.choices import found


class Plain(Cell):
    """Elman's network.

        h' = tanh(W_h x + R_h h + b_h)

    Source: none.
    Reference: none.
    Differs: no parent.
    """

    name = "plain"
    gates = ("h",)

    def step(self, p, x, h):
        return (tanh(x.h + p.R(h).h),)


def made(step):
    return type("Own", (Plain,), {"step": step, "name": "own", "__doc__": Plain.__doc__})


def a_tensor(self, p, x, h):
    return tanh(x.h + p.R(h).h)


def a_list(self, p, x, h):
    return [tanh(x.h + p.R(h).h)]


def nothing(self, p, x, h):
    tanh(x.h + p.R(h).h)


def two(self, p, x, h):
    return h, tanh(x.h + p.R(h).h)


def a_sum(self, p, x, h):
    return (tanh(x.h + p.R(h).h).sum(-1),)


def another_gate(self, p, x, h):
    return (tanh(x.z + p.R(h).h),)


def in_place(self, p, x, h):
    h *= 0.5
    return (tanh(x.h + p.R(h).h),)


def no_call(self, p, x, h):
    return (tanh(x.h + p.R.h),)


def all_gates_at_once(self, p, x, h):
    return (tanh(x + p.R(h)),)


def over_time(self, p, x, h):
    for now in x:
        h = tanh(now.h + p.R(h).h)
    return (h,)


def no_state(self, p, x):
    return (tanh(x.h),)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (a_tensor, "Own: step must return a tuple of 1 states (h), but got Tensor."),
        (a_list, "Own: step must return a tuple of 1 states (h), but got list."),
        (nothing, "Own: step must return a tuple of 1 states (h), but got NoneType."),
        (two, "Own: step must return a tuple of 1 states (h), but got 2 of them."),
        (a_sum, "Own: the new state h must have shape (N, B, H)=(1, 2, 8)"),
        (another_gate, "there is no gate 'z' among h (test_first_step.py:"),
        (in_place, "Own: step must leave its arguments as they were, but changed h. Do nothing"),
        (no_call, "a product is called with a state, and has a tensor for each gate"),
        (all_gates_at_once, "x and what a product returns have a tensor for each gate"),
        (over_time, "x and what a product returns have a tensor for each gate"),
        (no_state, ": step must take (self, p, x, h), but takes (self, p, x)."),
    ],
)
@pytest.mark.parametrize("kind", [Recurrent, RecurrentCell])
def test_a_step_that_is_wrong_is_told_before_a_layer_is_made_of_it(step, words, kind):
    with pytest.raises(InvalidCell) as caught:
        kind(made(step), 5, 8)
    assert words in str(caught.value)


@pytest.mark.parametrize("field", ["vectors", "products"])
def test_what_must_be_a_dict_is_told_with_an_example(field):
    wrong = type("Own", (Plain,), {field: ("v",), "name": "own", "__doc__": Plain.__doc__})
    with pytest.raises(InvalidCell, match=f"Own: {field} must be a dict such as"):
        Recurrent(wrong, 5, 8)


def test_a_step_that_is_right_is_tried_without_a_random_number():
    torch.manual_seed(0)
    expected = torch.rand(1)
    cell = made(Plain.step)
    torch.manual_seed(0)
    assert found(cell, 8) is cell
    assert torch.equal(torch.rand(1), expected)


def drawing(self, p, x, h):
    return (tanh(x.h + p.R(h).h) + torch.rand_like(h),)


def test_layers_of_a_step_that_draws_have_the_weights_of_their_seed():
    def weights(step):
        torch.manual_seed(0)
        return torch.cat([each.flatten() for each in Recurrent(made(step), 5, 8).parameters()])

    assert torch.equal(weights(drawing), weights(Plain.step))


def later_known(self, p, x, h):
    return (imported_later(x.h + p.R(h).h),)  # noqa: F821


def test_a_step_is_tried_again_after_what_it_lacked_is_imported(monkeypatch):
    cell = made(later_known)
    with pytest.raises(InvalidCell, match="NameError: name 'imported_later' is not defined"):
        Recurrent(cell, 5, 8)
    monkeypatch.setitem(globals(), "imported_later", tanh)
    assert Recurrent(cell, 5, 8)(torch.zeros(2, 1, 5))[0].shape == (2, 1, 8)


def in_pairs(self, p, x, h):
    pairs = (x.h + p.R(h).h).unflatten(-1, (2, -1))
    return (tanh(pairs).flatten(-2),)


def in_single_precision(self, p, x, h):
    return (tanh(x.h + p.R(h).h) @ torch.eye(h.shape[-1], dtype=torch.float32),)


@pytest.mark.parametrize("step", [in_pairs, in_single_precision])
@pytest.mark.parametrize("kind", [Recurrent, RecurrentCell])
def test_a_step_is_right_that_runs_at_the_size_and_precision_of_its_layer(step, kind):
    assert kind(made(step), 5, 4)
    with pytest.raises(InvalidCell, match="Own: step must run, but raised RuntimeError"):
        kind(made(step), 5, 3, dtype=torch.float64)


@pytest.mark.parametrize("hidden_size", [0, -2, "4"])
def test_a_wrong_size_is_not_told_as_a_wrong_step(hidden_size):
    with pytest.raises(ValueError, match="hidden_size: must") as caught:
        Recurrent(made(in_pairs), 5, hidden_size)
    assert "step" not in str(caught.value)


def without_self(p, x, h):
    return (tanh(x.h + p.R(h).h),)


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_a_step_needs_no_self(kind):
    step = without_self if kind is staticmethod else Plain.step
    assert Recurrent(made(kind(step)), 5, 8)(torch.zeros(2, 1, 5))[0].shape == (2, 1, 8)
    with pytest.raises(InvalidCell, match=r"step must take \(p, x, h\), but takes \(p, x\)\."):
        Recurrent(made(staticmethod(lambda p, x: (x.h,))), 5, 8)
