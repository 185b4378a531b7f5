"""A name that a step misspells is told with those that are there."""

from types import SimpleNamespace

import pytest

from cells.base import unchanged
from cells.faults import words_of


def raised(function):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function()
    return words_of(caught.value)


def test_a_misspelt_gate_is_told_with_the_gates_and_the_nearest():
    x = SimpleNamespace(forget=1, input=2)
    assert raised(lambda: x.forgte) == (
        "AttributeError: there is no gate 'forgte' (did you mean forget?) among forget, input"
    )
    assert raised(lambda: x.o) == "AttributeError: there is no gate 'o' among forget, input"


def test_a_misspelt_product_is_told_with_what_p_has():
    p = SimpleNamespace(R_f=1, leak=2, drop=unchanged)
    assert raised(lambda: p.R_g) == (
        "AttributeError: p has no product or vector 'R_g' (did you mean R_f?) among R_f, leak, drop"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("a batch,\nnot a row."), "ValueError: a batch,"),
        (KeyError("h"), "KeyError: 'h'"),
        (MemoryError(), "MemoryError"),
        (AttributeError("of another kind"), "AttributeError: of another kind"),
    ],
)
def test_other_errors_have_their_class_and_first_line(error, words):
    assert words_of(error) == words
