"""Tokens are chosen by the laws of their distributions, and text as one reads it from its start."""

import math

import numpy as np
import pytest
import torch

import cells
from harness import engine
from harness.model.architecture import single_layer
from harness.model.network import Model
from harness.tasks.generation import Choice, ChoiceError, Stream, continued

SIZE = 40
LAST = 1.0 - 2.0**-53
"""The largest draw below 1."""


@pytest.fixture(scope="module")
def scores():
    drawn = torch.randn(SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return 2.0 * drawn


def support(probabilities):
    return set(np.flatnonzero(probabilities).tolist())


@pytest.mark.parametrize("top_k", [1, 2, 7, SIZE, 3 * SIZE])
def test_top_k_leaves_the_k_likeliest_in_their_proportions(scores, top_k):
    whole = Choice(0.8).probabilities(scores)
    cut = Choice(0.8, top_k).probabilities(scores)
    kept = set(scores.argsort(descending=True)[:top_k].tolist())
    assert support(cut) == kept
    assert cut.sum() == pytest.approx(1.0)
    index = sorted(kept)
    assert cut[index] * whole[index].sum() == pytest.approx(whole[index])


@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.8, 0.99, 1.0])
@pytest.mark.parametrize("top_k", [None, 12])
def test_the_nucleus_is_the_fewest_tokens_that_come_to_p(scores, top_p, top_k):
    before = Choice(1.3, top_k).probabilities(scores)
    cut = Choice(1.3, top_k, top_p).probabilities(scores)
    kept = sorted(support(cut), key=lambda token: -before[token])
    assert kept == np.argsort(-before, kind="stable")[: len(kept)].tolist()
    mass = float(before[kept].sum())
    assert mass >= top_p - 1e-12
    assert mass - float(before[kept[-1]]) < top_p  # without the least likely it is too little
    assert cut[kept] * mass == pytest.approx(before[kept])


def test_temperature_goes_from_the_likeliest_token_to_any(scores):
    likeliest = Choice().probabilities(scores)
    assert support(likeliest) == {int(scores.argmax())}
    for cold in (1e-2, 5e-324):  # at the second the quotients overflow
        assert Choice(cold).probabilities(scores) == pytest.approx(likeliest)
    assert Choice(1e12).probabilities(scores) == pytest.approx(np.full(SIZE, 1 / SIZE))
    assert Choice(1.0).probabilities(scores) == pytest.approx(scores.softmax(0).numpy())


def test_of_equally_likely_tokens_the_first_are_kept():
    level = torch.zeros(6)
    assert support(Choice(1.0, top_k=2).probabilities(level)) == {0, 1}
    assert support(Choice(1.0, top_p=0.5).probabilities(level)) == {0, 1, 2}
    assert Choice().token(level, 0.9) == 0


@pytest.mark.parametrize("choice", [Choice(), Choice(0.7), Choice(1.5, 5), Choice(1.0, 20, 0.9)])
def test_even_draws_select_each_token_as_often_as_it_is_likely(scores, choice):
    count = 4000
    drawn = [choice.token(scores, (i + 0.5) / count) for i in range(count)]
    counts = np.bincount(drawn, minlength=SIZE)
    probabilities = choice.probabilities(scores)
    assert np.abs(counts - count * probabilities).max() <= 1
    assert support(counts) <= support(probabilities)
    for draw in (0.0, LAST):
        assert choice.token(scores, draw) in support(probabilities)


def test_all_that_is_wrong_with_a_choice_is_told_at_once():
    with pytest.raises(ChoiceError) as error:
        Choice(-1.0, 0, 1.5)
    told = str(error.value).splitlines()
    assert [line.partition(":")[0] for line in told] == ["temperature", "top_k", "top_p"]
    assert "top_p: must be > 0 and <= 1, but got top_p=1.5" in told[2]
    for cut in ({"top_k": 3}, {"top_p": 0.5}):
        with pytest.raises(ChoiceError, match="temperature: must be given where top_k or top_p is"):
            Choice(**cut)
    for wrong in (0.0, math.inf, math.nan):
        with pytest.raises(ChoiceError, match="temperature: must be > 0"):
            Choice(wrong)


@torch.no_grad()
@pytest.mark.parametrize("cell", ["lstm", "gru", "antisymmetric-rnn"])
def test_a_carried_state_writes_what_reading_all_anew_for_every_token_does(cell):
    arch = single_layer(cells.find(cell), 11, 6)
    model = Model(arch, engine.get("reference"))
    generator = torch.Generator().manual_seed(3)
    parameters = {
        slot.name: torch.randn(1, *slot.shape, generator=generator, dtype=torch.float64)
        for slot in arch.slots()
    }
    draws = np.random.default_rng(0).random(30).tolist()

    def anew(choose):
        ids = [3, 1, 4]
        for draw in draws:
            inputs = torch.tensor(ids).view(-1, 1, 1)
            rows, _ = model(parameters, inputs, model.initial_states(parameters, 1, 1))
            scores = rows[0, -1] @ parameters["readout.W"][0] + parameters["readout.b"][0]
            ids.append(choose(scores.numpy(), draw))
        return ids[3:]

    def of_the_four_likeliest(scores, draw):
        weights = np.exp((scores - scores.max()) / 0.9)
        weights[np.argsort(-scores)[4:]] = 0.0
        return int(np.argmax(np.cumsum(weights) > draw * weights.sum()))

    def written(choice):
        return continued(Stream(model, parameters), [3, 1, 4], choice, draws)

    assert written(Choice(0.9, 4)) == anew(of_the_four_likeliest)
    assert written(Choice()) == anew(lambda scores, _: int(scores.argmax()))
    assert len(set(written(Choice(0.9, 4)))) > 1
