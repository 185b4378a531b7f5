import pytest
import small_study

from harness.results.open import NothingError, open_study
from harness.store.identity import IdentityError
from harness.store.locations import Locations


def test_a_study_is_opened_by_its_file_or_by_its_name(store):
    by_file, file_reader = open_study(str(store / "small.yaml"), (), Locations(store))
    by_name, name_reader = open_study("small", (), Locations(store))
    assert by_file.identity() == by_name.identity() and by_file.text == by_name.text
    assert by_file.path == by_name.path and by_name.name == "small"
    assert file_reader.experiment_id == name_reader.experiment_id


def test_a_file_that_is_another_study_than_the_stored_one_is_refused(store):
    with pytest.raises(IdentityError, match=r"measure.margin: 0.01 -> 0.05"):
        open_study(str(store / "small.yaml"), ("measure.margin=0.05",), Locations(store))


def test_a_study_that_was_never_run_is_not_opened_and_no_store_is_made(tmp_path):
    path = small_study.write(tmp_path)
    with pytest.raises(NothingError, match="must have been run, but 'small' is not in .* Run it"):
        open_study(str(path), (), Locations(tmp_path))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["small.yaml", "text.txt"]
