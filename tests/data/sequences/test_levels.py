"""What guesses score, and by how much luck may better it."""

import numpy as np
import pytest

from harness.data.sequences import Sequences, levels, memory

COUNT, SETS = 200, 400


def fresh(name, length, number, count=COUNT):
    return memory.make(name).draw(("luck", number), count, length)


@pytest.fixture(scope="module")
def threshold():
    """What is asked of a model of parity or of adding, judged by a set of 200 sequences."""

    def asked(name, length):
        task = memory.make(name)
        chance = task.chance(length)
        known = {"cross_entropy": chance.loss, "accuracy": chance.accuracy}
        if not task.predicts_classes:
            part = fresh(name, length, 0)
            mae = levels.guess_by_value(part)["distances"].mean()
            known = {"mse": chance.loss, "mae": float(mae)}
        given = fresh(name, length, 0), task.predicts_classes, task.num_outputs
        return levels.beyond_luck(known, *given)

    return asked


def test_a_coin_passes_for_what_has_learned_once_in_some_hundred_sets(threshold):
    coins = np.random.default_rng(0)
    exact = 0.5
    needed = threshold("parity", 12)["accuracy"]
    shares = [
        (coins.integers(0, 2, (COUNT, 12)) == fresh("parity", 12, number).targets).mean()
        for number in range(SETS)
    ]
    # Half of all sets show a coin as better than a coin.
    assert np.mean(np.array(shares) > exact) > 0.4
    assert np.mean(np.array(shares) > needed) <= 0.01
    assert needed == pytest.approx(0.5 + 3 * 0.5 / np.sqrt(COUNT * 12), abs=1e-3)


def test_a_constant_passes_for_what_has_learned_to_add_once_in_some_hundred_sets(threshold):
    needed = threshold("adding", 6)["mse"]
    sums = np.stack([fresh("adding", 6, number).targets[:, -1, 0] for number in range(SETS)])
    scores = ((sums - 1.0) ** 2).mean(axis=1)
    assert np.mean(scores < 1 / 6) > 0.4
    assert np.mean(scores < needed) <= 0.01
    assert needed == pytest.approx(1 / 6 - 3 * np.sqrt((1 / 15 - 1 / 36) / COUNT), rel=0.1)


def test_the_cross_entropy_of_a_guess_by_step_has_the_error_of_its_draw():
    """Counting's letters are guessed by how frequent each is at each step, as in closed form."""
    task = memory.make("counting")
    shares = (
        np.eye(task.num_outputs)[(many := fresh("counting", 12, 0, 20_000)).targets]
        * many.weights[..., None]
    ).sum(axis=0)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
    logs = np.log(np.maximum(shares, 1e-12))
    scores = []
    for number in range(1, SETS):
        part = fresh("counting", 12, number)
        losses = -np.take_along_axis(logs[None].repeat(COUNT, 0), part.targets[..., None], 2)[
            ..., 0
        ]
        scores.append(np.average(losses, weights=part.weights))
    level = task.chance(12)
    known = {"cross_entropy": level.loss, "accuracy": level.accuracy}
    asked = levels.beyond_luck(known, fresh("counting", 12, 0), True, task.num_outputs)
    assert np.mean(np.array(scores) < asked["cross_entropy"]) <= 0.02


def test_of_a_few_sequences_half_of_what_is_to_be_learned_is_asked():
    targets = np.array([[[0.2]], [[1.9]]])
    few = Sequences(targets, targets, np.ones((2, 1)))
    found = levels.beyond_luck({"mse": 0.2, "mae": 0.4}, few, False, 1)
    assert found == pytest.approx({"mse": 0.2, "mae": 0.4}, rel=1e-12)  # both are as far away
    targets = np.array([[[0.2]], [[1.9]], [[1.0]]])
    few = Sequences(targets, targets, np.ones((3, 1)))
    assert levels.beyond_luck({"mse": 0.2, "mae": 0.4}, few, False, 1)["mse"] == 0.1


def test_a_constant_class_is_scored_as_scikit_learn_does():
    from sklearn import metrics

    targets = np.array([[0, 2, 2, 3, 2, 0]])
    weights = np.array([[1, 1, 1, 1, 0, 1.0]])
    found = levels.guess_of_classes(Sequences(targets, targets, weights), 5)
    kept = targets[weights > 0]
    constant = np.zeros_like(kept)  # 0 and 2 are as frequent
    assert found["accuracy"] == metrics.accuracy_score(kept, constant)
    assert found["macro_f1"] == pytest.approx(
        metrics.f1_score(kept, constant, average="macro", zero_division=0)
    )
