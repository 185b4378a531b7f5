"""Flat, open or bracketed, field by field."""

import math

import pytest

from harness.study import Choices, Range
from harness.tuning.bracketing import Bracket, best_of, brackets, seed_squares, tolerance
from harness.tuning.tried import TriedSetting

RATE = Range(0.001, 1.0, log=True)
MARGIN = 0.01


def tried(rows, field="learning_rate"):
    """Returns settings of (value, nats) or (value, end, lead) rows."""
    settings = []
    for number, (value, *rest) in enumerate(rows):
        if isinstance(rest[0], str):
            end, lead = (rest[0], rest[1] if len(rest) > 1 else None)
            seeds = (3.0,) if end == "diverged" else ()
            settings.append(TriedSetting(number, {field: value}, 3.0, seeds, end, lead))
        else:
            settings.append(TriedSetting(number, {field: value}, rest[0], (rest[0],)))
    return settings


def one(rows, domain=RATE, field="learning_rate"):
    return brackets(tried(rows, field), {field: domain}, [field], MARGIN).get(field)


@pytest.mark.parametrize(
    "rows, kind, edge",
    [
        ([(0.01, 1.5), (0.03, 1.4), (0.1, 1.5)], "bracketed", ""),
        ([(0.01, 1.4), (0.03, 1.5), (0.1, 1.6)], "open", "smallest"),
        ([(0.01, 1.6), (0.03, 1.5), (0.1, 1.4)], "open", "largest"),
        ([(0.01, 1.5), (0.03, 1.4), (0.1, 1.409)], "open", "largest"),
        ([(0.01, 1.5), (0.03, 1.4), (0.1, 1.411)], "bracketed", ""),
        ([(0.01, 1.405), (0.03, 1.5), (0.1, 1.4)], "flat", ""),
        ([(0.01, 1.5), (0.03, 1.4), (0.1, "diverged")], "bracketed", ""),
        ([(0.1, "diverged"), (0.01, "diverged"), (0.03, 1.4)], "bracketed", ""),
        # a pruned setting: known to be worse, perhaps as good, nothing known
        ([(0.01, 1.5), (0.03, 1.4), (0.1, "pruned", 0.02)], "bracketed", ""),
        ([(0.01, 1.5), (0.03, 1.4), (0.1, "pruned", 0.005)], "open", "largest"),
        ([(0.01, 1.5), (0.03, 1.4), (0.1, "pruned", -0.1)], "open", "largest"),
        ([(0.01, 1.5), (0.03, 1.4), (0.1, "pruned")], "open", "largest"),
        # what nobody knows makes no field flat, and the surer end goes first
        ([(0.01, 1.4), (0.03, 1.5), (0.1, "pruned")], "open", "smallest"),
        ([(0.01, "pruned", 0.009), (0.03, 1.4), (0.1, "pruned", 0.001)], "open", "largest"),
        # two settings at the end: one suffices
        ([(0.01, 1.5), (0.03, 1.4), (0.1, 1.8), (0.1, 1.4)], "open", "largest"),
        ([(0.03, 1.4)], "open", "smallest"),
        ([(0.03, 1.4), (0.03, 1.4)], "open", "smallest"),
    ],
)
def test_kinds(rows, kind, edge):
    found = one(rows)
    assert (found.kind, found.edge, found.excuse) == (kind, edge, "")


def test_the_best_and_the_end_are_named():
    found = one([(0.01, 1.5), (0.03, 1.4), (0.1, 1.405)])
    assert found == Bracket("open", "largest", 0.03, 0.1)


def test_of_equal_settings_the_earlier_is_the_best():
    assert best_of(tried([(0.1, 1.4), (0.01, 1.4)])).values == {"learning_rate": 0.1}
    assert best_of(tried([(0.1, "diverged"), (0.2, "pruned")])) is None
    assert one([(0.1, "diverged")]) is None


@pytest.mark.parametrize(
    "field, domain, values, kind, edge, excuse",
    [
        ("dropout", Range(0.0, 0.8), (0.02, 0.4, 0.7), "bracketed", "smallest", "limit"),
        ("dropout", Range(0.1, 0.8), (0.12, 0.4, 0.7), "open", "smallest", ""),
        ("learning_rate", RATE, (0.0011, 0.1, 0.9), "open", "smallest", ""),
        ("clip_norm", Choices((0.2, 1.0, None)), (None, 1.0, 0.2), "bracketed", "largest", "limit"),
        ("clip_norm", Choices((0.25, 1.0, None)), (0.25, 1.0, None), "open", "smallest", ""),
        ("clip_norm", Choices((0.25, 1.0, 4.0)), (4.0, 1.0, 0.25), "open", "largest", ""),
        ("step_factor", Range(0.1, 1.0), (0.97, 0.5, 0.12), "bracketed", "largest", "limit"),
        ("step_factor", Range(0.1, 0.9), (0.87, 0.5, 0.12), "open", "largest", ""),
        ("num_layers", Range(1, 4), (1, 2, 4), "bracketed", "smallest", "limit"),
        ("num_layers", Range(1, 4), (4, 2, 1), "open", "largest", ""),
        (
            "learning_rate",
            Range(0.001, 1.0, log=True, edge="accept"),
            (0.0011, 0.1, 0.9),
            "bracketed",
            "smallest",
            "accepted",
        ),
        (
            "clip_norm",
            Choices((0.25, 1.0, 4.0), edge="accept"),
            (4.0, 1.0, 0.25),
            "bracketed",
            "largest",
            "accepted",
        ),
    ],
)  # fmt: skip
def test_ends_that_need_no_more(field, domain, values, kind, edge, excuse):
    found = one([(v, 1.4 + 0.1 * i) for i, v in enumerate(values)], domain, field)
    assert (found.kind, found.edge, found.excuse) == (kind, edge, excuse)
    assert found.value == found.end == values[0]


def test_an_excused_end_does_not_hide_an_open_one():
    rows = [(0.0, "pruned", 0.0), (0.4, 1.4), (0.7, "pruned", 0.005)]
    found = one(rows, Range(0.0, 0.8), "dropout")
    assert (found.kind, found.edge) == ("open", "largest")


@pytest.mark.parametrize(
    "field, domain, values",
    [
        ("optimizer", Choices(("sgd", "adam", "adamw")), ("sgd", "adam", "adamw")),
        ("learned_start", Choices((True, False)), (True, False)),
        ("forget_bias", Choices((0.0, 1.0, None)), (0.0, 1.0, None)),
        ("clip_norm", Choices((1.0, None)), (1.0, None)),
    ],
)
def test_what_has_no_order_has_no_ends(field, domain, values):
    assert one([(v, 1.4 + 0.1 * i) for i, v in enumerate(values)], domain, field) is None


def test_a_field_that_does_not_act_is_left_out():
    settings = tried([(0.01, 1.5), (0.03, 1.4), (0.1, 1.5)])
    assert brackets(settings, {"learning_rate": RATE}, [], MARGIN) == {}


def several(*seeds, num_lost=0, number=0):
    mean = sum(seeds) / len(seeds)
    return TriedSetting(number, {"learning_rate": 0.1}, mean, seeds, num_lost=num_lost)


def test_the_noise_of_seeds_widens_what_counts_as_good():
    quiet, noisy = [several(1.4, 1.402, 1.398)], [several(1.4, 1.43, 1.37)]
    assert tolerance(quiet, MARGIN) == pytest.approx(0.01)
    assert tolerance(noisy, MARGIN) == pytest.approx(2.0 * 0.03 / math.sqrt(3))
    assert tolerance(tried([(0.1, 1.4)]), MARGIN) == pytest.approx(0.01)


def test_the_noise_is_that_of_good_settings_with_all_their_seeds():
    good, bad = several(1.4, 1.41), several(1.8, 2.2, number=1)
    lost = several(1.3, 3.4, num_lost=1, number=2)
    assert seed_squares([bad, good]) == (pytest.approx(0.01**2 / 2), 1)
    assert seed_squares([lost, bad, good]) == (pytest.approx(0.01**2 / 2), 1)
    assert seed_squares([lost]) == (0.0, 0)
