"""Every fault of every wrong study is named: its place, the rule, the value, the remedy.

A file begins with what is expected of it, one problem a line, in file order: ``# expect:
LINE:COLUMN: where: message``; ``...`` stands for any text (lists of all cells, folders).
"""

import re
from pathlib import Path

import pytest

from cells import registry
from harness import study

FORM = re.compile(r"((a|the) \w+ )?must .+, but (got .+|is missing)[.?] .*[^ ]")
"""The rule, what stands there, and the remedy; a remedy that asks (did you mean) comes last."""
WRONG = sorted((Path(__file__).parent / "wrong_studies").glob("*.yaml"))


@pytest.fixture(autouse=True)
def built_in_cells_only(monkeypatch):
    """What other tests registered in this process would change what is near to a misspelt name."""
    own = {
        name: cell for name, cell in registry._cells.items() if cell.__module__.startswith("cells.")
    }
    monkeypatch.setattr(registry, "_cells", own)


def expected(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("# expect: ") for line in lines if line.startswith("# expect: ")]


def test_there_are_enough_of_them():
    assert len(WRONG) >= 30
    assert sum(len(expected(path)) >= 3 for path in WRONG) >= 8


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_every_fault_is_named_and_nothing_else(path):
    with pytest.raises(study.StudyError, match="must") as caught:
        study.load(path)
    found = [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]
    assert found and len(found) == len(expected(path)), "\n".join(found)
    for line, pattern in zip(found, expected(path), strict=True):
        assert re.fullmatch(".*".join(map(re.escape, pattern.split("..."))), line), (
            f"\n{line}\nis not\n{pattern}"
        )


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_every_message_is_a_rule_what_was_got_and_a_remedy(path):
    with pytest.raises(study.StudyError) as caught:
        study.load(path)
    messages = [problem.message for problem in caught.value.problems]
    assert [text for text in messages if not FORM.fullmatch(text)] == []
