"""Who runs again, and who is chosen."""

import pytest

from harness.tuning.finalists import choose, leaders
from harness.tuning.tried import TriedSetting


def setting(number, nats, end="finished"):
    return TriedSetting(number, {"rate": number}, nats, (nats,), end)


def test_the_best_finished_settings_lead():
    tried = [setting(3, 1.4), setting(0, 1.5), setting(2, 1.4), setting(1, 1.3, "pruned")]
    tried.append(setting(4, 1.2, "diverged"))
    assert leaders(tried, 2) == [2, 3]
    assert leaders(tried, 9) == [2, 3, 0]
    assert leaders([], 3) == []


def test_one_setting_is_one_finalist():
    tried = [TriedSetting(k, {"depth": k % 2}, 1.0 + k, (1.0 + k,)) for k in range(6)]
    assert leaders(tried, 3) == [0, 1]


def test_the_mean_over_both_rounds_chooses():
    assert choose({2: (1.40, 1.60, 1.60), 5: (1.50, 1.50, 1.50)}) == 5
    assert choose({5: (1.5, 1.5), 2: (1.5, 1.5)}) == 2  # of equals the earlier


def test_a_lost_seed_counts():
    assert choose({0: (1.4, 1.4, 3.4), 1: (1.6, 1.6, 1.6)}) == 1


@pytest.mark.parametrize("seeds", [{}, {1: (1.4,), 2: ()}])
def test_refuses_what_has_not_run(seeds):
    with pytest.raises(ValueError, match="one finalist or more, each with a seed or more"):
        choose(seeds)
