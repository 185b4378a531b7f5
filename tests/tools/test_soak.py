"""The judge of a soak finds what grows, however much the samples waver."""

import random

import pytest
import soak

FLAT = {
    "memory_bytes": 500e6,
    "descriptors": 20,
    "threads": 6,
    "temporary_files": 1,
    "cache_files": 9,
}


def samples(count=30, **grown_by):
    """Returns samples that waver, by 2 percent or by one, of which some grow with every study."""
    draw = random.Random(0)
    width = {name: 0.02 * start if start > 1e6 else 1.0 for name, start in FLAT.items()}
    width["cache_files"] = 0.0
    return [
        {
            name: start + width[name] * draw.uniform(-1, 1) + number * grown_by.get(name, 0.0)
            for name, start in FLAT.items()
        }
        for number in range(count)
    ]


def test_what_wavers_is_flat():
    assert soak.too_large(soak.grown(samples())) == []


@pytest.mark.parametrize(
    ("name", "a_study"),
    [("descriptors", 4.3), ("memory_bytes", 10.7e6)],  # what 30 studies once left: 129 and 320 MB
)
def test_what_a_study_once_left_behind_is_seen_after_a_dozen(name, a_study):
    assert soak.too_large(soak.grown(samples(soak.FEWEST, **{name: a_study}))) == [name]


@pytest.mark.parametrize(
    ("name", "a_study"),
    [
        ("descriptors", 0.25),
        ("memory_bytes", 2e6),
        ("threads", 0.2),
        ("temporary_files", 0.25),
        ("cache_files", 0.1),
    ],
)
def test_what_grows_slowly_is_seen_in_half_an_hour(name, a_study):
    assert soak.too_large(soak.grown(samples(**{name: a_study}))) == [name]


def test_what_was_loaded_first_is_no_growth():
    warm = samples()
    warm[0] = {name: 0.0 for name in warm[0]}
    assert soak.too_large(soak.grown(warm)) == []


def test_few_samples_say_nothing():
    with pytest.raises(ValueError, match=f"at least {soak.FEWEST} studies must have run"):
        soak.grown(samples(soak.FEWEST - 1))
