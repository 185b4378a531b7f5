"""What of a run is written, when, in which order, and what a kill leaves."""

import gc
import math
import time
import tracemalloc

import pandas as pd
import pytest
from written_runs import Recorder, record, start, updates

from harness.store import writer as writing
from harness.store.address import StoreError
from harness.store.soundness import doubled_points
from harness.study.units import Phase, RunKey, Unit


def test_a_run_is_a_child_of_its_arm_with_name_tags_and_params(writer):
    tags = {
        "engine": "cpu",
        "git_commit": "abc",
        "git_dirty": True,
        "pack_size": 4,
        "corpus_fingerprint": "f" * 64,
    }
    run = writer._client.get_run(start(writer, index=3, **tags))
    parent = writer._client.get_run(run.data.tags["mlflow.parentRunId"])
    assert run.info.run_name == "lstm trial 3" and run.info.status == "RUNNING"
    assert run.data.params == {"learning_rate": "0.1", "schedule": "cosine", "clip_norm": "null"}
    expected = {
        "arm": "lstm",
        "phase": "trial",
        "index": "3",
        "cell": "lstm",
        "seed": "0 trial 0",
        "state": "running",
    }
    expected |= {
        "engine": "cpu",
        "git_dirty": "true",
        "pack_size": "4",
        "mlflow.source.git.commit": "abc",
    }
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags["mlflow.user"] and run.data.tags["mlflow.source.name"] == "harness"
    assert parent.info.run_name == "lstm" and parent.data.tags["phase"] == "arm"


@pytest.mark.parametrize("state", ["failed", "killed"])
def test_a_run_given_up_is_opened_again_as_running(new, writer, state):
    run_id = start(writer)
    if state == "failed":
        writer.end_run(run_id, state, tags={"message": "out of memory"})
    else:  # as earlier versions wrote it
        writer._client.set_tag(run_id, "state", state)
        writer._client.set_terminated(run_id, status="KILLED")
    again = new()
    assert again._client.get_run(run_id).info.status == state.upper()
    assert again.reader.runs()["state"].tolist() == [state]
    assert start(again, device="cuda") == run_id
    run = again._client.get_run(run_id)
    assert (run.info.status, run.data.tags["state"], run.data.tags["device"]) == (
        "RUNNING",
        "running",
        "cuda",
    )


def test_a_finished_run_stays_finished(new, writer):
    run_id = start(writer)
    writer.end_run(run_id, "pruned")
    assert start(new()) == run_id
    assert new().reader.runs()["state"].tolist() == ["pruned"]


@pytest.mark.usefixtures("by_client")
@pytest.mark.parametrize("update", [0, 300])
def test_a_summary_of_a_killed_end_is_not_written_beside_itself(
    new, writer, folder, update, monkeypatch
):
    run_id = start(writer)
    for at in range(100, update + 1, 100):
        writer.log(run_id, at, {"seconds": at / 100}, time=float(at))
    with monkeypatch.context() as patch:  # killed between the numbers and the status
        patch.setattr(writer._client, "set_terminated", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.end_run(run_id, "finished", metrics={"seconds": 3.5, "objective": 1.0})
    again = new()
    assert start(again) == run_id
    again.end_run(run_id, "finished", metrics={"seconds": 3.25, "objective": 1.0})
    assert run_id not in {doubled for doubled, *_ in doubled_points(folder / "mlflow.db")}
    assert again.reader.runs().loc[0, ["seconds", "objective"]].tolist() == [3.5, 1.0]


def test_a_run_that_failed_gets_the_numbers_of_its_second_end(new, writer):
    run_id = start(writer)
    writer.end_run(run_id, "failed", metrics={"seconds": 0.5})
    again = new()
    start(again)
    record(again, run_id, 10)
    again.end_run(run_id, "finished", metrics={"seconds": 3.25})
    assert again._client.get_metric_history(run_id, "seconds")[-1].value == 3.25


@pytest.mark.usefixtures("by_client")
def test_parameters_are_written_once(new, writer):
    start(writer)
    again = new()
    again._client = recorder = Recorder(again._client)
    start(again)
    assert recorder.names() == ["tags"]


def test_parameters_that_a_crash_left_out_are_written_on_reopening(new, writer):
    run_id = writer.open_run(RunKey(Unit("lstm"), Phase.TRIAL, 0), "lstm trial 0", {}, {})
    assert start(new()) == run_id
    assert new().reader.runs().loc[0, "params"] == {
        "learning_rate": 0.1,
        "schedule": "cosine",
        "clip_norm": None,
    }


def test_a_parameter_that_changed_is_an_error(new, writer):
    start(writer)
    with pytest.raises(
        StoreError, match="lstm/trial/0: .* got learning_rate=0.2 where learning_rate=0.1 is stored"
    ):
        new().open_run(RunKey(Unit("lstm"), Phase.TRIAL, 0), "", {"learning_rate": 0.2}, {})


def test_a_run_whose_text_was_moved_goes_on(new, writer):
    key = RunKey(Unit("lstm"), Phase.TRIAL, 0)
    run_id = writer.open_run(key, "", {"path": "/a/text.txt", "cell": "lstm"}, {})
    again = new()
    assert again.open_run(key, "", {"path": "/b/text.txt", "cell": "lstm"}, {}) == run_id
    again.flush()
    assert new().reader.runs().loc[0, "params"] == {"path": "/a/text.txt", "cell": "lstm"}


@pytest.mark.usefixtures("by_client")
def test_metrics_wait_in_a_buffer_and_go_in_batches_of_a_thousand(writer):
    run_id = start(writer)
    writer._client = recorder = Recorder(writer._client)
    for update in range(1, 101):
        writer.log(run_id, update, {f"m/{i}": float(update) for i in range(15)}, time=float(update))
    assert recorder.calls == []
    writer.flush()
    assert [len(kwargs["metrics"]) for _, kwargs in recorder.calls] == [
        990,
        510,
    ]  # records are never cut
    points = writer._client.get_metric_history(run_id, "m/14")
    assert [(p.step, p.timestamp, p.value) for p in points] == [
        (u, u * 1000, float(u)) for u in range(1, 101)
    ]


def test_records_that_could_not_be_written_are_kept_for_the_next_time(writer, monkeypatch):
    run_id = start(writer)
    record(writer, run_id, 1)
    with monkeypatch.context() as patch:
        patch.setattr(writer._client, "log_batch", lambda *args, **kw: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.flush()
    writer.flush()
    assert updates(writer, run_id) == [1]


def test_a_kill_in_the_middle_doubles_neither_runs_nor_metrics(new, writer):
    run_id = start(writer)
    for update in (10, 20):
        record(writer, run_id, update)
    writer.flush()
    record(writer, run_id, 30)  # lost with the process
    again = new()
    assert again.reader.runs()["state"].tolist() == ["running"]
    assert start(again) == run_id
    for update in (
        10,
        20,
        30,
    ):  # from a checkpoint at 0; at other times, as another process emits them
        again.log(run_id, update, {"train/loss": 2.0, "tokens": 32.0 * update}, time=5000.0)
    again.end_run(run_id, "finished", metrics={"objective": 1.5, "train/loss": 1.9})
    assert updates(again, run_id, "tokens") == [10, 20, 30]
    assert again.reader.runs()["state"].tolist() == ["finished"]


def test_a_failed_run_that_starts_over_in_the_same_process_doubles_no_metrics(writer):
    run_id = start(writer)
    for update in (10, 20):
        record(writer, run_id, update)
    writer.end_run(run_id, "failed", {"message": "out of memory"})
    start(writer)
    for update in (10, 20, 30):
        writer.log(run_id, update, {"train/loss": 2.0}, time=5000.0)
    writer.end_run(run_id, "finished")
    assert updates(writer, run_id) == [10, 20, 30]


def test_an_ended_run_takes_next_to_no_memory(writer):
    """A study has tens of thousands of them; what they hold is in the store."""
    texts = {f"parameter_{number}": 1000.5 + number for number in range(40)}

    def train(index):
        key = RunKey(Unit("lstm"), Phase.TRIAL, index)
        run_id = writer.open_run(key, str(key), {**texts, "index": index}, {"seed": str(index)})
        for update in range(1, 21):
            writer.log(run_id, update, {"train/loss": 2.0 / update}, time=float(update))
        writer.end_run(run_id, "finished", {"message": "σ" * 500}, {"objective": 2.0})
        return key

    train(0)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    keys = [train(index) for index in range(1, 41)]
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held / len(keys) < 2500  # 4.7 KB with the parameters
    with pytest.raises(StoreError, match="got parameter_3=7 where parameter_3=1003.5 is stored"):
        writer.open_run(keys[0], "", {"parameter_3": 7}, {})


def test_a_tag_that_is_none_is_not_written(writer):
    run_id = start(writer, threads=None, git_commit=None)
    assert not {"threads", "git_commit", "mlflow.source.git.commit"} & set(
        writer._client.get_run(run_id).data.tags
    )
    assert pd.isna(writer.reader.runs().loc[0, "threads"])


def test_an_end_that_was_cut_off_is_written_again_without_a_second_summary(new, writer):
    run_id = start(writer)
    record(writer, run_id, 10)
    monkey = Recorder(writer._client)
    writer._client = monkey
    monkey.set_terminated = lambda *args, **kw: 1 / 0
    with pytest.raises(ZeroDivisionError):
        writer.end_run(run_id, "finished", metrics={"objective": 1.5, "train/loss": 1.9})
    again = new()
    assert again.reader.runs()["state"].tolist() == ["running"]
    start(again)
    record(again, run_id, 10)
    again.end_run(run_id, "finished", metrics={"objective": 1.5, "train/loss": 1.9})
    assert updates(again, run_id, "objective") == [0] and updates(again, run_id) == [10, 10]
    assert again._client.get_run(run_id).data.metrics["train/loss"] == 1.9
    assert [point.value for point in again._client.get_metric_history(run_id, "train/loss")] == [
        2.0,
        1.9,
    ]


def test_a_summary_without_records_can_be_written_again(new, writer):
    run_id = start(writer)
    writer.end_run(run_id, "failed", metrics={"objective": 1.5})
    again = new()
    assert start(again) == run_id
    again.end_run(run_id, "failed", metrics={"objective": 1.5})
    assert updates(again, run_id, "objective") == [0]


@pytest.mark.usefixtures("by_client")
def test_a_run_ends_with_metrics_artifacts_tags_and_its_status_last(writer):
    run_id = start(writer)
    record(writer, run_id, 10)
    writer._client = recorder = Recorder(writer._client)
    writer.end_run(
        run_id, "diverged", {"message": "nan"}, {"test/loss": 1.0}, {"curve.csv": b"update\n10\n"}
    )
    assert recorder.names() == ["log_artifacts", "metrics+tags", "set_terminated"]
    run = writer._client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.tags["state"] == "diverged"


def test_an_unknown_end_is_refused(writer):
    with pytest.raises(
        StoreError, match="state must be one of finished, .*failed, but got state='done'"
    ):
        writer.end_run(start(writer), "done")


def test_an_arm_that_goes_on_is_summed_up_and_does_not_end(writer):
    start(writer)
    own = writer.summarize_arm(Unit("lstm"), {"trials": 1.0}, tags={"n": "1"}, is_over=False)
    run = writer._client.get_run(own)
    assert (run.info.status, run.data.metrics, run.data.tags["n"]) == (
        "RUNNING",
        {"arm/trials": 1.0},
        "1",
    )


def test_an_arms_summary_is_on_its_parent_under_arm_alone(new, writer):
    writer.end_run(start(writer), "finished", metrics={"validation/perplexity": 7.0})
    writer.summarize_arm(Unit("lstm"), {"validation/perplexity": 7.5}, {"verdict.md": "better"})
    parent = writer._client.get_run(writer._known.arms[Unit("lstm")].run_id)
    assert parent.data.metrics == {"arm/validation/perplexity": 7.5}
    assert (
        writer.reader.artifact(parent.info.run_id, "verdict.md") == b"better"
        and parent.info.status == "FINISHED"
    )
    again = new()
    start(again, phase="replicate", index=1000)  # the study was extended
    assert again._client.get_run(parent.info.run_id).info.status == "RUNNING"
    again.summarize_arm(Unit("lstm"), {"validation/perplexity": 7.25})
    parent = again._client.get_run(parent.info.run_id)
    assert (
        parent.data.metrics == {"arm/validation/perplexity": 7.25}
        and parent.info.status == "FINISHED"
    )


def test_an_arms_numbers_are_written_where_they_have_changed(new, writer):
    without_end = {"worst": math.inf, "best": -math.inf}
    numbers = {"perplexity": 7.25, "speed": math.nan, "runs": 8.0, **without_end}
    writer.summarize_arm(Unit("lstm"), numbers)
    new().summarize_arm(Unit("lstm"), numbers)  # a launch that adds nothing to the study
    new().summarize_arm(Unit("lstm"), {"perplexity": 7.125, "runs": 8.0, **without_end})
    (arm_run,) = [run for run in writer.reader.search() if run.tags["phase"] == "arm"]
    written = [(p.metric, p.value) for p in writer.reader.points(arm_run)]
    assert len(written) == 6
    assert {("arm/perplexity", 7.25), ("arm/perplexity", 7.125), ("arm/runs", 8.0)} < set(written)


def test_an_arms_numbers_whose_answer_was_lost_are_not_sent_again(by_client, new, monkeypatch):
    writer, sent = new(), []
    log_batch = writer._client.log_batch

    def heard(run_id, **given):
        log_batch(run_id, **given)
        sent.extend(given.get("metrics", []))
        if given.get("metrics"):
            raise ConnectionError("the answer was lost")

    monkeypatch.setattr(writer._client, "log_batch", heard)
    with pytest.raises(ConnectionError):
        writer.summarize_arm(Unit("lstm"), {"ratio": 1.25})
    writer.summarize_arm(Unit("lstm"), {"ratio": 1.25})
    assert len(sent) == 1


@pytest.mark.parametrize("client", ["own", "mlflow"])
def test_an_arms_numbers_are_those_of_the_last_launch_also_where_its_clock_is_behind(
    new, monkeypatch, request, client
):
    if client == "mlflow":
        request.getfixturevalue("by_client")
    new().summarize_arm(Unit("lstm"), {"ratio": 1.25, "p": 0.25, "runs": 8.0})
    hour_ago = time.time() - 3600
    monkeypatch.setattr(writing, "unix_time", lambda: hour_ago)
    behind = new()
    for ratio in (1.125, 1.375):  # a smaller one and a larger one
        own = behind.summarize_arm(Unit("lstm"), {"ratio": ratio, "runs": 8.0})
        shown = behind._client.get_run(own)
        assert shown.data.metrics.pop("arm/p") != 0.25
        assert shown.data.metrics["arm/ratio"] == ratio and shown.data.metrics["arm/runs"] == 8.0
        assert shown.info.status == "FINISHED"


def test_a_summary_is_short_enough_for_a_column(writer):
    writer.summarize_arm(
        Unit("lstm"), {"p": 3.4964000912e-11, "ratio": 0.2870298852, "tokens": 123456789.0}
    )
    (parent,) = [run for run in writer.reader.search() if run.tags["phase"] == "arm"]
    assert parent.metrics == {
        "arm/p": 3.4964e-11,
        "arm/ratio": 0.28703,
        "arm/tokens": 123456789.0,
    }


def test_the_seconds_spent_in_the_writer_are_counted(writer, monkeypatch):
    run_id, before, begun = start(writer), writer.seconds, time.perf_counter()
    assert before > 0
    monkeypatch.setattr(writer, "_client", Recorder(writer._client))
    monkeypatch.setattr(
        writer._client, "log_batch", lambda *args, **kwargs: time.sleep(0.05), raising=False
    )
    record(writer, run_id, 1)
    writer.flush()
    assert 0.05 <= writer.seconds - before <= time.perf_counter() - begun
