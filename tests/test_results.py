import pytest
import results


def test_every_table_of_the_results_follows_from_the_raw_records():
    text = results.RESULTS.read_text(encoding="utf-8")
    assert results.page(text) == text, "run make generate"


MISSED = {("s5", "framework", 500)}
"""What RESULTS.md reports as missed, with the cause."""


@pytest.mark.parametrize("name", results.REPRODUCED)
def test_the_published_numbers_are_reproduced(name):
    points = results.points(name)
    assert points and all(len(p.ours) == 3 for p in points)
    assert {(name, p.arm, p.epoch) for p in points if not p.holds} == {point for point in MISSED if point[0] == name}


@pytest.mark.parametrize("name", results.ASKED)
def test_a_study_in_the_results_is_complete(name):
    assert results.asked_report(name).missing == []
