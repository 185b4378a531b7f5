"""The suite of a cell must fail on every wrong cell; the same function passes every right one."""

import mutants
import pytest
from parity import ALL_CELLS, suite

import cells
from harness import contract
from harness.contract.checks import gradients

SYMMETRIC = {
    (name, "swap uses of i g")  # i * g is g * i
    for name in (
        *(
            "lstm",
            "lstm-no-output-tanh",
            "lstm-peephole",
            "lstm-layer-norm",
            "lstm-multiplicative",
            "wmclstm",
            "ran",
        ),
        *(
            "lstm-block-diagonal",
            "lstm-mogrifier",
            "lstm-projected",
            "lstm-multiplicative-integration",
            "indylstm",
            "lstm-residual",
        ),
        *("lstm-no-forget-gate", "lstm-no-output-gate", "lstm-no-input-tanh"),
        *(
            "odyssey-nfg",
            "odyssey-nog",
            "odyssey-niaf",
            "odyssey-noaf",
            "odyssey-np",
            "my-lstm-layer-norm",
        ),
    )
} | {("nas", f"swap uses of g{k} g{k + 1}") for k in (1, 3, 5, 7)}
SYMMETRIC |= {("t-gru", "swap uses of z o")}  # z * o is o * z
MADE_TOGETHER = {("lru", "drop nu"), ("lru", "drop theta")}
"""Each of the two parameters still acts by what the step reads in the place of the other."""

KINDS = (
    mutants.swaps_of_inputs,
    mutants.swaps_of_uses,
    mutants.undeclared_biases,
    mutants.ignored_biases,
    mutants.ignored_recurrent_biases,
    mutants.detached_states,
    mutants.dropped_vectors,
    mutants.dropped_inputs,
    mutants.transposed_products,
    mutants.turned_products,
    mutants.unprepared_matrices,
)
CHECKS_THAT_SEE_IT = ("everything_acts", "gradients", "torch_parity", "marked_content")
"""The last one where the vector that is dropped was the factor of all new content."""
SEEN_BY_THE_CONTRACT_ALONE = (
    mutants.ignored_biases,
    mutants.ignored_recurrent_biases,
    mutants.detached_states,
    mutants.dropped_vectors,
)


def mutants_of(name, kinds):
    return [mutant for kind in kinds for mutant in kind(cells.find(name))]


@pytest.mark.parametrize("name", ALL_CELLS)
def test_the_suite_fails_on_every_mutant_that_computes_something_else(name):
    passed = set()
    for mutant in mutants_of(name, KINDS):
        with mutant.context:
            if next(suite(mutant.cell), None) is None:
                passed.add((name, mutant.label))
    assert passed == {pair for pair in SYMMETRIC if pair[0] == name}


@pytest.mark.parametrize("name", ALL_CELLS)
def test_the_contract_finds_it_without_any_equations(name):
    seen_by = {}
    for mutant in mutants_of(name, SEEN_BY_THE_CONTRACT_ALONE):
        with mutant.context:
            seen_by[name, mutant.label] = next(contract.findings(mutant.cell), None)
    unseen = {pair for pair, found in seen_by.items() if found is None}
    assert unseen == {pair for pair in MADE_TOGETHER if pair[0] == name}
    found = {pair: finding for pair, finding in seen_by.items() if finding is not None}
    others = {p: f for p, f in found.items() if f.check not in CHECKS_THAT_SEE_IT}
    assert not others


@pytest.mark.parametrize("name", ALL_CELLS)
def test_the_suite_passes_the_right_cell_by_the_same_road(monkeypatch, name):
    """What `transposed` and `without_bias` read off a product is that product, so that they fail
    for their reason; a cell without a product is rewritten all the same.

    Its gradients are compared with those of the equations; finite differences, which take a third
    of all this file's time, are those of the cell itself.
    """
    monkeypatch.setattr(contract, "CHECKS", [c for c in contract.CHECKS if c is not gradients])
    cell = cells.find(name)
    right = mutants.rewritten(
        cell,
        *(
            mutants.WrapProduct(product, gates, "rebuilt")
            for product, gates in cell.recurrent_products().items()
        ),
    )
    assert list(suite(right)) == []


def test_there_are_mutants_of_every_kind():
    for kind in KINDS:
        assert any(list(kind(cells.find(name))) for name in ALL_CELLS), kind.__name__
