"""A study of a text in three files: read, moved, written out, and told from others."""

import shutil

import pytest

from harness import study
from harness.settings import Paths, from_dict, problems_of, to_dict
from harness.training.checkpoint import digest
from harness.training.plan import Run

TEXT = """\
study: three-files
version: 2
question: Is it read?
compare:
  cross: {cell: [lstm, gru]}
  baseline: {cell: lstm}
fix:
  corpus: text
  paths: {train: data/a.txt, validation: data/b.txt, test: c.txt}
  hidden_size: 8
"""
WHOLE = TEXT.replace(
    "paths: {train: data/a.txt, validation: data/b.txt, test: c.txt}", "path: a.txt"
)

FINGERPRINT = "10d6e4522e97c9c3f81ec10b460aa6a5f193ba3b96aea35a610cddbb40c61742"
DIGEST = "0629f1f3c52ce043502a2b4e20966421a08eb158b4116f9094d0d575a30fd55c"


@pytest.fixture
def loaded(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "study.yaml").write_text(TEXT)
    return study.load(folder / "study.yaml")


def test_paths_are_relative_to_the_study_and_move_with_it(loaded, tmp_path):
    settings = loaded.baseline.settings
    here = tmp_path / "here"
    assert settings.paths == Paths(
        str(here / "data/a.txt"), str(here / "data/b.txt"), str(here / "c.txt")
    )
    assert settings.text_name == "a.txt"
    assert from_dict(to_dict(settings)) == settings and problems_of(settings) == []
    shutil.move(here, tmp_path / "there")
    moved = study.load(tmp_path / "there" / "study.yaml")
    assert moved.fingerprint == loaded.fingerprint and moved.changes_since(loaded.identity()) == []
    again = study.loads(study.dump(loaded.resolved()))
    assert again.baseline.settings.paths == Paths("data/a.txt", "data/b.txt", "c.txt")


def test_a_study_without_paths_is_that_of_versions_that_knew_none(loaded):
    """The two digests are those that version 0.2.0 gave this study and its first run."""
    whole = study.loads(WHOLE)
    assert whole.fingerprint == FINGERPRINT
    assert digest(Run("lstm/replicate/0", (1,), whole.baseline.settings), "x") == DIGEST
    assert not {"paths", "lines", "max_vocabulary"} & whole.identity()["arms"]["lstm"].keys()
    other = study.loads(TEXT.replace("c.txt", "d.txt"))
    (change, same) = other.changes_since(study.loads(TEXT).identity())
    assert change == "arms.lstm.paths.test: 'c.txt' -> 'd.txt'" and "arms.gru" in same
    gone = study.loads(WHOLE).changes_since(loaded.identity())
    assert any("arms.lstm.paths.train: 'data/a.txt' -> none" == each for each in gone)


@pytest.mark.parametrize("value", ["a.txt", "{train: 1, validation: b, test: c}", "{tran: a}"])
def test_paths_of_another_kind(value):
    text = TEXT.replace("{train: data/a.txt, validation: data/b.txt, test: c.txt}", value)
    with pytest.raises(study.StudyError, match="fix.paths"):
        study.loads(text)


def test_settings_with_paths_that_are_no_texts():
    wrong = from_dict(
        {
            "cell": "lstm",
            "corpus": "text",
            "paths": dict.fromkeys(("train", "validation", "test"), 3),
        }
    )
    assert "paths: must be" in problems_of(wrong)[0] and "train=3" in problems_of(wrong)[0]
