"""What was written comes back as it was."""

import math

import pandas as pd
from written_runs import start

from harness.store import columns


def test_every_page_of_the_runs_is_read(writer, monkeypatch):
    for index in range(5):
        start(writer, index=index)
    search = writer._client.search_runs
    monkeypatch.setattr(
        writer._client, "search_runs", lambda *args, **kw: search(*args, max_results=2, **kw)
    )
    assert writer.reader.runs()["index"].tolist() == [0, 1, 2, 3, 4]


def test_runs_come_back_as_they_were_stored(new, writer):
    samples = [{"prefix": "traveller", "text": "traveller – held"}]
    tags = {"engine": "cpu", "device": "cpu", "precision": "float32", "threads": 2, "pack_size": 8}
    metrics = {
        "objective": 1 / 3,
        "validation/loss": 1 / 3,
        "test/loss": 0.4,
        "train/loss": 0.2,
        "num_parameters": 999,
    }
    metrics |= {"num_states": 512, "tokens": 2_000_000, "seconds": 12.5}
    writer.end_run(start(writer), "finished", tags, metrics, samples=samples)
    writer.end_run(
        start(writer, index=1), "diverged", tags, {"objective": math.nan, "train/loss": math.inf}
    )
    start(writer, index=2)
    runs = new().reader.runs()
    assert {column: str(dtype) for column, dtype in runs.dtypes.items()} == columns.RUN_DTYPES
    expected = {
        "arm": "lstm",
        "phase": "trial",
        "index": 0,
        "seed": "0 trial 0",
        "state": "finished",
        **tags,
        **metrics,
    }
    expected |= {
        "params": {"learning_rate": 0.1, "schedule": "cosine", "clip_norm": None},
        "samples": samples,
    }
    assert {name: value for name, value in runs.loc[0].items() if name in expected} == expected
    assert runs.loc[0, ["condition", "repeat"]].tolist() == ["", 0]
    assert runs["run_id"].nunique() == 3
    assert runs["state"].tolist() == ["finished", "diverged", "running"]
    assert math.isnan(runs.loc[1, "objective"]) and runs.loc[1, "train/loss"] == math.inf


def test_curves_come_back_from_the_artifacts(new, writer):
    header = "update,tokens,time_seconds,train/loss,validation/loss"
    content = f"{header}\n10,320,0.5,{2 / 3!r},2.5\n20,640,1.0,2.0,2.25\n"
    for index in (0, 1):
        writer.end_run(start(writer, index=index), "finished", artifacts={"curve.csv": content})
    writer.end_run(start(writer, index=2), "failed")
    curves = new().reader.curves()
    assert curves["index"].tolist() == [0, 0, 1, 1] and set(curves["arm"]) == {"lstm"}
    assert curves["train/loss"].tolist() == [2 / 3, 2.0] * 2
    dtypes = {column: str(dtype) for column, dtype in curves.dtypes.items()}
    assert dtypes == columns.KEY_DTYPES | columns.CURVE_DTYPES


def test_timings_come_back_from_the_arms(new, writer):
    place = {
        "mode": "train",
        "pack": 1,
        "engine": "cpu",
        "device": "cpu",
        "precision": "float32",
        "threads": 2,
    }
    rows = [
        {
            "arm": arm,
            "round": number,
            "seconds": 0.01 / 3,
            "tokens_per_second": 1e5 / 3,
            "busy": number == 1,
            **place,
        }
        for arm in ("gru", "lstm")
        for number in (0, 1)
    ]
    names = [*columns.ARM_DTYPES, *columns.TIMING_DTYPES]
    timings = pd.DataFrame(rows).assign(condition="")[names]
    start(writer)
    writer.store_timings(timings)
    writer.store_timings(timings)
    pd.testing.assert_frame_equal(
        new().reader.timings(), timings.astype(columns.ARM_DTYPES | columns.TIMING_DTYPES)
    )


def test_a_new_study_has_empty_frames(writer):
    assert (
        writer.reader.runs().empty
        and writer.reader.curves().empty
        and writer.reader.timings().empty
    )
