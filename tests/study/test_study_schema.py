"""What is generated of a study's form: the schema, and the table of the page on it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from two_studies import ARMS, CROSS

from harness import study

ROOT = Path(__file__).parents[2]

SCHEMA = ROOT / "studies" / "study.schema.json"

PAGE = ROOT / "docs" / "study.md"


def test_the_schema_is_the_committed_one():
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == study.json_schema(), (
        "run make generate"
    )


def test_the_page_holds_the_table():
    start, end = "<!-- fields: generated from harness/study -->\n", "<!-- end of fields -->"
    assert start + study.field_table() + end in PAGE.read_text(encoding="utf-8"), (
        "run make generate"
    )


def test_the_examples_of_the_page_are_studies():
    blocks = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1:]
    studies = [block.split("```")[0] for block in blocks if block.startswith("study:")]
    assert studies and all(study.loads(text).arms for text in studies)


def test_the_schema_accepts_good_studies_and_refuses_wrong_ones():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(study.json_schema())
    validator.check_schema(study.json_schema())
    good = [yaml.safe_load(text) for text in (CROSS, ARMS.replace("1e-2", "0.01"))]
    good += [study.loads(text).resolved() for text in (CROSS, ARMS)]
    for data in good:
        assert not [error.message for error in validator.iter_errors(data)]
    for change in (
        {"study": "A b"},
        {"version": 3},
        {"fix": {"hiden_size": 3}},
        {"tune": {"trials": 0}},
        {"zzz": 1},
    ):
        assert not validator.is_valid({**good[0], **change}), change


def test_reading_the_form_needs_no_torch():
    code = "import sys, harness.study; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
