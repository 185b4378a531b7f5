import math
from dataclasses import replace

import pandas as pd
import pytest

from harness.store import columns, frames
from harness.store.frames import StoredRun
from harness.study.units import Unit
from harness.training.state_statistics import StateStatistics, StateSummary

LSTM = Unit("lstm")


def stored(
    tags: dict[str, str] | None = None,
    metrics: dict[str, float] | None = None,
    is_over: bool = True,
    unit: Unit = LSTM,
) -> StoredRun:
    place = {
        "phase": "trial",
        "index": "0",
        "state": "finished",
        "version_torch": "2.13.0",
        "version_python": "3.11",
    }
    return StoredRun(
        "id", unit, {**place, **(tags or {})}, metrics or {}, {"hidden_size": "64"}, [], is_over
    )


@pytest.mark.parametrize(
    "value",
    [0.1, 1, True, None, "sgd", "1", "null", "true", '"quoted"', "", [1, "a"], 1e-300, math.inf],
)
def test_a_parameter_comes_back_with_its_type(value):
    decoded = frames.decode(frames.encode(value))
    assert decoded == value and type(decoded) is type(value)


def test_a_texts_value_is_kept_readable():
    assert frames.encode("time-machine") == "time-machine"


def test_frames_of_nothing_have_their_columns_and_dtypes():
    assert {c: str(t) for c, t in frames.runs([]).dtypes.items()} == columns.RUN_DTYPES
    assert {
        c: str(t) for c, t in frames.curves([]).dtypes.items()
    } == columns.KEY_DTYPES | columns.CURVE_DTYPES
    assert {
        c: str(t) for c, t in frames.timings([]).dtypes.items()
    } == columns.ARM_DTYPES | columns.TIMING_DTYPES


def test_what_is_not_known_is_missing_not_zero():
    row = frames.runs([stored()]).iloc[0]
    assert pd.isna(row["num_parameters"]) and pd.isna(row["engine"])
    assert math.isnan(row["objective"]) and math.isnan(row["test/loss"])


def test_counts_are_read_from_tags_or_metrics():
    row = frames.runs([stored({"pack_size": "8"}, {"num_parameters": 1234.0})]).iloc[0]
    assert (row["pack_size"], row["num_parameters"], row["hidden_size"]) == (8, 1234, 64)
    assert row["versions"] == "python 3.11, torch 2.13.0" and row["run_id"] == "id"


@pytest.mark.parametrize(
    "tags, expected",
    [({"not_learned": "True"}, True), ({"not_learned": "False"}, False), ({}, pd.NA)],
)
def test_whether_anything_was_learned_is_missing_where_nobody_asked(tags, expected, tmp_path):
    runs = frames.runs([stored(tags, {"final/loss": 2.5})])
    assert runs["not_learned"][0] is expected or runs["not_learned"][0] == expected
    assert runs["final/loss"][0] == 2.5
    runs.drop(columns="params").assign(samples="[]").to_csv(tmp_path / "runs.csv", index=False)
    frames.curves([]).to_csv(tmp_path / "curves.csv", index=False)
    frames.timings([]).to_csv(tmp_path / "timings.csv", index=False)
    again = frames.read_export(tmp_path)[0]
    pd.testing.assert_series_equal(again["not_learned"], runs["not_learned"])
    assert again["final/loss"][0] == 2.5


def test_an_infinity_survives_the_largest_float_that_sql_keeps():
    row = frames.runs(
        [stored(metrics={"train/loss": frames.LARGEST_FLOAT, "objective": -frames.LARGEST_FLOAT})]
    ).iloc[0]
    assert row["train/loss"] == math.inf and row["objective"] == -math.inf


def test_a_run_that_is_not_over_is_running_whatever_its_tag_says():
    assert frames.runs([stored(is_over=False)])["state"].tolist() == ["running"]


def test_rows_are_ordered_by_arm_phase_and_number():
    runs = [
        stored({"index": index}, unit=Unit(arm)) for arm in ("lstm", "gru") for index in ("10", "9")
    ]
    assert frames.runs(runs)[["arm", "index"]].values.tolist() == [
        ["gru", 9],
        ["gru", 10],
        ["lstm", 9],
        ["lstm", 10],
    ]


def test_a_run_has_the_parts_of_its_unit():
    row = frames.runs([stored(unit=Unit("gru", "docs", 2))]).iloc[0]
    assert (row["condition"], row["arm"], row["repeat"]) == ("docs", "gru", 2)


def test_an_export_of_before_conditions_is_of_one(tmp_path):
    later = ["condition", "repeat", "draw", "hidden_size", "versions", "final/loss", "not_learned"]
    later += ["started"]
    frame = frames.runs([stored()]).drop(columns=[*later, "params"])
    frame.assign(samples="[]", **{"params.hidden_size": 64}).to_csv(
        tmp_path / "runs.csv", index=False
    )
    frames.curves([]).drop(columns=["condition", "repeat", "draw"]).to_csv(
        tmp_path / "curves.csv", index=False
    )
    frames.timings([]).drop(columns="condition").to_csv(tmp_path / "timings.csv", index=False)
    runs, curves, timings = frames.read_export(tmp_path)
    assert runs.loc[0, ["condition", "repeat", "hidden_size"]].tolist() == ["", 0, 64]
    assert runs["started"].isna().all()
    assert runs["not_learned"].isna().all() and runs["final/loss"].isna().all()
    assert str(runs["not_learned"].dtype) == "boolean"
    assert {"condition", "repeat"} <= set(curves) and "condition" in timings


def test_an_export_of_before_has_metrics_of_longer_sequences_under_todays_names(tmp_path):
    frame = frames.runs([stored(metrics={"test/2x_accuracy": 0.5})])
    frame = frame.drop(columns="params").assign(samples="[]")
    old = frame.rename(columns={"test/2x_accuracy": "test_2x/accuracy"})
    old.to_csv(tmp_path / "runs.csv", index=False)
    frames.curves([]).to_csv(tmp_path / "curves.csv", index=False)
    frames.timings([]).to_csv(tmp_path / "timings.csv", index=False)
    runs = frames.read_export(tmp_path)[0]
    assert runs["test/2x_accuracy"].tolist() == [0.5] and "test_2x/accuracy" not in runs


def test_curves_keep_every_bit_and_further_columns():
    loss = 1.0 / 3.0
    header = "update,tokens,time_seconds,train/loss,validation/loss,train/gradient_norm"
    content = f"{header}\n5,60.0,0.5,{loss!r},,2.5\n"
    frame = frames.curves([(Unit("lstm"), "replicate", 1000, 0, content.encode())])
    assert frame.loc[0, "train/loss"] == loss
    assert (
        math.isnan(frame.loc[0, "validation/loss"]) and frame.loc[0, "train/gradient_norm"] == 2.5
    )
    dtypes = {
        column: str(frame[column].dtype) for column in columns.KEY_DTYPES | columns.CURVE_DTYPES
    }
    assert dtypes == columns.KEY_DTYPES | columns.CURVE_DTYPES


def test_curves_of_many_files_keep_their_places():
    first, second = (
        "update,tokens,time_seconds\n5,60,0.5\n9,80,1.5\n",
        "update,tokens,train/loss\n5,60,2.5\n",
    )
    stored = [
        (Unit("gru"), "trial", 1, 0, first),
        (Unit("lstm", "docs"), "trial", 0, 0, second),
        (Unit("gru"), "trial", 0, 0, ""),
    ]
    stored += [
        (Unit("gru"), "trial", 2, 0, first.splitlines()[0]),
        (Unit("gru"), "trial", 3, 0, first),
    ]
    frame = frames.curves([(*key, text.encode()) for *key, text in stored])
    assert frame[["condition", "arm", "index", "update"]].values.tolist() == [
        *(["", "gru", 1, 5], ["", "gru", 1, 9], ["", "gru", 3, 5], ["", "gru", 3, 9]),
        ["docs", "lstm", 0, 5],
    ]


def test_samples_are_stored_for_programs_and_for_people():
    files = frames.sample_files([{"prefix": "traveller", "text": "traveller – the"}])
    assert files["samples.txt"] == "[traveller] traveller – the\n"
    assert "–" in files["samples.json"]
    assert frames.sample_files([]) == {}
    early = frames.sample_files([{"prefix": "so", "text": "so ee", "update": 9}])
    assert early["samples.txt"] == "after update 9: [so] so ee\n"


def test_states_are_a_row_per_number_under_their_replicate():
    summary = StateSummary(0, "c", 1.0, 0.5, 1.5, 2.0, 3.0, 0.25, (0.2, 0.1))
    statistics = StateStatistics("validation", 4, 3, 2, (summary,), (0.4, 0.3))
    content = statistics.to_json().encode()
    frame = frames.states([(Unit("lstm", "docs", 1), "replicate", 3, 0, content)])
    assert {**frame.dtypes.astype(str)} == {
        name: str(pd.Series(dtype=dtype).dtype)
        for name, dtype in (columns.KEY_DTYPES | columns.STATE_DTYPES).items()
    }
    key = ["docs", "lstm", 1, "replicate", 3, 0]
    assert (frame[list(columns.KEY_DTYPES)] == key).all(axis=None)
    of_c = frame[frame["state"] == "c"]
    assert dict(zip(of_c["quantity"], of_c["value"], strict=True)) == {
        "rms": 1.0,
        "median": 0.5,
        "percentile_90": 1.5,
        "percentile_99": 2.0,
        "largest": 3.0,
        "saturated": 0.25,
        "gradient_norm": 0.1,
    }
    whole = frame[frame["state"] == columns.ALL_STATES]
    assert whole[["layer", "step", "value"]].to_numpy().tolist() == [[-1, 1, 0.4], [-1, 2, 0.3]]
    empty = frames.states([])
    assert empty.empty and list(empty) == list(frame)


def test_an_excerpt_is_the_likeliest_text_and_holds_its_prefix_once():
    texts = [
        {"prefix": "so", "text": "so it is"},
        {"prefix": "so", "text": "so be", "temperature": 0.7},
        {"prefix": "to", "text": "to be"},
    ]
    assert frames.excerpt(texts) == "so it is"
    assert frames.excerpt(texts[1:]) == "so be" and frames.excerpt([]) == ""
    early = {"prefix": "so", "text": "so ee", "update": 9}
    assert frames.excerpt([early, *texts]) == "so it is"


def test_a_text_that_was_drawn_says_so_where_a_person_reads_it():
    drawn = {"prefix": "so", "text": "so be", "temperature": 0.7}
    files = frames.sample_files([{**drawn, "update": 9}, drawn])
    assert files["samples.txt"] == (
        "after update 9: at temperature 0.7: [so] so be\n\nat temperature 0.7: [so] so be\n"
    )


def test_a_run_says_when_it_began_also_where_only_the_store_knows():
    by_store = replace(stored(), start_time=1_795_747_235_600)
    by_worker = replace(by_store, tags={**by_store.tags, "started": "2026-11-26T23:59:59Z"})
    began = [frames.runs([run])["started"].iloc[0] for run in (by_store, by_worker)]
    assert began == ["2026-11-27T02:40:35Z", "2026-11-26T23:59:59Z"]
    assert frames.runs([stored()])["started"].isna().all()
