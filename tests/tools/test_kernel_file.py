"""The file that a check of kernels keeps."""

import json
from dataclasses import dataclass

from kernel_file import text_of


@dataclass(frozen=True)
class Row:
    name: str
    registers: int


def test_the_file_holds_all_rows_each_on_a_line():
    made = [Row("forward", 121), Row("backward", 127)]
    text = text_of({"nvrtc": "12.9"}, ["wrong"], made)
    found = json.loads(text)
    assert found["facts"] == {"nvrtc": "12.9"} and found["problems"] == ["wrong"]
    assert [Row(**row) for row in found["kernels"]] == made
    assert sum("registers" in line for line in text.splitlines()) == len(made)
    assert json.loads(text_of({}, [], []))["kernels"] == []
    counted = json.loads(text_of({}, [], [], [{"cell": "lstm"}]))
    assert counted["costs"] == [{"cell": "lstm"}]
