import math
from dataclasses import replace

import numpy as np
import pytest
from stored import cli, reader_of

import harness
from harness.data import DataError
from harness.results import trained_models
from harness.training.files import MODEL_FILE
from harness.training.saved_model import SavedModel


def test_a_model_scores_the_test_split_as_it_was_stored(store, runs):
    rows = runs.query("phase == 'replicate'").groupby("arm").head(1)
    assert set(rows["arm"]) == {"narrow", "wide"}
    for row in rows.to_dict("records"):
        assert harness.load_model(row["run_id"], store).evaluate("test") == row["test/loss"]


def test_a_model_samples_as_it_did_at_its_end(store, runs):
    row = runs.query("arm == 'wide' and seed == '1002' and phase == 'replicate'").iloc[0]
    model = harness.load_model("small:wide:1002", store)
    assert model.samples(["the "], 8, seed=1002) == [row["samples"][0]["text"]]
    warm = [model.sample("the ", 20, temperature=2.0, seed=seed) for seed in (1, 1, 2)]
    assert warm[0] == warm[1] != warm[2] and len(warm[0]) == 24


def test_losses_of_a_text_are_those_of_its_tokens_in_turn(store):
    model = harness.load_model("small:wide:1000", store)
    text = "the cell state gate opens " * 30  # longer than what is scored at once
    losses = model.losses(text)
    assert losses.shape == (len(text) - 1,) and losses.dtype == np.float64
    np.testing.assert_allclose(losses[:40], model.losses(text[:41]), rtol=1e-5)
    assert model.perplexity(text) == pytest.approx(
        math.exp(losses.mean())
    ) and losses.mean() < math.log(18)
    assert model.settings.hidden_size == 16 and model.parameters["readout.b"].shape == (
        len(model.vocabulary),
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: m.losses("t"),
            trained_models.ModelError,
            "text: must have two tokens at least, but got 1",
        ),
        (lambda m: m.losses("the Ö"), DataError, "but got 'Ö' at position=4"),
        (
            lambda m: m.samples(["", "thé"]),
            DataError,
            "(?s)a prefix must have one char at least.*'thé'.*but got 'é'",
        ),
        (
            lambda m: m.sample("the ", 0),
            trained_models.ModelError,
            "length: must be >= 1, but got length=0",
        ),
        (
            lambda m: m.sample("the ", 0, 1.0, top_p=2.0),
            trained_models.ModelError,
            "(?s)length: must be >= 1, but got length=0.*top_p: must be > 0 and <= 1",
        ),
        (
            lambda m: m.sample("the ", 1, 0.0),
            trained_models.ModelError,
            "temperature: must be > 0, but got temperature=0.0",
        ),
        (
            lambda m: m.evaluate("dev"),
            trained_models.ModelError,
            "split: must be one of train, validation, test, but got",
        ),
    ],
)
def test_a_model_refuses_what_it_cannot_read(store, call, error, message):
    with pytest.raises(error, match=message):
        call(harness.load_model("small:wide:1000", store))


def test_a_run_without_a_model_says_why_and_what_to_do(store, runs, make):
    trial = runs.query("phase == 'trial'").iloc[0]["run_id"]
    with pytest.raises(
        trained_models.ModelError,
        match=r"trial 0: must have kept .* trials keep none. Take a replicate, small:",
    ):
        harness.load_model(trial, store)
    with pytest.raises(
        trained_models.ModelError,
        match="must be a single run .* an arm. Add a seed: small:wide:1000",
    ):
        harness.load_model("small:wide", store)
    make("bare", states=["diverged", "finished"])
    with pytest.raises(
        trained_models.ModelError, match="it is diverged, and only finished runs keep one"
    ):
        harness.load_model("bare:wide:1000", store)
    with pytest.raises(
        trained_models.ModelError,
        match=r"(?s)bare:wide:1001: .*`measure: \{models: none\}`.*another name and",
    ):
        harness.load_model("bare:wide:1001", store)


@pytest.fixture(scope="module")
def saved(store, runs):
    """What a replicate of ``small`` ended with."""
    run_id = runs.query("phase == 'replicate'").iloc[0]["run_id"]
    return SavedModel.from_bytes(reader_of(store, "small").artifact(run_id, MODEL_FILE))


def test_a_cell_that_is_gone_or_changed_is_refused(saved):
    gone = replace(
        saved, settings=replace(saved.settings, cell="mine"), cell_files=("/there/mine.py",)
    )
    with pytest.raises(
        trained_models.ModelError,
        match=r"cell='mine'. Name its file \(/there/mine.py then\) with --file",
    ):
        trained_models.TrainedModel(gone)
    changed = replace(saved, cell_source="0" * 64)
    with pytest.raises(
        trained_models.ModelError,
        match="the source of lstm was changed since. Go back to the run's commit",
    ):
        trained_models.TrainedModel(changed)
    assert trained_models.TrainedModel(changed, changed_cell=True).settings.cell == "lstm"
    with pytest.raises(
        trained_models.ModelError,
        match="parameters must be those of its cell 'lstm', but are others",
    ):
        trained_models.TrainedModel(replace(saved, parameters={}))


OWN = """
from cells.lstm import LSTM


class Mine(LSTM):
    r'''i f g o: W_i x W_f x W_g x W_o x R h; c' = f * c + i * g; h' = o * tanh(c')

    Source: none. Reference: none. Differs from lstm: nothing.
    '''

    name = "of-the-reader"
"""


def test_a_cell_of_ones_own_is_found_where_its_study_named_it(saved, make, store, tmp_path):
    own = replace(saved.settings, cell="of-the-reader")
    moved = replace(saved, settings=own, cell_files=("/gone/of_the_reader.py",))
    make("own-cell", states=["finished"], files={MODEL_FILE: moved.to_bytes()})
    with pytest.raises(trained_models.ModelError, match=r"Name its file \(/gone/of_the_reader.py"):
        harness.load_model("own-cell:wide:1000", store, changed_cell=True)
    (store / "of_the_reader.py").write_text(OWN)  # beside the results, as after a move
    try:
        model = harness.load_model("own-cell:wide:1000", store, changed_cell=True)
    finally:
        (store / "of_the_reader.py").unlink()
    assert model.settings.cell == "of-the-reader" and len(model.sample("the ", 3)) == 7


def test_another_text_is_no_test_split(saved):
    with pytest.raises(
        trained_models.ModelError,
        match="its corpus must be the text that it was trained on, but got another",
    ):
        trained_models.TrainedModel(replace(saved, corpus_fingerprint="0" * 64)).evaluate("test")


def test_sample_prints_plain_text(store, monkeypatch, capsys):
    words = ("sample", "small:wide:1000", "--folder", store)
    code, out, _ = cli(
        monkeypatch, capsys, *words, "--prefix", "the ", "--prefix", "gate", "--length", 5
    )
    assert (
        code == 0 and [len(line) for line in out.splitlines()] == [9, 9] and out.startswith("the ")
    )
    drawn = ("--prefix", "the ", "--length", 30, "--temperature", 1, "--top-k", 1)
    greedy = cli(monkeypatch, capsys, *words, "--prefix", "the ", "--length", 30)[1]
    assert cli(monkeypatch, capsys, *words, *drawn)[1] == greedy
    assert cli(monkeypatch, capsys, *words, *drawn[:-2], "--top-p", 1e-9)[1] == greedy
    code, _, err = cli(monkeypatch, capsys, *words, "--prefix", "The ")
    assert code == 2 and "'T' at position=0" in err and "Write 't' instead of 'T'" in err
