"""A study that has begun: what may be added to it, what may change, and what makes it another."""

import pytest
import small_study
from launched import run, scheduler_of, store_of

from harness import engine
from harness.store.identity import IdentityError
from harness.store.locations import Locations
from harness.store.source import experiment_ids
from harness.study.units import Unit
from harness.training import pack

pytestmark = pytest.mark.usefixtures("without_report_files")


def test_more_seeds_extend_a_study_by_what_is_missing(tmp_path):
    path = small_study.write(tmp_path, seeds=6)
    first, _ = run(path, tmp_path)
    before = store_of(tmp_path).runs()
    second, said = run(small_study.write(tmp_path, seeds=7), tmp_path)
    after = store_of(tmp_path).runs()
    assert len(after) == len(before) + 2 and "2 replicates of 2 arms" in said
    assert (second.table["finished"] == 7).all() and (first.table["finished"] == 6).all()


def test_more_trials_put_replicates_of_another_setting_aside(tmp_path):
    run(small_study.write(tmp_path, trials=1, seeds=6), tmp_path)
    report, said = run(small_study.write(tmp_path, trials=5, seeds=6), tmp_path)
    runs = store_of(tmp_path).runs()
    put_aside = runs[runs["phase"] == "superseded"]
    assert (
        len(put_aside) >= 6 and "put aside" in said
    )  # the first trial is not the best of five in both arms
    assert (report.table["finished"] == 6).all() and not report.missing


def test_another_study_of_the_same_name_is_refused_and_new_puts_it_aside(tmp_path):
    run(small_study.write(tmp_path, trials=1), tmp_path)
    changed = small_study.write(tmp_path, trials=1, updates=44)
    with pytest.raises(
        IdentityError, match=r"(?s)study: 'small' .* differs:\n.*budget.*40.*44.*Rename the study"
    ):
        run(changed, tmp_path)
    report, _ = run(changed, tmp_path, new=True)
    assert not report.missing
    assert sum("small" in name for name in experiment_ids(Locations(tmp_path).tracking_uri)) == 2


def begin(path, folder):
    """Trains the first pack of a study."""
    begun = scheduler_of(path, folder)
    begun.train(begun.next_plans()[:1])


def test_what_has_shown_nothing_may_change(tmp_path):
    path = small_study.write(tmp_path)
    scheduler_of(path, tmp_path)
    (tmp_path / "text.txt").write_text("another text, of other words altogether " * 200)
    path.write_text(path.read_text().replace("wide: {hidden_size: 16}", "wide: {hidden_size: 8}"))
    report, said = run(path, tmp_path)
    assert "the earlier small is put aside" in said and "16 -> 8" in said
    assert not report.missing
    path.write_text(path.read_text().replace("wide: {hidden_size: 8}", "wide: {hidden_size: 9}"))
    with pytest.raises(IdentityError, match=r"(?s)hidden_size: 8 -> 9.*--new"):
        run(path, tmp_path)


def test_a_text_that_changed_is_another_study(tmp_path):
    path = small_study.write(tmp_path)
    begin(path, tmp_path)
    (tmp_path / "text.txt").write_text("another text, of other words altogether " * 200)
    with pytest.raises(IdentityError, match=r"(?s)wide: text: \w+ -> \w+.*Rename the study"):
        scheduler_of(path, tmp_path)


def test_an_engine_that_is_gone_is_another_study(tmp_path, monkeypatch):
    """A fallback in the middle of a study would compare runs of two engines."""
    path = small_study.write(tmp_path)
    assert scheduler_of(path, tmp_path).settings[Unit("wide")].engine == "cpu"
    begin(path, tmp_path)
    monkeypatch.setattr(engine.get("cpu"), "refusal", lambda *_: "no C++ compiler was found")
    with pytest.raises(IdentityError, match=r"wide: engine: cpu -> native"):
        scheduler_of(path, tmp_path)


def test_a_study_stays_on_the_engine_on_which_it_began(tmp_path, monkeypatch):
    """A later version, or a compiler that was missing, may have a faster one."""
    path = small_study.write(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(engine.get("cpu"), "refusal", lambda *_: "no C++ compiler was found")
        begin(path, tmp_path)
    settings = scheduler_of(path, tmp_path).settings
    assert {own.engine for own in settings.values()} == {"native"}


def test_an_interrupted_study_goes_on_in_other_packs(tmp_path):
    path = small_study.write(tmp_path, trials=2, seeds=6)
    half = scheduler_of(path, tmp_path)
    first_pack = pack.Pack(half.next_plans()[0])
    half.record(first_pack.advance())
    half.writer.drain()
    first_pack.close()
    report, _ = run(path, tmp_path, overrides=("fix.pack_size=2", "fix.threads=1"))
    assert not report.missing and "running" not in set(store_of(tmp_path).runs()["state"])
