"""The points that arms share: even, the same for all, each to be had alone."""

import dataclasses
import math
import sys

import numpy as np
import pytest
import torch
from scipy.stats import qmc

from harness import randomness, study
from harness.study import Choices, Range
from harness.tuning import design

RATE = Range(0.003, 0.1, log=True)
SPACE = {
    "learning_rate": RATE,
    "num_layers": Range(1, 4),
    "dropout": Range(0.0, 0.6, step=0.2),
    "hidden_size": Range(16, 256, log=True),
    "clip_norm": Choices((0.25, 1.0, None)),
    "optimizer": Choices(("sgd", "adam")),
}
NAMES = (0, "design", "")


def test_points_are_the_sobol_sequence_after_a_digital_shift():
    found = design.points({"learning_rate": RATE, "dropout": Range(0.0, 1.0)}, NAMES, 8)
    whole = (qmc.Sobol(2, scramble=False).random(8) * 2**30).astype(np.uint64)
    for column, field in enumerate(("dropout", "learning_rate")):  # by name
        digits = np.uint64(randomness.uniform(*NAMES, field, shape=(1,))[0] * 2**30)
        u = ((whole[:, column] ^ digits) + 0.5) / 2**30
        values = [point[field] for point in found]
        wanted = u if field == "dropout" else 0.003 * (0.1 / 0.003) ** u
        assert values == pytest.approx(wanted.tolist())


@pytest.mark.parametrize("num_fields", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 64, 1000])
def test_the_sequence_is_one_whichever_library_is_loaded(monkeypatch, num_fields, count):
    assert sys.modules["torch"] is torch
    by_torch = design.sobol(num_fields, count)
    monkeypatch.delitem(sys.modules, "torch")
    by_scipy = design.sobol(num_fields, count)
    assert by_torch.dtype == by_scipy.dtype == np.uint64
    assert by_torch.shape == by_scipy.shape == (count, num_fields)
    assert by_torch.tolist() == by_scipy.tolist()


def test_any_point_can_be_had_alone():
    whole = design.points(SPACE, NAMES, 20)
    assert design.points(SPACE, NAMES, 3, first=11) == whole[11:14]
    assert design.points(SPACE, NAMES, 0) == []
    assert design.points(dict(reversed(SPACE.items())), NAMES, 20) == whole


@pytest.mark.parametrize("search_seed", range(5))
@pytest.mark.parametrize("count", [4, 8, 16])
def test_points_are_even_whatever_the_shift(search_seed, count):
    found = design.points(SPACE, (search_seed, "design", ""), count)
    places = [design.place_of("learning_rate", RATE, point["learning_rate"]) for point in found]
    assert sorted(math.floor(place * count) for place in places) == list(range(count))
    layers = [point["num_layers"] for point in found]
    assert [layers.count(n) for n in (1, 2, 3, 4)] == [count // 4] * 4
    optimizers = [point["optimizer"] for point in found]
    assert optimizers.count("sgd") == optimizers.count("adam") == count // 2


def test_a_point_is_uniform_over_shifts():
    found = [design.points({"learning_rate": RATE}, (seed, "x"), 1, 2)[0] for seed in range(800)]
    places = [design.place_of("learning_rate", RATE, point["learning_rate"]) for point in found]
    counts = np.histogram(places, bins=8, range=(0.0, 1.0))[0]
    # 100 each, within 4.4 standard deviations: one of eight leaves them in 1e-4 of all tests
    assert np.abs(counts - 100).max() <= 4.4 * math.sqrt(800 * 1 / 8 * 7 / 8)


def test_values_are_of_the_field_and_within_what_is_searched():
    for point in design.points(SPACE, NAMES, 64):
        assert list(point) == sorted(SPACE)
        assert isinstance(point["learning_rate"], float) and 0.003 <= point["learning_rate"] <= 0.1
        assert isinstance(point["num_layers"], int) and 1 <= point["num_layers"] <= 4
        assert isinstance(point["hidden_size"], int) and 16 <= point["hidden_size"] <= 256
        assert point["dropout"] == pytest.approx(0.2 * round(point["dropout"] / 0.2))
        assert point["clip_norm"] in (0.25, 1.0, None) and point["optimizer"] in ("sgd", "adam")


@pytest.mark.parametrize("field", ["learning_rate", "num_layers", "dropout", "clip_norm"])
@pytest.mark.parametrize("u", [0.0, 0.2, 0.5, 0.9, 1.0 - 2.0**-31])
def test_a_place_is_the_inverse_of_a_value(field, u):
    value = design.value_at(field, SPACE[field], u)
    place = design.place_of(field, SPACE[field], value)
    assert design.value_at(field, SPACE[field], place) == pytest.approx(value)


def test_the_ends_of_a_range_of_whole_numbers_are_as_likely_as_the_others():
    values = [design.value_at("num_layers", Range(1, 4), (k + 0.5) / 100) for k in range(100)]
    assert [values.count(n) for n in (1, 2, 3, 4)] == [25] * 4


def test_a_grid_is_whole_and_of_one_order_for_all_arms():
    space = {"num_layers": Range(1, 3), "clip_norm": Choices((0.25, None))}
    found = design.grid(space, NAMES)
    assert len(found) == 6
    assert {(p["num_layers"], p["clip_norm"]) for p in found} == {
        (layers, clip) for layers in (1, 2, 3) for clip in (0.25, None)
    }
    assert found == design.grid(dict(reversed(space.items())), NAMES)
    others = [design.grid(space, (seed, "design", "")) for seed in range(1, 6)]
    assert any(other != found for other in others)


@pytest.mark.parametrize(
    "fields, trials, sampler, number",
    [
        (("learning_rate",), 4, "tpe", 4),
        (("learning_rate",), 24, "tpe", 8),
        (("learning_rate", "clip_norm"), 24, "tpe", 16),
        (("learning_rate", "optimizer"), 24, "tpe", 8),
        (("optimizer",), 24, "tpe", 8),
        (("clip_norm",), 24, "grid", 3),
    ],
)
def test_how_many_points_begin_a_search(fields, trials, sampler, number):
    space = {field: SPACE[field] for field in fields}
    tune = study.Tune(space, trials, 4, sampler, "none", 0)
    assert design.num_start_up(tune) == number
    grown = dataclasses.replace(tune, trials=trials + 4)
    assert number <= design.num_start_up(grown) <= number + 4


@pytest.mark.parametrize(
    "field, domain, is_ordered",
    [
        ("learning_rate", RATE, True),
        ("num_layers", Range(1, 2), False),
        ("num_layers", Range(1, 3), True),
        ("clip_norm", Choices((0.25, 1.0, None)), True),
        ("clip_norm", Choices((1.0, None)), False),
        ("forget_bias", Choices((0.0, 1.0, None)), False),
        ("optimizer", Choices(("sgd", "adam", "adamw")), False),
        ("learned_start", Choices((True, False)), False),
        ("learned_start", Choices((True, False, 1)), False),
    ],
)
def test_which_fields_have_an_order(field, domain, is_ordered):
    assert design.is_ordered(field, domain) == is_ordered


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0.1, 0.7, 0.1), (0.1, 0.3, 0.1), (0.2, 1.1, 0.3)]
)
def test_steps_are_written_as_a_person_writes_them(low, high, step):
    domain = Range(low, high, step=step)
    values = design.listed("dropout", domain)
    assert values == [round(low + k * step, 6) for k in range(domain.num_steps)]
    assert values[-1] == high == design.value_at("dropout", domain, 0.999999)
