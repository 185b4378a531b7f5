import dataclasses
import json

import pytest
import small_study

from harness import data, study
from harness.report.assemble import warnings_of
from harness.settings import Settings
from harness.store.notes import StudyNotes


@pytest.fixture
def loaded(tmp_path):
    return study.load(small_study.write(tmp_path))


def notes_of(path, lines):
    """The notes of a study that reads these lines."""
    path.write_text("\n".join(lines))
    settings = Settings("lstm", "text", path=str(path), batch_size=2, bptt_length=4)
    facts = data.corpus_facts(data.load(settings))
    return StudyNotes(warnings=("narrow: a warning of its search",), texts=(facts.to_json(),))


def test_a_texts_leak_is_said_beside_the_verdict_before_all_else(loaded, tmp_path):
    lines = [f"the line number {i:03d} of a text that is short" for i in range(100)]
    assert warnings_of(loaded, notes_of(tmp_path / "own.txt", lines)) == [
        "narrow: a warning of its search"
    ]
    leak, search = warnings_of(loaded, notes_of(tmp_path / "own.txt", lines * 2))
    assert leak.startswith(
        "own.txt: of the test lines 100 % stand in the training text too, of the"
    )
    assert search == "narrow: a warning of its search"


def test_notes_of_texts_are_stored_and_read(tmp_path):
    stored = notes_of(tmp_path / "own.txt", ["the line of a text that is long enough"] * 50)
    assert StudyNotes.from_texts(json.loads(json.dumps(stored.to_texts()))) == stored


def test_notes_of_a_store_that_knew_no_texts(loaded):
    texts = dataclasses.replace(StudyNotes(), timed="then").to_texts()
    assert texts["texts"] is None
    assert warnings_of(loaded, StudyNotes.from_texts(texts)) == []
