"""What a cell may declare, and what is said where it does not."""

import pytest

from cells import registry
from cells.base import Cell


def problems(**declared):
    base = {"name": "a", "gates": ("i", "f"), "step": lambda self, p, x, h: (h,)}
    base["__doc__"] = "Source: x. Reference: none. Differs: no parent."
    merged = {**base, **declared}
    return registry.problems_of(
        type("Odd", (Cell,), {k: v for k, v in merged.items() if v is not None})
    )


def test_the_smallest_right_cell_has_no_problem():
    assert problems() == []


def test_a_cell_that_reads_its_input_itself_needs_no_gate():
    assert problems(gates=(), products={"V": ("i",)}, reads_input=True) == []


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"name": None}, "must declare `name`, but does not"),
        ({"gates": None}, "must declare `gates`, but does not"),
        ({"name": 3}, "name must be a str, but got name=3"),
        (
            {"gates": ()},
            "gates must be a tuple of distinct identifiers, at least one, but got gates=()",
        ),
        ({"gates": ("i", "i")}, "but got gates=('i', 'i')"),
        ({"gates": ("2", "i")}, "but got gates=('2', 'i')"),
        ({"gates": "if"}, "but got gates='if'"),
        (
            {"state": ("h", "h")},
            "state must be a tuple of distinct identifiers, at least one, but got state=('h', 'h')",
        ),
        ({"products": {"R": ()}}, "a product must feed distinct gates, but got R=()"),
        (
            {"products": {"R": ("i", "i")}},
            "a product must feed distinct gates, but got R=('i', 'i')",
        ),
        ({"products": {"R R": ("i",)}}, "a product must feed distinct gates, but got R R=('i',)"),
        ({"recurrent_biases": ("z",)}, "recurrent_biases must be among ['f', 'i'], but got ['z']"),
        ({"unbiased": ("z",)}, "unbiased must be among ['f', 'i'], but got ['z']"),
        ({"forget_gates": ("z",)}, "forget_gates must be among ['f', 'i'], but got ['z']"),
        (
            {"forget_gates": ("f",), "unbiased": ("f",)},
            "forget_gates must be among ['i'], but got ['f']",
        ),
        (
            {"forget_gates": ("f",), "input_gates": ("z",)},
            "input_gates must be among ['i'], but got ['z']",
        ),
        (
            {"forget_gates": ("f",), "input_gates": ("f",)},
            "input_gates must be among ['i'], but got ['f']",
        ),
        (
            {"forget_gates": ("f",), "unbiased": ("i",), "input_gates": ("i",)},
            "input_gates must be among [], but got ['i']",
        ),
        (
            {"input_gates": ("i",)},
            "input_gates must be no more than forget_gates=(), but got input_gates=('i',)",
        ),
        ({"candidates": ("z",)}, "candidates must be among ['f', 'i'], but got ['z']"),
        ({"zoneout_states": ("c",)}, "zoneout_states must be among ['h'], but got ['c']"),
        (
            {"vectors": {"drop": 0.0, "zoneout_h": 0.0}},
            "vectors and products must leave p.drop and a study's noise, "
            "but got ['drop', 'zoneout_h']",
        ),
        ({"noise": ("m",)}, "noise must be left to a study's fields, but got noise=('m',)"),
        ({"gates": (), "reads_input": True}, "a product must feed distinct gates, but got R=()"),
        (
            {"gates": ("i", "input"), "reads_input": True},
            "gates must not have the name of the input itself, but got gates=('i', 'input')",
        ),
        ({"unread": ("c",)}, "unread must be among ['h'], but got ['c']"),
        (
            {"unread": ("h",), "zoneout_states": ("h",)},
            "zoneout_states must be among [], but got ['h']",
        ),
        (
            {"start": {"h": "h_0"}},
            "start of h must be a number, but got 'h_0'. A start that is learned is a study's: "
            "`learned_start: true`",
        ),
        ({"start": {"h": float("nan")}}, "start of h must be a number, but got nan"),
        ({"start": ("h",)}, "start must be a dict such as {\"c\": 1.0}, but got start=('h',)"),
        (
            {"vectors": {"v": "random"}},
            "vectors must begin with a number or \"drawn\", but got v='random'",
        ),
        ({"start": {"c": 1.0}}, "start must be among ['h'], but got ['c']"),
        (
            {"vectors": {"R": 1.0}},
            "products and vectors must have names of their own, but got R twice",
        ),
        (
            {"vectors": {"b": 1.0}},
            "products and vectors must have names of their own, but got b twice",
        ),
        ({"step": None}, "must define `step`, but does not"),
        (
            {"__doc__": "Reference: none. Differs: x"},
            "its docstring must have an entry `Source:`, but has none",
        ),
        (
            {"__doc__": "Source: x. Differs: x"},
            "its docstring must have an entry `Reference:`, but has none",
        ),
        (
            {"__doc__": "Source: x. Reference: none."},
            "its docstring must have an entry `Differs`, but has none",
        ),
    ],
)
def test_a_wrong_declaration_is_said(declared, words):
    (problem,) = problems(**declared)
    assert problem.startswith("Odd: ") and words in problem
