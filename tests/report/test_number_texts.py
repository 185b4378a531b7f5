"""Numbers as a reader sees them."""

from harness.report.number_texts import difference_texts, number
from harness.statistics.inference import Interval
from harness.tasks.objective import objective_of


def test_what_is_shown_as_zero_has_no_sign():
    assert number(-0.0003, decimals=3) == number(-0.0, decimals=3) == "0.000"
    accuracy = objective_of("validation/accuracy")
    shown = difference_texts(accuracy, 0.0003, Interval(-0.02, 0.02))
    assert shown == ("0.000", "-0.020", "+0.020")
    assert difference_texts(accuracy, 0.0, Interval(0.0, 0.0)) == ("0.000", "0.000", "0.000")
    assert difference_texts(accuracy, 0.0006, None)[0] == "-0.001"
