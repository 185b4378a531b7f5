"""A study of a text in three files: read, moved, written out, and told from others."""

import shutil

import pytest

from harness import study
from harness.settings import Paths, from_dict, problems_of, to_dict

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
    whole = study.loads(WHOLE)
    assert "paths" not in whole.identity()["arms"]["lstm"] and "paths" not in to_dict(
        whole.baseline.settings
    )
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
