"""Draws by name: the same everywhere for ever, and distributed as they say; metrics' pure
conversions.
"""

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest

from harness import metrics, randomness

GOLDEN_UNIFORM = [0.8093082902072118, 0.1456424960507623]
GOLDEN_PERMUTATION = [2, 4, 1, 3, 0]


def test_a_key_is_the_hash_of_its_names_and_nothing_else():
    expected = hashlib.sha256(b'[1, "weights"]').digest()[:16]
    assert randomness.key(1, "weights") == int.from_bytes(expected, "little")


@pytest.mark.parametrize(
    "one, other",
    [
        ((1, "a"), ("1", "a")),
        (("a", "b"), ("ab",)),
        (("a", 1), (1, "a")),
        ((1,), (1, 0)),
        (("a,b",), ("a", "b")),
    ],
)
def test_other_names_give_another_key(one, other):
    assert randomness.key(*one) != randomness.key(*other)


def test_draws_are_equal_in_another_process():
    code = "from harness import randomness as r; "
    code += "print(r.uniform(1, 'a', shape=(3,)).tolist(), r.key('b'))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert outputs == {f"{randomness.uniform(1, 'a', shape=(3,)).tolist()} {randomness.key('b')}\n"}


def test_golden_draws():
    """Philox 4x64-10 under SHA-256: to be regenerated only where a new version of studies is
    declared.
    """
    assert randomness.uniform(0, "weights", shape=(2,)).tolist() == GOLDEN_UNIFORM
    assert randomness.permutation(0, "order", count=5).tolist() == GOLDEN_PERMUTATION


def test_uniform_moments_and_range():
    draws = randomness.uniform("u", shape=(200, 500))
    assert draws.shape == (200, 500) and draws.dtype == np.float64
    assert draws.min() >= 0.0 and draws.max() < 1.0
    standard_error = math.sqrt(1 / 12 / draws.size)
    assert abs(draws.mean() - 0.5) < 4 * standard_error
    assert draws.var() == pytest.approx(1 / 12, rel=0.01)


@pytest.mark.parametrize("count", [1, 2, 7, 100_000])
def test_normal_moments_and_odd_counts(count):
    draws = randomness.normal("n", shape=(count,))
    assert draws.shape == (count,) and np.isfinite(draws).all()
    if count > 1000:
        assert abs(draws.mean()) < 4 / math.sqrt(count)
        assert draws.std() == pytest.approx(1.0, rel=0.01)
        assert (np.abs(draws) < 1.959964).mean() == pytest.approx(0.95, abs=0.003)
        assert abs(np.corrcoef(draws[: count // 2], draws[count // 2 :])[0, 1]) < 4 / math.sqrt(
            count // 2
        )


def test_integers_reach_both_ends_equally_often():
    draws = [randomness.integer("i", k, high=4) for k in range(5000)]
    assert np.bincount(draws, minlength=5).tolist() == pytest.approx(
        [1000] * 5, abs=4 * math.sqrt(800)
    )
    assert randomness.integer("i", high=0) == 0


def test_a_permutation_holds_every_number_once_and_every_order_is_as_likely():
    assert sorted(randomness.permutation("p", count=100)) == list(range(100))
    orders = [tuple(randomness.permutation("p", k, count=3)) for k in range(3000)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6 and counts == pytest.approx([500] * 6, abs=4 * math.sqrt(500 * 5 / 6))


def test_perplexity_and_bits():
    assert metrics.perplexity(math.log(43)) == pytest.approx(43)
    assert metrics.bits(math.log(8)) == pytest.approx(3)
    assert metrics.perplexity(1e9) == math.inf
    assert math.isnan(metrics.perplexity(math.nan))
