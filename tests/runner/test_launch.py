"""A study as it is launched: what it ends with, what it refuses, and what its store holds."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import small_study
from launched import run, scheduler_of, store_of

from harness import study
from harness.preflight.design import DesignError
from harness.results import export, status
from harness.results.open import NothingError
from harness.runner import exchange
from harness.runner.executor import Inline
from harness.runner.finished import finished_report
from harness.runner.recorder import RunRecorder
from harness.store.identity import IdentityError
from harness.store.locations import Locations
from harness.store.lock import locked
from harness.store.writer import StudyWriter
from harness.training import pack, worker
from harness.training.files import MODEL_FILE
from harness.training.saved_model import SavedModel

pytestmark = pytest.mark.usefixtures("without_report_files")

COLUMNS = [
    "arm",
    "verdict",
    "finished",
    "pairs",
    "loss",
    "perplexity",
    "ratio",
    "p",
    "p_holm",
    "num_parameters",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study run to its end: its path, its folder, its report and what was printed."""
    folder = tmp_path_factory.mktemp("finished")
    path = small_study.write(folder, runtime="{rounds: 6, seconds: 0.001}")
    return path, folder, *run(path, folder)


def test_a_study_ends_with_a_verdict(finished):
    _, _, report, said = finished
    assert report.table.set_index("arm").loc["wide", "verdict"] == "better"
    assert "wide is better" in report.answer and report.answer in " ".join(said.split())
    assert "harness ui small" in said and "outside these (start-up" in said
    assert not report.missing


def test_the_store_holds_every_run_once(finished):
    _, folder, _, _ = finished
    store = store_of(folder)
    runs = store.runs()
    counts = runs.groupby(["arm", "phase"]).size()
    assert (counts.xs("trial", level="phase") == 4).all() and (
        counts.xs("replicate", level="phase") == 6
    ).all()
    assert set(runs["state"]) <= {"finished", "pruned"}
    replicates = runs[runs["phase"] == "replicate"]
    assert (
        replicates["test/loss"].notna().all()
        and runs[runs["phase"] == "trial"]["test/loss"].isna().all()
    )
    assert (
        replicates["samples"]
        .map(lambda s: s[0]["text"].startswith("the ") and len(s[0]["text"]) == 12)
        .all()
    )
    curves = store.curves()
    assert (curves[curves["phase"] == "replicate"].groupby(["arm", "index"]).size() == 4).all()
    assert len(store.timings()) == 2 * 2 * 2 * 6
    assert (
        not list(Locations(folder).checkpoints("small").glob("*"))
        if Locations(folder).checkpoints("small").exists()
        else True
    )


def test_seeds_are_paired(finished):
    _, folder, _, _ = finished
    replicates = store_of(folder).runs().query("phase == 'replicate'")
    assert set(replicates.query("arm == 'wide'")["seed"]) == set(
        replicates.query("arm == 'narrow'")["seed"]
    )


def test_a_finished_study_trains_nothing_and_prints_its_report(finished, monkeypatch):
    path, folder, report, _ = finished
    before = store_of(folder).runs()

    def forbidden(*_):
        raise AssertionError("a finished study must not train")

    monkeypatch.setattr(pack.Pack, "__init__", forbidden)
    again, said = run(path, folder)
    pd.testing.assert_frame_equal(again.table, report.table)
    pd.testing.assert_frame_equal(store_of(folder).runs(), before)
    assert "wide" in said


def test_a_finished_study_is_told_from_its_stores_alone(finished):
    path, folder, report, _ = finished
    pd.testing.assert_frame_equal(report_in_store(path, folder).table, report.table)
    assert report_in_store(path, folder, "replicate.seeds=7") is None
    assert report_in_store(path, folder, "tune.trials=5") is None
    assert report_in_store(path, folder, "measure.models=none") is None
    with pytest.raises(IdentityError):
        report_in_store(path, folder, "fix.batch_size=5")
    code = "import sys; from harness.cli import main; sys.argv[1:] = sys.argv[2:]\ntry: main()\n"
    code += "except SystemExit: pass\nheavy = {'torch', 'optuna', 'mlflow', 'matplotlib'}\n"
    code += "print('loaded', sorted(heavy & set(sys.modules)))"
    command = [sys.executable, "-c", code, "-", "run", str(path), "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded []", done.stderr
    assert "Compared with narrow in test perplexity, wide is better" in " ".join(
        done.stdout.split()
    )


def report_in_store(path, folder, *overrides):
    return finished_report(study.load(path, overrides), Locations(folder))


def test_what_no_longer_holds_is_no_finished_study(finished, tmp_path):
    folder = shutil.copytree(finished[1], tmp_path / "copy")
    path = folder / finished[0].name
    writer = StudyWriter(Locations(folder).tracking_uri, "small", Locations(folder).artifacts)
    notes = writer.reader.notes()
    assert report_in_store(path, folder) is not None
    for change in ({"complete": None}, {"reported": "of another version"}, {"timed": ""}):
        writer.save_notes(replace(notes, **change))
        assert report_in_store(path, folder) is None, change
    writer.save_notes(notes)
    text = (folder / "text.txt").read_text()
    (folder / "text.txt").write_text(text + " and more")
    assert report_in_store(path, folder) is None
    (folder / "text.txt").write_text(text)
    row = writer.reader.runs().query("phase == 'replicate'").iloc[0]
    writer._client.delete_run(row["run_id"])  # as in MLflow's pages; the files are the original's
    assert report_in_store(path, folder) is None


def test_a_design_that_cannot_reach_its_threshold_is_refused(tmp_path):
    path = small_study.write(tmp_path, seeds=5)
    with pytest.raises(
        DesignError, match=r"replicate.seeds: .* but got seeds=5.* Write seeds: 6 or more"
    ):
        run(path, tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


def test_the_second_run_of_a_study_says_who_holds_it(tmp_path):
    path = small_study.write(tmp_path)
    with locked("small", Locations(tmp_path)):
        done = subprocess.run(
            [sys.executable, "-m", "harness.cli", "run", str(path), "--folder", str(tmp_path)],
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2 and f"is held by process {os.getpid()} on " in done.stderr
    assert "Traceback" not in done.stderr


def learned(folder):
    """Returns the parameters that every replicate kept, bit by bit."""
    store = store_of(folder)
    found = {}
    for row in store.runs().query("phase == 'replicate'").itertuples():
        parameters = SavedModel.from_bytes(store.artifact(row.run_id, MODEL_FILE)).parameters
        found[row.arm, row.seed] = {name: values.tobytes() for name, values in parameters.items()}
    return found


def test_trained_elsewhere_equals_trained_here(tmp_path, finished):
    there = tmp_path / "there"
    path = small_study.write(there, runtime="{rounds: 6, seconds: 0.001}")
    locations, plan, records = Locations(there), there / "plan.json", there / "records.jsonl"
    first = there / "first.jsonl"
    for _ in range(6):
        said = exchange.write_plan(path, plan, locations=locations)
        if "nothing is missing" in said:
            break
        if first.exists():
            records.write_text("\n".join(worker.work(plan.read_text())) + "\n")
        else:  # once in a process of its own, as elsewhere
            with open(first, "w") as out:
                command = [sys.executable, "-m", "harness.train", str(plan)]
                subprocess.run(command, stdout=out, check=True)
            shutil.copy(first, records)
        exchange.ingest_records(path, records, locations=locations)
    else:
        raise AssertionError("the study did not end")
    report, _ = run(path, there)
    pd.testing.assert_frame_equal(report.table[COLUMNS], finished[2].table[COLUMNS])
    assert learned(there) == learned(finished[1])
    assert b'"measurement"' in records.read_bytes() and b'"measurement"' not in first.read_bytes()
    for again in (first, records):  # a second time
        said = exchange.ingest_records(path, again, locations=locations)
        assert "0 runs and 0 timings stored" in said


def test_a_clock_that_is_set_back_makes_no_launch_shorter(tmp_path, monkeypatch):
    clock, hours, execute = time.time, [0], Inline.execute

    def set_back_while_training(*arguments):
        hours[0] += 1
        execute(*arguments)
        hours[0] += 1

    monkeypatch.setattr(time, "time", lambda: clock() - 3600 * hours[0])
    monkeypatch.setattr(Inline, "execute", set_back_while_training)
    path = small_study.write(tmp_path, trials=1, seeds=1)
    _, said = run(path, tmp_path, force=True)
    (line,) = [line for line in said.splitlines() if line.startswith("This launch took ")]
    total, *parts, first_update = map(float, re.findall(r"-?\d+\.?\d*", line))
    assert hours[0] >= 2 and re.search(r"first update after [\d.]+ s$", line), line
    # The whole is told to the second, its parts to a tenth.
    assert len(parts) == 6 and all(0 <= part <= total + 0.6 for part in parts), line
    assert 0 <= first_update <= total + 0.6, line


def test_equal_arms_are_identical(tmp_path):
    text = small_study.write(tmp_path).read_text()
    tune, fix = text.index("tune:"), text.index("fix:")
    text = text[:tune] + text[fix:].replace(
        "fix:", "fix:\n  learning_rate: 0.02"
    )  # a search would differ by arm
    path = tmp_path / "small.yaml"
    path.write_text(text.replace("wide: {hidden_size: 16}", "wide: {hidden_size: 3, threads: 1}"))
    report, _ = run(path, tmp_path)
    row = report.table.set_index("arm").loc["wide"]
    assert row["ratio"] == 1.0 and row["verdict"] not in ("better", "worse")


def test_a_diverging_arm_is_a_result(tmp_path):
    text = small_study.write(tmp_path, trials=1).read_text()
    path = tmp_path / "small.yaml"
    text = text.replace(
        "wide: {hidden_size: 16}", "wide: {hidden_size: 16, cell: rnn-relu, initial_scale: 1.0e+30}"
    )
    path.write_text(text)
    report, said = run(path, tmp_path)
    row = report.table.set_index("arm").loc["wide"]
    assert row["diverged"] == 6 and row["verdict"] == "worse" and "diverged" in said


def test_a_run_that_ends_before_its_first_evaluation_breaks_no_report(tmp_path):
    path = small_study.write(tmp_path, trials=1)
    text = path.read_text().replace(
        "wide: {hidden_size: 16}", "wide: {hidden_size: 3, clip_norm: none}"
    )
    path.write_text(
        text.replace("cell: lstm", "cell: rnn-relu").replace("high: 0.1", "high: 1.0e+30")
    )
    report, _ = run(path, tmp_path)
    assert report.table["diverged"].sum() > 0
    export.export(str(path), (), Locations(tmp_path), tmp_path / "out")


def test_a_trial_that_cannot_be_built_fails_and_the_study_goes_on(tmp_path):
    path = small_study.write(tmp_path, trials=4)
    text = path.read_text().replace(
        "learning_rate: {low: 0.005, high: 0.1, log: true}", "bptt_length: {choices: [8, 90000]}"
    )
    path.write_text(
        text.replace("  bptt_length: 8\n", "").replace("batch: 2", "batch: 2\n  sampler: random")
    )
    report, said = run(path, tmp_path)
    states = store_of(tmp_path).runs().query("phase == 'trial'")["state"]
    assert set(states) == {"finished", "failed"} and "must have at least" in said
    assert (report.table["finished"] == 6).all()


def test_budgets_in_seconds_are_converted_once(tmp_path):
    path = small_study.write(tmp_path, trials=1)
    text = path.read_text().replace("budget: {updates: 40}", "budget: {seconds: 0.05}")
    text = text.replace("narrow: {", '"h=3,narrow": {').replace(
        "baseline: narrow", 'baseline: "h=3,narrow"'
    )
    path.write_text(text)
    first, second = scheduler_of(path, tmp_path).settings, scheduler_of(path, tmp_path).settings
    assert first == second and all(
        s.budget.updates >= 1 and s.budget.seconds is None for s in first.values()
    )


def test_status_and_export_read_the_store(tmp_path, finished):
    path, folder, report, _ = finished
    table = status.status_table(str(path), (), Locations(folder))
    assert table.row_count == 4
    files = export.export(str(path), (), Locations(folder), tmp_path / "out", ["csv"])
    runs = pd.read_csv(files[0])
    means = runs[runs["phase"] == "replicate"].groupby("arm")["test/loss"].mean()
    assert means.to_dict() == pytest.approx(
        report.table.set_index("arm")["loss"].to_dict(), abs=1e-12
    )
    assert "params.learning_rate" in runs and len(pd.read_csv(files[2])) == 48


def test_a_study_that_was_never_run_has_nothing_to_list(tmp_path):
    path = small_study.write(tmp_path)
    with pytest.raises(
        NothingError, match=r"study: must have been run, but 'small' is not in .* Run it: "
    ):
        status.status_table(str(path), (), Locations(tmp_path))


def test_places_lie_in_their_folder_unless_told_otherwise(tmp_path):
    locations = Locations(tmp_path)
    assert locations.tracking_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert replace(locations, storage="postgresql://u@h/n").storage_url == "postgresql://u@h/n"
    assert replace(locations, tracking="http://h:1").tracking_uri == "http://h:1"
    assert Path(locations.checkpoints("small")).parent.name == "checkpoints"


def test_a_cell_that_is_edited_while_its_study_runs_changes_nothing_of_it(tmp_path, monkeypatch):
    """Its runs are of the equations that the study is stored with."""
    edited, losses = small_study.OWN_CELL.replace("tanh(x", "tanh(0.5 * x"), []
    record = RunRecorder.record
    for text in (small_study.OWN_CELL, edited):
        folder = tmp_path / str(len(losses))
        path = small_study.write(folder, trials=2, seeds=3, updates=8)
        own = "cell: own\n  engine: reference"
        path.write_text("cells: [own.py]\n" + path.read_text().replace("cell: lstm", own))
        file = folder / "own.py"
        file.write_text(small_study.OWN_CELL)

        def recording(self, messages, file=file, text=text):
            file.write_text(text)
            return record(self, messages)

        monkeypatch.setattr(RunRecorder, "record", recording)
        assert not run(path, folder, force=True)[0].missing
        runs = store_of(folder).runs().sort_values(["arm", "phase", "index"])
        losses.append(runs["objective"].tolist())
    assert losses[0] == losses[1]
