import pytest

from harness.study.units import Unit


@pytest.mark.parametrize(
    "unit",
    [Unit("lstm"), Unit("a=1,b=x.y", "docs"), Unit("lstm", "book-adam", 12), Unit("g", "", 3)],
)
def test_a_key_names_its_unit(unit):
    assert Unit.parse(str(unit)) == unit


def test_the_first_repeat_of_the_only_condition_is_the_arm_itself():
    assert str(Unit("lstm")) == "lstm"
    assert str(Unit("lstm", "docs", 2)) == "docs/lstm@2"


def test_a_repeat_is_a_number():
    with pytest.raises(ValueError, match="invalid literal"):
        Unit.parse("lstm@two")
