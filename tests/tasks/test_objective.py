"""What an objective says of a difference of losses."""

import math

import pytest

from harness.tasks.objective import PERPLEXITY


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0201, "2 %"), (0.0118, "1.2 %"), (0.45, "45 %"), (1.8, "180 %"), (12.34, "1200 %")],
)
def test_an_amount_has_two_digits_that_count_and_no_exponent(share, text):
    assert PERPLEXITY.amount(math.log1p(share)) == text
