"""Every fault of the page has tests that exist, and the page says what was counted of them."""

import ast
import functools
from pathlib import Path

import docs_faults
import pytest

TESTS = Path(__file__).resolve().parents[1]


@functools.cache
def functions(file):
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("test", docs_faults.tests())
def test_a_test_that_injects_a_fault_exists(test):
    file, _, name = test.partition("::")
    assert name in functions(file)


def test_every_fault_has_a_test_and_words():
    for group in docs_faults.groups():
        for fault in group["fault"]:
            assert fault["tests"] and fault["what"] and fault["then"]


def test_the_page_is_that_of_the_table_and_of_what_was_counted():
    sittings = docs_faults.stored()
    assert docs_faults.PAGE.read_text(encoding="utf-8") == docs_faults.page(sittings)
    cases = docs_faults.counted(sittings)
    assert len(cases) == sum(len(each["tests"]) for each in sittings)
    assert not [test for test, of_test in cases.items() if of_test.get("failed")]


def test_what_is_counted_again_replaces_what_an_earlier_sitting_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(docs_faults, "RECORD", tmp_path / "faults.json")
    monkeypatch.setattr(docs_faults, "PAGE", tmp_path / "faults.md")
    monkeypatch.setattr(docs_faults, "tests", lambda: ["a::one", "b::two"])
    monkeypatch.setattr(docs_faults.provenance, "commit", lambda: ("f" * 40, False))
    where = {"date": "2026-01-01", "device_name": "a machine"}
    docs_faults.write([{"git_commit": "e" * 40, **where, "tests": {"a::one": {"failed": 1}}}])
    ran = []

    def run(command, **_):
        (name,) = (word for word in command if word.startswith("tests/"))
        ran.append(name)
        report = next(word for word in command if word.startswith("--junitxml=")).partition("=")[2]
        Path(report).write_text(f"<s><testcase name='{name.partition('::')[2]}'/></s>")

    monkeypatch.setattr(docs_faults.subprocess, "run", run)
    monkeypatch.setattr(
        docs_faults.provenance, "describe", lambda _: {"git_commit": "f" * 40, **where}
    )
    assert docs_faults.count()
    assert ran == ["tests/b::two", "tests/a::one"]  # what nobody has counted comes first
    (sitting,) = docs_faults.stored()
    assert sitting["tests"] == {"b::two": {"passed": 1}, "a::one": {"passed": 1}}
    assert docs_faults.count() and len(ran) == 2


def test_cases_are_counted_by_their_end(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuites><testsuite><testcase name='test_a[1]'/><testcase name='test_a[2]'><failure/>"
        "</testcase><testcase name='test_a[3]'><error/></testcase><testcase name='test_b'>"
        "<skipped/></testcase></testsuite></testsuites>"
    )
    assert docs_faults.outcomes(report) == {
        "test_a": {"passed": 1, "failed": 2},
        "test_b": {"skipped": 1},
    }
    counted = {"t::a": {"passed": 3, "failed": 1}, "t::b": {"skipped": 1}}
    row = {"what": "w", "then": "t", "tests": ["t::a", "t::b"]}
    assert docs_faults._row(row, counted) == "| w | t | 4 | 3 |"
    assert docs_faults._row({**row, "tests": ["t::b"]}, counted) == "| w | t | – | – |"
