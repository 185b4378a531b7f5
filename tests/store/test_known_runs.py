"""Each place of a study has one run that counts, whatever the store holds."""

from written_runs import Open, start

from harness.study.units import Phase, RunKey, Unit


def test_there_is_one_run_per_arm_phase_and_index_for_ever(new, writer):
    first = start(writer)
    others = {start(writer, index=1), start(writer, phase="replicate"), start(writer, arm="gru")}
    assert len({first, *others}) == 4
    assert start(writer) == first
    again = new()
    assert start(again) == first
    assert len(again.reader.runs()) == 4 and len(again.reader.search()) == 4 + 2  # two parents


def test_of_an_arms_own_runs_the_one_counts_under_which_the_others_lie(new, writer):
    start(writer)
    own = writer.reader.arm_runs()["lstm"]
    tags = {"arm": "lstm", "phase": "arm", "index": "0"}
    for time_ms in (1, 2_000_000_000_000):  # before it and after it
        writer._client.create_run(writer.experiment_id, start_time=time_ms, tags=tags)
    assert new().reader.arm_runs() == {"lstm": own}
    assert new().summarize_arm(Unit("lstm"), {"trials": 1.0}) == own


def test_units_of_one_arm_have_one_parent_and_places_of_their_own(new, writer):
    for key in ("docs/lstm", "docs/lstm@2", "book/lstm"):
        writer.end_run(
            writer.open_run(RunKey(Unit.parse(key), Phase.REPLICATE, 0), key, {}, {}), "finished"
        )
    runs = new().reader.runs()
    assert runs[["condition", "arm", "repeat"]].values.tolist() == [
        ["book", "lstm", 0],
        ["docs", "lstm", 0],
        ["docs", "lstm", 2],
    ]
    assert (
        new().open_run(RunKey(Unit("lstm", "docs", 2), Phase.REPLICATE, 0), "again", {}, {})
        == runs.loc[2, "run_id"]
    )
    parents = [run for run in writer.reader.search() if run.tags["phase"] == "arm"]
    assert sorted(run.tags["mlflow.runName"] for run in parents) == ["book/lstm", "docs/lstm"]


def test_all_runs_of_a_place_are_put_aside_and_the_one_made_anew_counts(new: Open) -> None:
    """Two drivers, one of whose lock was removed, have stored a place twice."""
    key, writers = RunKey(Unit("lstm"), Phase.REPLICATE, 0), [new(), new()]
    for objective, writer in enumerate(writers):
        run_id = start(writer, phase="replicate")
        writer.end_run(run_id, "finished", metrics={"objective": float(objective)})
    writer = new()
    (counting,) = writer.reader.runs()["run_id"]
    assert writer.run_id(key) == counting
    writer.mark_superseded(key)
    assert writer.reader.runs(Phase.REPLICATE).empty
    again = start(writer, phase="replicate")
    writer.end_run(again, "finished", metrics={"objective": 2.0})
    assert list(new().reader.runs(Phase.REPLICATE)["run_id"]) == [again]


def test_a_run_that_is_found_later_takes_no_place_of_one_that_counts(new: Open) -> None:
    key = RunKey(Unit("lstm"), Phase.REPLICATE, 0)
    writer, other = new(), new()
    ended = start(writer, phase="replicate")
    writer.end_run(ended, "finished", metrics={"objective": 1.0})
    start(other, phase="replicate")
    writer.find_made()
    assert writer.run_id(key) == ended
