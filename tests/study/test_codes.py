"""Every message on a study has a code, and every code is explained and can be met."""

import ast
import re
from pathlib import Path

import pytest

from harness import study
from harness.study.codes import CODES, messages_page

ROOT = Path(__file__).parents[2]
WRONG = Path(__file__).parent / "wrong_studies"
NOT_IN_A_FILE = {"unreadable-file", "override"}
OF_RUNS = {"text-too-short", "prefix", "cell-step", "memory", "no-run"}
OF_DESIGNS = {"too-few-pairs", "nothing-compared"}
"""Those of what shows only where runs are tried, or in a design; tests/preflight meets them."""


def expected_codes():
    """The codes that the wrong studies expect; test_wrong_studies.py holds them to it."""
    texts = [path.read_text(encoding="utf-8") for path in WRONG.glob("*.yaml")]
    return set(re.findall(r"^# expect: .* \[([a-z-]+)\]$", "\n".join(texts), re.MULTILINE))


def test_every_code_is_met_by_a_wrong_study():
    assert expected_codes() == CODES.keys() - NOT_IN_A_FILE - OF_RUNS - OF_DESIGNS


def test_a_code_is_a_mnemonic_and_its_words_are_sentences():
    for code, each in CODES.items():
        assert re.fullmatch("[a-z]+(-[a-z]+)*", code)
        for words in each:
            assert words.endswith(".") and (words[0].isupper() or words[0] == "`"), code


def test_a_message_shows_a_value_as_a_study_writes_it():
    """None and true that are written out in one are none and true."""
    python_s = re.compile(r"\bgot\b[^.]*=(None|True|False)\b")
    texts = [
        (path.name, node.value)
        for folder in ("study", "data", "model", "tasks", "training", "preflight")
        for path in (ROOT / "harness" / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert sum("but got " in text for _, text in texts) > 100
    assert [where for where, text in texts if python_s.search(text)] == []


def test_no_code_is_written_that_the_table_lacks():
    given = set()
    for path in (ROOT / "harness" / "study").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(node, "func", None), "attr", "")
            if name in ("at_key", "at_value", "_report") and isinstance(
                node.args[-1], ast.Constant
            ):
                given.add(node.args[-1].value)
    assert len(given) > 20 and given <= CODES.keys()


@pytest.mark.parametrize(
    ("name", "overrides", "code"),
    [
        ("absent.yaml", (), "unreadable-file"),
        ("quickstart.yaml", ("fix.hidden_size",), "override"),
        ("quickstart.yaml", ("study.name=3",), "override"),
    ],
)
def test_what_no_file_can_hold_has_a_code_too(name, overrides, code):
    with pytest.raises(study.StudyError) as caught:
        study.load(ROOT / "studies" / name, overrides)
    assert code in {problem.code for problem in caught.value.problems}
    assert f"[{code}]" in str(caught.value)


def test_the_page_is_that_of_the_table():
    page = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
    assert page == messages_page(), "run tools/generate.py"
    assert set(re.findall(r"^\| `([a-z-]+)`", page, re.MULTILINE)) == CODES.keys()
