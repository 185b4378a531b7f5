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
    record = docs_faults.stored()
    assert docs_faults.PAGE.read_text(encoding="utf-8") == docs_faults.page(record)
    assert not [test for test, cases in record["tests"].items() if cases.get("failed")]


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
