"""Every number of a study file that says how many there are has a largest value, told as such."""

import pytest
from pydantic import TypeAdapter

from harness.study import blocks
from harness.study.fields import FIELDS, base_type, hint_of

UNBOUNDED = {"max_offset", "chrono_steps", "step_updates"}
"""Whole numbers that count nothing which is made: a draw's range, two spans of time steps."""
SEEDS = {"first_seed", "search_seed"}
"""Names of draws, of which there is nothing to make more."""
BLOCKS = [
    blocks.UntilForm,
    blocks.ReplicateForm,
    blocks.SamplesForm,
    blocks.RuntimeForm,
    blocks.TuneBase,
]


@pytest.mark.parametrize("name", [n for n in FIELDS if hint_of(n)[0] is int])
def test_every_count_of_the_settings_has_a_largest_value(name):
    bounds = FIELDS[name].metadata["bounds"]
    assert ("le" in bounds) is (name not in UNBOUNDED)
    if "le" in bounds:
        adapter = TypeAdapter(base_type(name))
        assert adapter.validate_python(bounds["le"]) == bounds["le"]
        with pytest.raises(ValueError):
            adapter.validate_python(bounds["le"] + 1)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_every_count_of_a_block_has_a_largest_value(block):
    fields = block.model_json_schema()["properties"]
    counts = {name: each for name, each in fields.items() if each.get("type") == "integer"}
    assert counts
    assert {name for name, each in counts.items() if "maximum" not in each} <= SEEDS
