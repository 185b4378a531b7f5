"""What a notebook calls: the examples of the docstrings run, and a study may be a dict."""

import doctest
import json
from decimal import Decimal

import pytest

import harness
from harness import study


@pytest.mark.slow
@pytest.mark.usefixtures("without_report_files")
def test_the_examples_of_the_docstrings_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    # All others look at what the first has run.
    for function in (harness.run, harness.load, harness.load_model, harness.load_module):
        (example,) = finder.find(function, globs={})
        assert example.examples, function.__name__
        runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


VALUES = {
    "study": "first",
    "version": 2,
    "question": "Is it the study of the file?",
    "compare": {"cross": {"cell": ("lstm", "gru")}, "baseline": {"cell": "lstm"}},
    "fix": {"corpus": "time-machine", "hidden_size": 8, "clip_norm": None},
    "measure": {"runtime": None},
}


def test_a_dict_is_the_study_that_the_same_file_is():
    by_file = study.loads(json.dumps(VALUES))  # YAML reads JSON
    by_dict = study.from_dict(VALUES)
    assert by_dict.identity() == by_file.identity()
    assert study.from_dict(VALUES, ["fix.hidden_size=9"]).baseline.settings.hidden_size == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fix": {"corpus": Decimal(1)}}, r"must hold texts, numbers.*got Decimal\('1'\)"),
        ({"fix": {"corpus": "time-machine", "hiden_size": 8}}, "fix.hiden_size: must be a field"),
        ({3: 4}, "3"),
    ],
)
def test_a_wrong_dict_is_told_as_a_wrong_file_is(change, message, tmp_path):
    with pytest.raises(study.StudyError, match=message):
        harness.run({**VALUES, **change}, folder=tmp_path)
    assert not list(tmp_path.iterdir())
