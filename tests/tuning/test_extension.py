"""What is tried once more: where, by whom, how often, and the same again after a crash."""

import math

import pytest

from harness.study import Choices, Range
from harness.tuning import design
from harness.tuning.extension import next_points, searched_space
from harness.tuning.tried import TriedSetting

RATE = Range(0.01, 0.1, log=True, widen=(0.0005, 3.0))
NAMES = (0, "design", "")
DROPOUT = Range(0.0, 0.5)


def setting(number, values, best):
    nats = 1.4 + sum(
        abs(math.log(value / best[field])) if field == "learning_rate" else abs(value - best[field])
        for field, value in values.items()
    )
    return TriedSetting(number, values, nats, (nats,))


def searched(space, bests, trials=4):
    points = design.points(space, NAMES, trials)
    return {
        arm: [setting(number, values, best) for number, values in enumerate(points)]
        for arm, best in bests.items()
    }


def more(tried, space, fields=None, **options):
    options = {
        "trials": 4,
        "batch": 4,
        "at_most": 12,
        "margin_loss": 0.01,
        "names": NAMES,
    } | options
    fields = fields or {arm: list(space) for arm in tried}
    return next_points(tried, space, fields, **options)


def rates(points):
    return [point["learning_rate"] for point in points]


def test_nothing_while_all_arms_are_bracketed():
    space = {"learning_rate": RATE}
    assert more(searched(space, {"a": {"learning_rate": 0.03}}), space) == []


def test_a_doubling_is_searched_for_all_arms_when_one_is_open():
    space = {"learning_rate": RATE}
    tried = searched(space, {"a": {"learning_rate": 0.03}, "b": {"learning_rate": 0.4}})
    found = rates(more(tried, space))
    places = [math.log10(rate / 0.1) for rate in found]
    assert sorted(math.floor(4 * place) for place in places) == [0, 1, 2, 3]
    assert more(tried, space) == more(dict(reversed(tried.items())), space)


def test_the_search_goes_on_until_the_best_is_inside():
    space, best = {"learning_rate": RATE}, {"learning_rate": 0.4}
    tried = searched(space, {"a": best})
    round_ = more(tried, space)
    tried["a"] += [setting(4 + i, values, best) for i, values in enumerate(round_)]
    assert more(tried, space) == []
    now = searched_space(space, (each.values for each in tried["a"]))["learning_rate"]
    assert (now.low, now.high) == (0.01, pytest.approx(1.0))


def test_later_growths_add_the_same_width_and_stop_at_widen_and_at_most():
    space, best = {"learning_rate": RATE}, {"learning_rate": 1e6}
    tried, highs = searched(space, {"a": best}), []
    for first in (4, 8, 12):
        found = more(tried, space, at_most=14)
        highs.append((min(rates(found)), max(rates(found)), len(found)))
        tried["a"] += [setting(first + i, values, best) for i, values in enumerate(found)]
    assert 0.1 < highs[0][0] < highs[0][1] < 1.0 < highs[1][0] < highs[1][1] < 3.0
    outer = 3.0 / (3.0 / 0.01) ** 0.25  # no growth is left: the outer quarter
    assert outer < highs[2][0] and highs[2][2] == 2
    assert more(tried, space, at_most=14) == []


def test_a_range_that_may_not_grow_is_searched_in_its_outer_quarter():
    space = {"learning_rate": Range(0.01, 0.1, log=True)}
    found = rates(more(searched(space, {"a": {"learning_rate": 0.001}}), space))
    assert all(0.01 <= rate <= 0.01 * 10**0.25 for rate in found)
    space = {"dropout": Range(0.1, 0.5)}
    found = more(searched(space, {"a": {"dropout": 0.7}}), space)
    assert all(0.4 <= point["dropout"] <= 0.5 for point in found)


def test_two_ends_share_a_round_evenly():
    space = {"learning_rate": RATE}
    tried = searched(space, {"a": {"learning_rate": 0.5}, "b": {"learning_rate": 0.002}})
    found = rates(more(tried, space))
    assert sum(rate > 0.1 for rate in found) == sum(rate < 0.01 for rate in found) == 2


def test_other_fields_are_searched_whole():
    space = {"learning_rate": RATE, "dropout": DROPOUT}
    best, corners = {"learning_rate": 0.5, "dropout": 0.25}, [(0.09, 0.2), (0.08, 0.0), (0.08, 0.5)]
    points = [{"learning_rate": rate, "dropout": dropout} for rate, dropout in corners]
    tried = {"a": [setting(i, values, best) for i, values in enumerate(points)]}
    found = more(tried, space, trials=3, at_most=32, batch=8)
    assert all(rate > 0.1 for rate in rates(found))
    dropouts = [math.floor(16 * point["dropout"]) for point in found]
    assert sorted(dropouts) == list(range(8))


def test_a_field_that_does_not_act_in_an_arm_is_not_open_there():
    space = {"learning_rate": RATE}
    tried = searched(space, {"a": {"learning_rate": 0.4}, "b": {"learning_rate": 0.03}})
    assert more(tried, space, {"a": [], "b": ["learning_rate"]}) == []


@pytest.mark.parametrize(
    "field, domain, best, wanted",
    [
        ("num_layers", Range(1, 3, widen=(1, 5)), 9, {4, 5}),
        ("num_layers", Range(2, 3, widen=(1, 9)), 9, set()),  # two values: nothing between them
        ("num_layers", Range(3, 5, widen=(1, 9)), 1, {1, 2}),
        ("num_layers", Range(1, 3), 9, set()),
        ("dropout", Range(0.2, 0.4, step=0.1, widen=(0.05, 0.75)), 0.9, {0.5, 0.6, 0.7}),
        ("dropout", Range(0.2, 0.4, step=0.1, widen=(0.05, 0.75)), 0.0, {0.1}),
        ("clip_norm", Choices((0.25, 1.0, 4.0)), 9.0, set()),
    ],
)
def test_whole_numbers_steps_and_lists(field, domain, best, wanted):
    space = {field: domain}
    values = design.listed(field, domain)
    tried = {"a": [setting(i, {field: value}, {field: best}) for i, value in enumerate(values)]}
    found = more(tried, space, trials=len(values))
    assert {round(point[field], 6) for point in found} <= wanted
    assert bool(found) == bool(wanted)
    now = searched_space(space, (point for point in [*found, *({field: v} for v in values)]))
    assert all(point[field] in design.listed(field, now[field]) for point in found)


def test_values_of_a_list_that_were_not_reached_are_tried():
    space = {"clip_norm": Choices((16.0, 0.25, 1.0, 4.0, 8.0))}
    tried = [setting(i, {"clip_norm": v}, {"clip_norm": 99.0}) for i, v in enumerate((0.25, 1, 4))]
    found = more({"a": tried}, space, trials=3)
    assert {point["clip_norm"] for point in found} == {8.0, 16.0}


def test_whole_numbers_searched_by_their_logarithm_grow_too():
    space = {"hidden_size": Range(16, 64, log=True, widen=(4, 1024))}
    tried = searched(space, {"a": {"hidden_size": 999}})
    found = [point["hidden_size"] for point in more(tried, space)]
    assert all(isinstance(size, int) and 64 < size <= 256 for size in found)


def test_no_round_before_the_budget_has_ended_in_every_arm():
    space = {"learning_rate": RATE}
    tried = searched(space, {"a": {"learning_rate": 0.4}, "b": {"learning_rate": 0.4}})
    assert more(tried, space, num_ended=3) == []
    assert more(tried, space, at_most=4) == []
    assert more({"a": [], "b": []}, space) == []


def test_a_round_is_decided_by_the_rounds_before_it():
    space, best = {"learning_rate": RATE}, {"learning_rate": 0.4}
    tried = searched(space, {"a": best, "b": best})
    whole = more(tried, space)
    for i in (2, 0, 3):  # arms come to different trials, in any order; some fail
        tried["a"].append(setting(4 + i, whole[i], best))
        assert more(tried, space, num_ended=4) == whole


def test_an_arm_that_came_later_goes_the_way_of_the_older_ones():
    space, best = {"learning_rate": RATE}, {"learning_rate": 0.4}
    tried = searched(space, {"a": best})
    first = more(tried, space)
    tried["a"] += [setting(4 + i, values, best) for i, values in enumerate(first)]
    tried |= searched(space, {"b": {"learning_rate": 0.001}})
    assert more(tried, space, num_ended=4) == first
    tried["b"] += [
        setting(4 + i, values, {"learning_rate": 0.001}) for i, values in enumerate(first)
    ]
    found = rates(more(tried, space))
    assert len(found) == 4 and max(found) < 0.01


def test_a_search_that_no_arm_needs_any_more_keeps_what_it_began():
    space, best = {"learning_rate": RATE}, {"learning_rate": 0.03}
    tried = searched(space, {"a": best})
    tried["a"].append(setting(4, {"learning_rate": 0.2}, best))
    assert more(tried, space, num_ended=4) == [{"learning_rate": 0.2}]


def test_the_space_holds_all_that_was_tried():
    space = {"learning_rate": RATE, "optimizer": Choices(("sgd", "adam"))}
    tried = [{"learning_rate": rate, "optimizer": "sgd"} for rate in (0.0007, 0.05, 1.5)]
    now = searched_space(space, tried)
    assert (now["learning_rate"].low, now["learning_rate"].high) == (0.0005, 3.0)
    assert now["optimizer"] == space["optimizer"]
    assert searched_space(space, []) == space
    fixed = {"learning_rate": Range(0.01, 0.1, log=True)}
    assert searched_space(fixed, [{"learning_rate": 0.05}]) == fixed
