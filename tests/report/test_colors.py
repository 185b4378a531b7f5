import numpy as np
import pytest
from planted import study

from harness.report import colors, drawing

MOST_ARMS = 256  # of a study


def least_distance(found, visions=slice(None)):
    places = colors.seen(found)[:, visions]
    return min(colors.distances(places[:i], place).min() for i, place in enumerate(places) if i > 0)


def test_an_arm_has_one_colour_in_figures_and_pages():
    arms = [f"arm {i}" for i in range(30)]
    looks = drawing.palette(study(*arms).arms)
    assert colors.by_arm(arms, "arm 0") == {name: look.color for name, look in looks.items()}
    assert colors.by_arm(arms, "arm 7")["arm 7"] == "#000000"


def test_no_two_arms_of_the_largest_study_have_the_same_colour_and_conditions_repeat_none():
    arms = [f"arm {i}" for i in range(MOST_ARMS)]
    found = colors.by_arm(arms * 2, arms[0])
    assert list(found) == arms and len(set(found.values())) == MOST_ARMS
    assert least_distance(list(found.values())) > 2.3, "what an eye just notices"


@pytest.mark.parametrize(("count", "least"), [(8, (30, 20, 20)), (20, (12, 10, 10))])
def test_arms_are_told_apart_by_colour_alone_with_any_vision(count, least):
    for vision, distance in enumerate(least):
        assert least_distance(colors.distinct(count), [vision]) > distance, vision


def test_an_arm_that_is_added_behind_changes_no_colour():
    arms = [f"arm {i}" for i in range(24)]
    before, after = colors.by_arm(arms[:20], "arm 3"), colors.by_arm(arms, "arm 3")
    assert before.items() <= after.items()


def test_colours_of_one_luminance_that_a_missing_pigment_confuses_are_near_to_it():
    red_and_green = colors.seen(["#DD0000", "#007700"])
    apart = np.linalg.norm(red_and_green[1] - red_and_green[0], axis=-1)
    assert apart[0] > 2 * max(apart[1:])


def test_every_colour_but_black_is_seen_on_white_and_on_a_dark_page():
    for color in colors.distinct(MOST_ARMS)[1:]:
        red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        light = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
        assert 0.13 < light < 0.29, color
