"""What can be done with a study that has ended: its models, comparisons, frames, and its removal."""

import contextlib
import hashlib
import io
import math
import signal
import sqlite3
import sys
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
import small_study
from rich.console import Console

import harness
from harness import checkpoint, decisions, frames, launch, plan, saved_model, search, track
from harness.archive import cleaning, comparison, exporting, models, names
from harness.cli import main
from harness.data import DataError
from harness.places import Places
from harness.saved_model import SavedModel
from harness.unit import Unit

FIXED = object()


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """A folder with a study that has ended, ``small``, on the reference engine, tuned and timed."""
    folder = tmp_path_factory.mktemp("books")
    path = small_study.write(folder, trials=1, seeds=5, runtime="{rounds: 6, seconds: 0.001}")
    path.write_text(path.read_text().replace("cell: lstm", "cell: lstm\n  engine: reference\n  pack_size: 1"))
    launch.run(path, places=Places(folder), console=Console(file=io.StringIO()), force=True)
    return folder


@pytest.fixture(scope="module")
def runs(books):
    """Those of ``small``."""
    return runs_of(books, "small")


@pytest.fixture(scope="module")
def loaded(books):
    """The frames of ``small``."""
    return harness.load("small", books)


@pytest.fixture(scope="module")
def make(books, runs):
    """Books replicates of a study like ``small``, untuned and of more updates, without training it."""
    like = books_of(books, "small").identity()
    like["shared"]["tune"] = None
    for own in like["arms"].values():
        own |= {"learning_rate": 0.05, "budget": {**own["budget"], "updates": 44}}
    text = runs["corpus_fingerprint"].iloc[0]

    def made(
        name,
        *,
        arm="wide",
        states=("finished", "finished"),
        losses=(1.0, 1.1, 1.2),
        fingerprint=text,
        split="holdout",
        first_seed=1000,
        stages=None,
        identity=FIXED,
        files=None,
    ):
        tracker, unit = books_of(books, name), Unit.parse(arm)
        if identity is FIXED:
            own = {str(Unit(key, unit.condition)): {**own, "split": split} for key, own in like["arms"].items()}
            identity = {**like, "stages": stages, "arms": own}
        if identity is not None:
            tracker.set_identity(identity)
        tags = {"corpus_fingerprint": fingerprint, "engine": "reference", "device": "cpu"}
        for index, state in enumerate(states):
            seed = f"{first_seed + index}" + (f"/repeat/{unit.repeat}" if unit.repeat else "")
            own = {"path": "text.txt", "hidden_size": 16}
            run_id = tracker.open(arm, "replicate", index, "", own, {**tags, **own, "seed": seed})
            metrics = {"test/loss": losses[index]} if split == "holdout" else {}
            tracker.end(run_id, state, {}, {**metrics, "objective": losses[index]}, {"curve.csv": "", **(files or {})})
        return tracker

    return made


def books_of(folder, name):
    return track.Tracker(Places(folder).tracking_uri, name, Places(folder).artifacts)


def cli(monkeypatch, capsys, *words):
    """Runs the program in this process; returns its exit code, and what it said on both streams."""
    monkeypatch.setattr(sys, "argv", ["harness", *map(str, words)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return end.value.code or 0, said.out, said.err


def runs_of(folder, name):
    return names.Archive(Places(folder)).study(name)[1]


# Names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("small", "run: must be STUDY:ARM, .* but got run='small'"),
        ("smal:wide", r"study: must be in sqlite.* but got study='smal'. Did you mean small\?"),
        ("small:wode", r"arm: must be in small, but got arm='wode'. Did you mean wide\?"),
        ("small:wide:99", "seed: must be in small:wide, but got seed='99'. It holds 1000, 1001, .*1004"),
        ("f" * 32, "run: must be in sqlite.*, but got run='f+', which is not"),
    ],
)
def test_a_name_that_is_not_in_the_books_is_refused(books, name, message):
    with pytest.raises(names.ArchiveError, match=message):
        names.Archive(Places(books)).find(name)


def test_an_arms_own_run_is_no_run_to_ask_for(books):
    parent = books_of(books, "small").parents()["wide"]
    with pytest.raises(names.ArchiveError, match=f"must be a trial or a replicate, but got run='{parent}', an arm of"):
        names.Archive(Places(books)).find(parent)


def test_a_run_has_one_name_whether_by_id_or_by_seed(books):
    found = names.Archive(Places(books)).find("small:wide:1003")
    by_id = names.Archive(Places(books)).find(found.runs.iloc[0]["run_id"])
    assert found.is_run and by_id.name == found.name == "small:wide:1003"
    assert names.Archive(Places(books)).find("small:wide").name == "small:wide"


def test_nothing_is_made_where_there_is_no_store(tmp_path):
    with pytest.raises(names.ArchiveError, match="tracking: the database must exist, but got .*mlflow.db"):
        names.Archive(Places(tmp_path))
    assert not list(tmp_path.iterdir())


# Models


def test_a_model_scores_the_test_split_as_it_was_booked(books, runs):
    rows = runs.query("phase == 'replicate'").groupby("arm").head(1)
    assert set(rows["arm"]) == {"narrow", "wide"}
    for row in rows.to_dict("records"):
        assert harness.load_model(row["run_id"], books).evaluate("test") == row["test/loss"]


def test_a_model_samples_as_it_did_at_its_end(books, runs):
    row = runs.query("arm == 'wide' and seed == '1002' and phase == 'replicate'").iloc[0]
    model = harness.load_model("small:wide:1002", books)
    assert model.samples(["the "], 8, seed=1002) == [row["samples"][0]["text"]]
    warm = [model.sample("the ", 20, temperature=2.0, seed=seed) for seed in (1, 1, 2)]
    assert warm[0] == warm[1] != warm[2] and len(warm[0]) == 24


def test_losses_of_a_text_are_those_of_its_tokens_in_turn(books):
    model = harness.load_model("small:wide:1000", books)
    text = "the cell state gate opens " * 30  # longer than what is scored at once
    losses = model.losses(text)
    assert losses.shape == (len(text) - 1,) and losses.dtype == np.float64
    np.testing.assert_allclose(losses[:40], model.losses(text[:41]), rtol=1e-5)
    assert model.perplexity(text) == pytest.approx(math.exp(losses.mean())) and losses.mean() < math.log(18)
    assert model.settings.hidden_size == 16 and model.parameters["readout.b"].shape == (len(model.vocabulary),)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.losses("t"), models.ModelError, "text: must have two tokens at least, but got 1"),
        (lambda m: m.losses("the Ö"), DataError, "but got 'Ö' at position=4"),
        (lambda m: m.samples(["", "thé"]), DataError, "(?s)a prefix must have one char at least.*'thé'.*but got 'é'"),
        (lambda m: m.sample("the ", 0), models.ModelError, "length: must be >= 1, but got length=0"),
        (lambda m: m.sample("the ", 1, 0.0), models.ModelError, "temperature: must be > 0, but got temperature=0.0"),
        (lambda m: m.evaluate("dev"), models.ModelError, "split: must be one of train, validation, test, but got"),
    ],
)
def test_a_model_refuses_what_it_cannot_read(books, call, error, message):
    with pytest.raises(error, match=message):
        call(harness.load_model("small:wide:1000", books))


def test_a_run_without_a_model_says_why_and_what_to_do(books, runs, make):
    trial = runs.query("phase == 'trial'").iloc[0]["run_id"]
    with pytest.raises(
        models.ModelError, match=r"trial 0: must have kept .* trials keep none. Take a replicate, small:"
    ):
        harness.load_model(trial, books)
    with pytest.raises(models.ModelError, match="must be a single run .* an arm. Add a seed: small:wide:1000"):
        harness.load_model("small:wide", books)
    make("bare", states=["diverged", "finished"])
    with pytest.raises(models.ModelError, match="it is diverged, and only finished runs keep one"):
        harness.load_model("bare:wide:1000", books)
    with pytest.raises(
        models.ModelError, match=r"(?s)bare:wide:1001: .*`measure: \{models: none\}`.*clean bare --arm wide"
    ):
        harness.load_model("bare:wide:1001", books)


@pytest.fixture(scope="module")
def saved(books, runs):
    """What a replicate of ``small`` ended with."""
    run_id = runs.query("phase == 'replicate'").iloc[0]["run_id"]
    return SavedModel.from_bytes(books_of(books, "small").artifact(run_id, saved_model.FILE))


def test_a_cell_that_is_gone_or_changed_is_refused(saved):
    gone = replace(saved, settings=replace(saved.settings, cell="mine"), cell_files=("/there/mine.py",))
    with pytest.raises(models.ModelError, match=r"cell='mine'. Name its file \(/there/mine.py then\) with --file"):
        models.TrainedModel(gone)
    changed = replace(saved, cell_source="0" * 64)
    with pytest.raises(models.ModelError, match="the source of lstm was changed since. Go back to the run's commit"):
        models.TrainedModel(changed)
    assert models.TrainedModel(changed, changed_cell=True).settings.cell == "lstm"
    with pytest.raises(models.ModelError, match="parameters must be those of its cell 'lstm', but are others"):
        models.TrainedModel(replace(saved, parameters={}))


def test_another_text_is_no_test_split(saved):
    with pytest.raises(models.ModelError, match="its corpus must be the text that it was trained on, but got another"):
        models.TrainedModel(replace(saved, corpus_fingerprint="0" * 64)).evaluate("test")


def test_sample_prints_plain_text(books, monkeypatch, capsys):
    words = ("sample", "small:wide:1000", "--folder", books)
    code, out, _ = cli(monkeypatch, capsys, *words, "--prefix", "the ", "--prefix", "gate", "--length", 5)
    assert code == 0 and [len(line) for line in out.splitlines()] == [9, 9] and out.startswith("the ")
    code, _, err = cli(monkeypatch, capsys, *words, "--prefix", "The ")
    assert code == 2 and "'T' at position=0" in err and "Write 't' instead of 'T'" in err


# Comparisons


def test_arms_of_one_study_compare_as_their_study_says(books, loaded):
    made = comparison.compare(["small:narrow", "small:wide"], Places(books))
    wide, own = made.report.table.iloc[1], loaded.verdict.iloc[1]
    assert wide["arm"] == "small:wide" and own["arm"] == "wide"
    columns = [
        "verdict",
        "pairs",
        "loss",
        "ratio",
        "ratio_low",
        "ratio_high",
        "p",
        "p_holm",
        "train_pack_1_speed",
        "tokens",
    ]
    assert wide[columns].to_dict() == own[columns].to_dict() and wide["verdict"] == "better"
    assert not made.report.missing and "5 seeds that all of them have: 1000," in made.lines[0]
    differing = {row[0]: row[1:] for row in made.differences.rows}
    assert differing["hidden_size"] == ("3", "16") and "budget" not in differing


def test_arms_of_two_studies_compare_over_common_seeds(books, runs, make):
    losses = [1.0, 1.01, 0.99]
    make("other", states=["finished"] * 3, losses=losses)
    made = comparison.compare(["small:wide", "other:wide"], Places(books))
    own = runs.query("phase == 'replicate' and arm == 'wide'").set_index("seed")["test/loss"]
    (decision,) = decisions.decide([losses - own[["1000", "1001", "1002"]].to_numpy()], margin=0.01)
    row = made.report.table.iloc[1]
    assert row["pairs"] == 3 and row["p_holm"] == pytest.approx(decision.adjusted_p)
    assert row["verdict"] == decision.verdict == "better"
    said = "\n".join([*made.lines, *made.report.warnings])
    assert "3 seeds that all of them have: 1000, 1001, 1002." in said
    assert "small:wide: not used, since another lacks them: seeds 1003, 1004." in said
    assert "small:wide: tuned, the others not; such a comparison is not fair." in said
    assert "speed: not compared between studies" in said and "train_pack_1_speed" not in made.report.table
    assert "of all of them together" in said
    differing = {row[0]: row[1:] for row in made.differences.rows}
    assert differing["budget"] == ("updates: 40", "updates: 44")
    assert differing["learning_rate"][0].endswith("(tuned)") and differing["learning_rate"][1] == "0.05"
    assert differing["tune: trials"] == ("1", "not tuned") and "hidden_size" not in differing


def test_arms_under_a_condition_pair_by_repeat_where_the_search_was_repeated(books, make):
    losses = {"narrow": [[2.0, 2.2], [2.1, 2.3], [1.9, 2.2]], "wide": [[1.9, 2.0], [1.8, 2.2], [1.7, 1.9]]}
    for arm, repeats in losses.items():
        for repeat, own in enumerate(repeats):
            make("repeated", arm=str(Unit(arm, "docs", repeat)), losses=own)
    with pytest.raises(
        names.ArchiveError, match="arm: must be in repeated, but got arm='wide'. Did you mean docs/wide"
    ):
        comparison.compare(["repeated:docs/narrow", "repeated:wide"], Places(books))
    assert names.Archive(Places(books)).find("repeated:docs/wide@2:1001").runs["test/loss"].tolist() == [1.9]
    made = comparison.compare(["repeated:docs/narrow", "repeated:docs/wide"], Places(books))
    (decision,) = decisions.decide([np.subtract(losses["wide"], losses["narrow"]).mean(axis=1)], margin=0.01)
    row = made.report.table.iloc[1]
    assert row["pairs"] == 3 and row["p_holm"] == pytest.approx(decision.adjusted_p)


def test_sequential_studies_keep_the_test_of_their_rule(books, make):
    losses = {"narrow": [2.0, 2.2, 2.1, 2.0], "wide": [1.9, 2.0, 2.0, 1.8]}
    for arm, own in losses.items():
        make("sequential", arm=arm, losses=own, states=["finished"] * 4, stages=[3, 0.5])
    made = comparison.compare(["sequential:narrow", "sequential:wide"], Places(books))
    (decision,) = decisions.decide([np.subtract(losses["wide"], losses["narrow"])], margin=0.01, first=3)
    assert made.report.table.iloc[1]["p_holm"] == pytest.approx(decision.adjusted_p)
    make("plain", losses=losses["wide"], states=["finished"] * 4)
    beside = comparison.compare(["sequential:narrow", "plain:wide"], Places(books))
    assert any("added until an interval was narrow enough" in line for line in beside.report.warnings)


def test_an_arm_that_reads_another_text_shows_its_level_alone(books, make):
    make("foreign", fingerprint="e" * 64, losses=[1.0, 1.2])
    made = comparison.compare(["small:wide", "foreign:wide"], Places(books))
    assert made.report is None and made.lines[0].startswith("small:wide: test perplexity")
    (line,) = [line for line in made.lines if line.startswith("foreign:wide")]
    assert "perplexity 3.004 (95 % interval" in line and "2 seeds" in line
    assert "do not compare with those of small:wide: the texts differ" in line


def test_another_split_does_not_compare(books, make):
    make("whole", split="none", losses=[1.0, 1.2])
    made = comparison.compare(["small:wide", "whole:wide"], Places(books))
    assert "running training perplexity" in made.lines[-1] and "split none and holdout" in made.lines[-1]


def test_arms_without_a_common_seed_are_not_paired(books, make):
    make("later", losses=[1.0, 1.2], first_seed=2000)
    made = comparison.compare(["small:wide", "later:wide"], Places(books))
    assert made.report is None and "No seed is common to them: there is nothing to pair, and no test." in made.lines


def test_single_runs_are_a_difference_and_no_test(books, runs):
    own = runs.query("phase == 'replicate' and seed == '1004'").set_index("arm")
    made = comparison.compare(["small:narrow:1004", own.loc["wide", "run_id"]], Places(books))
    difference = own.loc["wide", "test/loss"] - own.loc["narrow", "test/loss"]
    assert made.report is None
    assert f"small:wide:1004 has {math.exp(difference):.3f} times the perplexity of small:narrow:1004" in made.lines[2]
    assert f"({difference:+.4f} nats)" in made.lines[2] and "no test" in made.lines[3]
    trial = runs.query("phase == 'trial'").iloc[0]["run_id"]
    beside = comparison.compare(["small:narrow:1004", trial], Places(books))
    assert any("do not compare: validation perplexity and test perplexity" in line for line in beside.lines)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["small:wide"], "must be given two or more, each once, but got small:wide"),
        (["small:wide", "small:wide"], "must be given two or more, each once, but got small:wide, small:wide"),
        (["small:wide", "small:wide:1000"], r"arms, or single runs, but got small:wide \(an arm\), .* Give one kind"),
        (["small:wide", "unfinished:wide"], "each must have an ended replicate, but unfinished:wide has none. Run it"),
        (["small:wide", "strange:wide"], "strange:wide: must be of a study that `harness run` made"),
    ],
)
def test_what_cannot_be_put_side_by_side_is_refused(books, make, names, message):
    if names[-1].startswith("unfinished"):
        make("unfinished", states=["failed"])
    if names[-1].startswith("strange"):
        make("strange", identity=None)
    with pytest.raises(comparison.ComparisonError, match=message):
        comparison.compare(names, Places(books))


def test_compare_prints_the_verdict_the_levels_and_what_differs(books, make, monkeypatch, capsys):
    make("abroad", fingerprint="d" * 64)
    words = ("compare", "small:narrow", "small:wide", "abroad:wide", "--folder", books)
    code, out, _ = cli(monkeypatch, capsys, *words)
    said = " ".join(out.split())
    assert code == 0 and "Against small:narrow, in perplexity: small:wide is better" in said
    assert "abroad:wide: test perplexity" in said and "do not compare with those of small:narrow" in said
    assert "What differs" in said and "hidden_size" in said
    code, _, err = cli(monkeypatch, capsys, "compare", "small:narrow", "small:wode", "--folder", books)
    assert code == 2 and "Did you mean wide?" in err


# Frames


def test_a_notebook_gets_frames(loaded):
    assert len(loaded.runs) == 12 and loaded.runs["params.learning_rate"].notna().all()
    assert loaded.verdict.set_index("arm").loc["wide", "verdict"] == "better" and loaded.warnings is not None
    assert len(loaded.timings) == 2 * 2 * 6 and len(loaded.curves.query("phase == 'replicate'")) == 10 * 4


def test_both_formats_hold_the_same_whether_by_name_or_by_file(books, loaded, tmp_path, monkeypatch, capsys):
    code, out, _ = cli(monkeypatch, capsys, "export", books / "small.yaml", tmp_path, "--folder", books)
    assert code == 0 and {*out.replace("\n", " ").split()} == {str(path) for path in tmp_path.iterdir()}
    for name in ("runs", "curves", "timings", "verdict"):
        text, packed = pd.read_csv(tmp_path / f"{name}.csv"), pd.read_parquet(tmp_path / f"{name}.parquet")
        assert list(text) == list(packed) and len(text) == len(packed) > 0
        numbers = [c for c in text.select_dtypes("float64") if packed[c].dtype == "float64"]
        pd.testing.assert_frame_equal(text[numbers], packed[numbers], rtol=1e-15)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "verdict.parquet"), loaded.verdict, check_dtype=False)
    runs, curves, timings = frames.read_export(tmp_path)
    assert len(runs) == 12 and len(curves) == len(loaded.curves) and len(timings) == len(loaded.timings)


def test_a_column_of_several_types_becomes_text_in_parquet(tmp_path):
    frame = exporting._uniform(pd.DataFrame({"evaluations": [20, "epoch", None], "size": [1, 2, 3]}))
    frame.to_parquet(tmp_path / "mixed.parquet")
    found = pd.read_parquet(tmp_path / "mixed.parquet")
    assert found["evaluations"].tolist()[:2] == ["20", "epoch"] and found["evaluations"].isna()[2]
    assert found["size"].tolist() == [1, 2, 3]


def test_a_study_that_was_not_kept_must_be_given_by_its_file(make, books):
    make("kept-not")
    with pytest.raises(
        names.ArchiveError, match="must be kept with its runs to be named alone, but got study='kept-not'"
    ):
        harness.load("kept-not", books)


# Removal


def others(folder, name, keys):
    """Returns everything in the store that is not of that study: rows of both databases, files with their hashes."""
    rows = {}
    for database in ("mlflow.db", "optuna.db"):
        with contextlib.closing(sqlite3.connect(folder / database)) as connection:
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                found = connection.execute(f'SELECT * FROM "{table}"')
                columns = [column[0] for column in found.description]
                rows[database, table] = sorted(
                    repr(row)
                    for row in found
                    if not any(value in keys.get(column, ()) for column, value in zip(columns, row, strict=True))
                )
    files = {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for start in ("artifacts", "checkpoints")
        for path in sorted((folder / start).rglob("*"))
        if path.is_file() and not {*path.parts} & {*keys["run_uuid"], name}
    }
    return rows, files


def keys_of(folder, name):
    """Returns what a row of the study holds, by the columns of both databases."""
    tracker = books_of(folder, name)
    keys = {"experiment_id": {int(tracker.experiment_id)}, "run_uuid": set(tracker.files())}
    with contextlib.closing(sqlite3.connect(folder / "optuna.db")) as connection:
        query = "SELECT study_id FROM studies WHERE study_name LIKE ?"
        keys["study_id"] = {row[0] for row in connection.execute(query, (f"{name}/%",))}
    return keys


@pytest.fixture
def removable(books, make):
    """A study of two arms with something of every kind, beside others whose names are like its own."""
    files = {"model.npz": b"12345"}
    make("gone", states=["finished", "failed", "finished"], files=files)
    tracker = make("gone", arm="narrow", files=files)
    tracker.supersede("wide", "replicate", 2)
    tracker.set_note("timed", "then")
    make("gone-too", files=files)
    storage = search.open_storage(Places(books).storage_url)
    for study, birth in (("gone", tracker.birth), ("gone-too", tracker.birth), ("gone", "1")):
        for arm in ("wide", "narrow"):
            optuna.create_study(storage=storage, study_name=f"{study}/{arm}/{birth}")
    for study, run in (("gone", "wide/replicate/1"), ("gone", "narrow/replicate/1"), ("gone-too", "wide/replicate/1")):
        folder = Places(books).checkpoints(study)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / checkpoint.name_of(run)).write_bytes(b"123")
    return tracker


def searches(folder, name):
    with contextlib.closing(sqlite3.connect(folder / "optuna.db")) as connection:
        rows = connection.execute("SELECT study_name FROM studies WHERE study_name LIKE ?", (f"{name}/%",))
        return [row[0] for row in rows]


def state_of(folder):
    """Returns what there is of the study: places of runs, number of models, of checkpoints, of searches; a note."""
    tracker = books_of(folder, "gone")
    found = tracker.runs()[["arm", "phase", "index"]].itertuples(index=False)
    files = [path for each in tracker.files().values() for path in each]
    checkpoints = Places(folder).checkpoints("gone")
    num_checkpoints = len(list(checkpoints.iterdir())) if checkpoints.exists() else 0
    num_searches = len(searches(folder, "gone"))
    return (
        {"/".join(map(str, row)) for row in found},
        files.count("model.npz"),
        num_checkpoints,
        num_searches,
        tracker.note("timed"),
    )


NARROW = {"narrow/replicate/0", "narrow/replicate/1"}
WIDE = {"wide/replicate/0", "wide/replicate/1", "wide/superseded/2"}
STEPS = (
    ("narrow", ["superseded", "failed"], (NARROW | WIDE, 5, 2, 4, "then")),
    (None, ["superseded"], (NARROW | WIDE - {"wide/superseded/2"}, 4, 2, 4, "then")),
    (None, ["failed"], (NARROW | {"wide/replicate/0"}, 3, 2, 4, "then")),
    ("narrow", ["models"], (NARROW | {"wide/replicate/0"}, 1, 2, 4, "then")),
    ("narrow", ["checkpoints"], (NARROW | {"wide/replicate/0"}, 1, 1, 4, "then")),
    ("wide", [], (NARROW, 0, 1, 3, "")),
    (None, ["checkpoints", "models"], (NARROW, 0, 0, 3, "")),
)


def test_what_is_named_goes_and_nothing_else(books, removable, monkeypatch, capsys):
    keys = keys_of(books, "gone")
    before, whole = others(books, "gone", keys), others(books, "", {"run_uuid": ()})
    said = cleaning.clean("gone", Places(books))
    assert said[-1] == "nothing was removed; --yes removes this" and others(books, "", {"run_uuid": ()}) == whole
    assert "study gone" in said and "run wide replicate, seed 1001 (failed)" in said
    assert said[-2].startswith("7 runs, 2 files beside them, 2 searches: ")
    for arm, kinds, expected in STEPS:
        said = cleaning.clean("gone", Places(books), arm, kinds, yes=True)
        assert (state_of(books), said[-1]) == (expected, "removed")
        assert others(books, "gone", keys) == before
    assert len(keys["run_uuid"] & {path.name for path in Places(books).artifacts.iterdir()}) == 2  # narrow's

    code, out, _ = cli(monkeypatch, capsys, "clean", "gone", "--yes", "--folder", books)
    assert code == 0 and out.endswith("removed\n") and others(books, "gone", keys) == before
    assert "gone" not in track.experiments(Places(books).tracking_uri)
    assert searches(books, "gone") == ["gone/wide/1", "gone/narrow/1"]  # of an earlier study of the name
    assert not keys["run_uuid"] & {path.name for path in Places(books).artifacts.iterdir()}
    fresh = books_of(books, "gone")
    assert fresh.experiment_id != removable.experiment_id and fresh.runs().empty  # the name is free


def test_cleaning_a_study_that_runs_or_is_not_there_is_refused(books, make, monkeypatch, capsys):
    make("held")
    with launch.locked("held", Places(books)):
        code, _, err = cli(monkeypatch, capsys, "clean", "held", "--yes", "--folder", books)
    assert code == 2 and "must be run by one process at a time" in err and len(runs_of(books, "held")) == 2
    code, _, err = cli(monkeypatch, capsys, "clean", "held", "--arm", "wode", "--folder", books)
    assert code == 2 and "Did you mean wide?" in err
    code, _, err = cli(monkeypatch, capsys, "clean", "gone-away", "--yes", "--folder", books)
    assert code == 2 and "study: must be in" in err and not list(books.glob(".gone-away*"))
    code, out, _ = cli(monkeypatch, capsys, "clean", "held", "--failed", "--folder", books)
    assert code == 0 and "held: there is nothing of that kind" in out and "nothing was removed" in out


def test_an_arm_that_was_removed_is_planned_again(books, tmp_path):
    path = books / "small.yaml"
    assert "nothing is missing" in launch.write_plan(path, tmp_path / "plan.json", places=Places(books), force=True)
    cleaning.clean("small", Places(books), "wide", yes=True)
    assert set(runs_of(books, "small")["arm"]) == {"narrow"}
    launch.write_plan(path, tmp_path / "plan.json", places=Places(books), force=True)
    (planned,) = plan.plans_from_json((tmp_path / "plan.json").read_text())
    assert [run.id for run in planned.runs] == ["wide/trial/0"] and not planned.keep_models
