"""A study's file that is not there: what comes near is named, the system's number is not."""

import pytest

from harness import study
from harness.study import absent


def told(path):
    with pytest.raises(study.StudyError) as caught:
        study.load(path)
    (problem,) = caught.value.problems
    assert problem.code == "unreadable-file" and "Errno" not in problem.message
    return problem.message


def test_names_that_come_near_are_named(tmp_path):
    for name in ("gates-small.yaml", "notes.yaml", "gate-small.txt"):
        (tmp_path / name).write_text("")
    path = tmp_path / "gate-small.yaml"
    assert told(path).startswith(
        f"must exist, but got path={str(path)!r}. Did you mean {tmp_path / 'gates-small.yaml'}? "
        "`harness init` writes a study"
    )


@pytest.mark.parametrize(
    ("name", "meant"), [("memory-ading.yml", "memory-adding"), ("q", "one of")]
)
def test_shipped_studies_are_named_that_can_be_copied(tmp_path, name, meant):
    message = told(tmp_path / "none" / name)
    assert "Did you mean" not in message
    assert f"`harness init --from NAME` a copy of a shipped one, where NAME is {meant}" in message
    assert "quickstart" in absent.shipped()


def test_what_cannot_be_read_is_told_without_the_systems_number(tmp_path):
    assert "but got Is a directory. Give" in told(tmp_path)
