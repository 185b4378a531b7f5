from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from stored import cli

import harness
from harness import study as studies
from harness.report import Report
from harness.report.assemble import build_report
from harness.results import export, names
from harness.store import frames


def test_a_notebook_gets_frames(loaded):
    assert len(loaded.runs) == 12 and loaded.runs["params.learning_rate"].notna().all()
    assert (
        loaded.verdict.set_index("arm").loc["wide", "verdict"] == "better"
        and loaded.warnings is not None
    )
    assert (
        len(loaded.timings) == 2 * 2 * 6
        and len(loaded.curves.query("phase == 'replicate'")) == 10 * 4
    )


def test_both_formats_hold_the_same_whether_by_name_or_by_file(
    store, loaded, tmp_path, monkeypatch, capsys
):
    code, out, _ = cli(
        monkeypatch, capsys, "export", store / "small.yaml", tmp_path, "--folder", store
    )
    assert code == 0 and {*out.replace("\n", " ").split()} == {
        str(path) for path in tmp_path.iterdir()
    }
    for name in ("runs", "curves", "timings", "verdict"):
        text, packed = (
            pd.read_csv(tmp_path / f"{name}.csv"),
            pd.read_parquet(tmp_path / f"{name}.parquet"),
        )
        assert list(text) == list(packed) and len(text) == len(packed) > 0
        numbers = [c for c in text.select_dtypes("float64") if packed[c].dtype == "float64"]
        pd.testing.assert_frame_equal(text[numbers], packed[numbers], rtol=1e-15)
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "verdict.parquet"), loaded.verdict, check_dtype=False
    )
    runs, curves, timings = frames.read_export(tmp_path)
    assert (
        len(runs) == 12
        and len(curves) == len(loaded.curves)
        and len(timings) == len(loaded.timings)
    )
    # Records say when their runs began, and so does the report that is made from them.
    today = datetime.now(UTC).date()
    days = {date.fromisoformat(moment[:10]) for moment in runs["started"]}
    assert days <= {today, today - timedelta(days=1)}
    report = build_report(studies.load(store / "small.yaml"), runs, curves, timings, [])
    assert report.effort.startswith(f"Begun on {min(days)}; 12 runs")


def test_a_column_of_several_types_becomes_text_in_parquet(tmp_path):
    frame = export._uniform(pd.DataFrame({"evaluations": [20, "epoch", None], "size": [1, 2, 3]}))
    frame.to_parquet(tmp_path / "mixed.parquet")
    stored = pd.read_parquet(tmp_path / "mixed.parquet")
    assert stored["evaluations"].tolist()[:2] == ["20", "epoch"] and stored["evaluations"].isna()[2]
    assert stored["size"].tolist() == [1, 2, 3]


def test_a_study_that_was_not_kept_must_be_given_by_its_file(make, store):
    make("kept-not")
    with pytest.raises(
        names.ArchiveError,
        match="must be stored with its file to be named alone, but got study='kept-not'",
    ):
        harness.load("kept-not", store)


@pytest.mark.parametrize("form", [["FOLDER"], ["--out", "FOLDER"]])
def test_the_folder_of_tables_is_named_as_that_of_a_report_or_alone(
    store, tmp_path, monkeypatch, capsys, form
):
    monkeypatch.setattr(export, "export", lambda *given: [given[3]])
    words = [word.replace("FOLDER", str(tmp_path / "tables")) for word in form]
    code, out, _ = cli(monkeypatch, capsys, "export", store / "small.yaml", *words)
    assert code == 0 and out == f"{tmp_path / 'tables'}\n"


@pytest.mark.parametrize(("words", "got"), [([], "none"), (["a", "--out", "b"], "two")])
def test_tables_need_one_folder(store, monkeypatch, capsys, words, got):
    code, _, error = cli(monkeypatch, capsys, "export", store / "small.yaml", *words)
    assert code == 2 and f"one folder must be named, but got {got}" in error


def test_a_written_report_is_told_in_one_line_and_file_by_file_where_asked(
    store, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(Report, "files", lambda report, png=True: {"report.html": "", "b": ""})
    words = ("report", "small", "--folder", store, "--out", tmp_path)
    code, out, _ = cli(monkeypatch, capsys, *words)
    assert code == 0
    assert out.startswith(f"{tmp_path}/report.html  is written, with 1 more file\n")
    assert f"{tmp_path}/b" not in out
    _, out, _ = cli(monkeypatch, capsys, *words, "--verbose")
    assert out.startswith(f"{tmp_path}/report.html\n{tmp_path}/b\n")
