"""A journal of Optuna's as a study's storage, with what a full disk leaves of it."""

import optuna
import pytest

from harness.study import Range, Tune
from harness.training.messages import RunState
from harness.tuning import search as tuning
from harness.tuning.storage import SearchError, opened

TUNE = Tune(
    space={"learning_rate": Range(low=0.001, high=0.1, log=True)},
    trials=6,
    batch=3,
    sampler="tpe",
    pruner="none",
    search_seed=0,
)


def go_on(path):
    """Opens the search, tells its round, asks for the next one, and returns all its trials."""
    with opened(f"journal:///{path}") as storage:
        search = tuning.ArmSearch(storage, "s", "lstm", TUNE, 4)
        for trial in search.ask():
            search.tell(trial.number, RunState.FINISHED, trial.number / 8)
        search.ask()
        return [(trial.number, trial.params, trial.state) for trial in search.trials()]


def test_a_record_that_was_cut_off_is_gone_before_the_next_is_written(tmp_path):
    path, other = tmp_path / "journal", tmp_path / "other"
    go_on(path)
    go_on(other)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:60])
    with opened(f"journal:///{path}"):  # who only reads changes nothing
        assert len(path.read_bytes()) == len(whole) + 60
    assert go_on(path) == go_on(other)
    assert path.read_bytes().startswith(whole)
    assert go_on(path) == go_on(other)  # it can still be read


@pytest.mark.parametrize("damage", [b"x", b'{"op_code": 4, "worker_id": ', b"3", b"{}"])
def test_a_damaged_journal_is_told_with_what_to_do(tmp_path, damage):
    path = tmp_path / "journal"
    go_on(path)
    first, *others = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, damage, *others, b""]))
    with pytest.raises(SearchError, match="journal: must be a journal of .* move it away: the"):
        go_on(path)


def test_who_waits_for_a_lock_file_says_so(tmp_path, monkeypatch):
    """One that a killed process left; here it goes once that was said, and nobody waits 30 s."""
    path, said = tmp_path / "journal", []
    lock = tmp_path / "journal.lock"
    go_on(path)
    lock.symlink_to(path)

    def release(text):
        said.append(text)
        lock.unlink()

    monkeypatch.setattr(optuna.logging.get_logger("optuna.harness"), "warning", release)
    go_on(path)
    assert said == [
        f"storage: waits for {lock}, which another process holds or a killed one left; it is "
        "removed after 30 s."
    ]
