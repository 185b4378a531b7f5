"""Arms of several studies whose searches are compared, and the report that a comparison writes."""

import pytest
from stored import cli, reader_of

from harness.results import compare
from harness.store.locations import Locations
from harness.study.units import Phase, RunKey, Unit
from harness.training.messages import RunState

RATES = (0.001, 0.01, 0.1, 1.0, 10.0)
BRACKETED, FALLING = (1.9, 1.5, 1.4, 1.5, 1.9), (1.9, 1.8, 1.7, 1.6, 1.4)
TUNE = {
    "learning_rate": {"low": 0.001, "high": 10.0, "log": True, "step": None},
    "batch": 4,
    "sampler": "tpe",
    "pruner": "none",
    "search_seed": 0,
    "seeds": 2,
}


@pytest.fixture
def searched(store, make):
    """Stores an arm's search of version 2, two seeds a trial, and its replicates."""
    like = reader_of(store, "small").identity()

    def stored(name, nats=BRACKETED, level=1.4, tune=TUNE, version=2):
        shared = {**like["shared"], "tune": tune}
        losses = [level * (1.0 + 0.01 * j) for j in range(5)]
        identity = {**like, "version": version, "shared": shared}
        writer = make(name, states=["finished"] * 5, losses=losses, identity=identity)
        for number, (rate, mean) in enumerate(zip(RATES, nats, strict=True)):
            for draw in range(tune["seeds"]):
                key = RunKey(Unit("wide"), Phase.TRIAL, number, draw)
                params = {"path": "text.txt", "hidden_size": 16, "learning_rate": rate}
                run_id = writer.open_run(key, "", params, {"seed": f"0/trial/{number}/{draw}"})
                metrics = {"objective": mean + 0.01 * draw, "tokens": 1120.0}
                writer.end_run(run_id, RunState.FINISHED, {}, metrics, {"curve.csv": ""})
        return f"{name}:wide"

    return stored


def test_an_open_search_is_not_comparable_with_another_study_either(store, searched):
    names = [searched("first"), searched("second", FALLING, level=1.9)]
    comparison = compare.compare(names, Locations(store))
    assert comparison.report.table["verdict"].tolist() == ["baseline", "not comparable"]
    assert comparison.report.not_comparable == [
        "second:wide's best learning rate, 10, is the largest that it tried."
    ]
    assert comparison.report.conditions[0].ends.rows[0][1] == "5"  # of two seeds each


def test_bracketed_searches_of_the_same_points_compare_beside_their_spread(store, searched):
    names = [searched("one"), searched("two", level=3.4)]
    comparison = compare.compare(names, Locations(store))
    (result,) = comparison.report.results[1:]
    assert result.decision.verdict == "worse" and result.decision.wide is not None
    assert 0.0 < result.search_spread == pytest.approx(result.decision.spread)
    assert comparison.report.study.baseline.searched == ("learning_rate",)


def test_the_spread_of_searches_without_common_points_is_not_known(store, searched):
    names = [searched("here"), searched("there", level=3.4, tune={**TUNE, "search_seed": 1})]
    report = compare.compare(names, Locations(store)).report
    (result,) = report.results[1:]
    assert result.search_spread is None and result.decision.verdict == "undecided"
    # More trials of either could not tell: the two never draw the same settings.
    (line,) = report.undecided
    assert line.startswith("there:wide: How far this hangs on the settings that were tried is not")
    assert line.endswith("a study that has both as arms tries them at the same settings.")


def test_searches_of_version_1_are_asked_for_no_brackets(store, searched):
    old = {**TUNE, "seeds": 1}
    names = [searched("a1", tune=old, version=1), searched("b1", FALLING, 3.4, old, version=1)]
    (result,) = compare.compare(names, Locations(store)).report.results[1:]
    assert result.decision.verdict == "worse" and result.decision.wide is None


def test_a_comparison_leaves_as_a_page_too(store, searched):
    names = [searched("page1"), searched("page2", level=3.4)]
    report = compare.compare(names, Locations(store)).report
    assert "hyperparameters" not in report.figures, "each study has a space of its own"
    page = report.html()
    assert 'id="paired-differences"' in page and "page2:wide" in page
    assert report.commands == [f"harness compare {' '.join(names)} --folder {store}"]
    assert "The study file" not in page, "there is none"
    assert "<svg" in report._repr_html_()


def test_out_writes_the_report_with_what_differs(store, searched, tmp_path, monkeypatch, capsys):
    names = [searched("out1"), searched("out2", level=3.4)]
    out = tmp_path / "there"
    words = ("compare", *names, "--folder", str(store), "--out", str(out))
    code, said, error = cli(monkeypatch, capsys, *words)
    assert (code, error) == (0, "")
    assert said.startswith(f"{out / 'report.html'}  is written, with ") and "is worse" in said
    for form in ("report.html", "report.md"):
        written = (out / form).read_text(encoding="utf-8")
        assert written.count("What differs") >= 1 and "Paired over the 5 seeds" in written
    before = sorted(path.name for path in out.rglob("*"))
    assert cli(monkeypatch, capsys, *words)[0] == 0
    assert sorted(path.name for path in out.rglob("*")) == before


def test_out_is_refused_where_there_is_no_report_or_no_folder(store, tmp_path, monkeypatch, capsys):
    out = tmp_path / "none"
    runs = ("small:narrow:1000", "small:wide:1000", "--folder", str(store))
    code, said, error = cli(monkeypatch, capsys, "compare", *runs, "--out", str(out))
    assert (code, said) == (2, "") and not out.exists()
    assert "out: must stand beside arms that can be paired" in error
    out.write_text("a file")
    arms = ("small:narrow", "small:wide", "--folder", str(store))
    code, said, error = cli(monkeypatch, capsys, "compare", *arms, "--out", str(out))
    assert (code, said) == (2, "") and out.read_text() == "a file"
    assert "out: must be a folder in which files can be made" in error
