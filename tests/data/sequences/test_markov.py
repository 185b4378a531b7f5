"""The Markov source: its entropy and best accuracy against what long sequences show."""

import math

import numpy as np
import pytest

from harness.data.sequences.markov import Markov

SOURCE = Markov(symbols=3, order=2)


@pytest.fixture(scope="module")
def drawn():
    return SOURCE.draw(("test",), 4_000, 50)


def test_what_the_exact_predictor_scores_is_the_floor(drawn):
    """Of 196,000 targets the standard error of a mean is a thousandth."""
    contexts = drawn.inputs[:, :-1] * 3 + drawn.inputs[:, 1:]
    shares = SOURCE.transitions[contexts]
    targets = drawn.targets[:, 1:]
    assert (drawn.weights[:, 1:] == 1.0).all() and (drawn.weights[:, 0] == 0.0).all()
    loss = -np.log(np.take_along_axis(shares, targets[..., None], axis=2)).mean()
    floor = SOURCE.floor(50)
    assert loss == pytest.approx(floor.loss, abs=0.005)
    assert (shares.argmax(axis=2) == targets).mean() == pytest.approx(floor.accuracy, abs=0.005)
    assert SOURCE.chance(50).loss > floor.loss and SOURCE.chance(50).accuracy < floor.accuracy


@pytest.mark.parametrize("order", [1, 2, 3])
def test_what_the_exact_predictor_scores_on_given_sequences_is_counted_step_by_step(order):
    source = Markov(symbols=3, order=order)
    few = source.draw(("few",), 4, 12)
    losses, hits = [], []
    for tokens, targets in zip(few.inputs, few.targets, strict=True):
        for step in range(order - 1, 12):
            context = 0
            for token in tokens[step - order + 1 : step + 1]:
                context = 3 * context + int(token)
            shares = source.transitions[context]
            losses.append(-math.log(shares[targets[step]]))
            hits.append(shares.argmax() == targets[step])
    found = source.scored(few)
    assert (found.loss, found.accuracy) == pytest.approx((np.mean(losses), np.mean(hits)))
    assert abs(found.loss - source.floor(12).loss) > 0.01  # few sequences are not the mean of all
    many = source.scored(source.draw(("many",), 4_000, 20))
    assert many.loss == pytest.approx(source.floor(20).loss, abs=0.01)


def test_sequences_are_stationary_from_the_first_step_on(drawn):
    contexts = drawn.inputs[:, :-1] * 3 + drawn.inputs[:, 1:]
    for step in (0, 24, 48):
        shares = np.bincount(contexts[:, step], minlength=9) / 4_000
        assert shares == pytest.approx(SOURCE.stationary, abs=0.03)


def test_transitions_are_those_of_the_matrix(drawn):
    contexts = drawn.inputs[:, :-1] * 3 + drawn.inputs[:, 1:]
    counts = np.zeros((9, 3))
    np.add.at(counts, (contexts, drawn.targets[:, 1:]), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert shares == pytest.approx(SOURCE.transitions, abs=0.03)


@pytest.mark.parametrize("symbols, order", [(2, 1), (3, 2), (2, 10), (30, 2)])
def test_a_step_does_not_change_the_stationary_distribution(symbols, order):
    source = Markov(symbols=symbols, order=order)
    before = source.stationary
    after = np.zeros_like(before)
    for context, probability in enumerate(before):
        for symbol in range(symbols):
            following = (context * symbols + symbol) % len(before)
            after[following] += probability * source.transitions[context, symbol]
    assert after == pytest.approx(before, abs=1e-12)
    assert before.sum() == pytest.approx(1.0) and (before >= 0.0).all()
    assert source.transitions.sum(axis=1) == pytest.approx(1.0)


def test_two_symbols_by_hand():
    source = Markov(symbols=2, order=1)
    (_, a), (b, _) = source.transitions  # from 0 to 1, and back
    zero = b / (a + b)
    assert source.stationary == pytest.approx([zero, 1.0 - zero])

    def entropy(p):
        return -p * math.log(p) - (1.0 - p) * math.log(1.0 - p)

    rate = zero * entropy(a) + (1.0 - zero) * entropy(b)
    assert source.floor(1).loss == pytest.approx(rate)
    assert source.chance(1).loss == pytest.approx(entropy(zero))


def test_another_number_is_another_source():
    first, again, other = Markov(), Markov(source=0), Markov(source=1)
    assert np.array_equal(first.transitions, again.transitions)
    assert not np.allclose(first.transitions, other.transitions)
