"""A finished run's best parameters travel as one file, which NumPy alone reads."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from wire import kind_of

from harness.data import Vocabulary
from harness.settings import Budget, Options, Settings
from harness.training import npz, pack
from harness.training.files import MODEL_FILE
from harness.training.plan import Plan, Run
from harness.training.saved_model import Interface, SavedModel, SavedModelError
from harness.training.steps import train

MODEL = SavedModel(
    run="lstm/replicate/1",
    seed=(1001, "again"),
    settings=Settings(cell="lstm", corpus="text", num_parameters=300, budget=Budget(epochs=2)),
    vocabulary=Vocabulary((" ", "a", "ü"), "char"),
    hidden_size=3,
    cell_source="f" * 64,
    cell_files=("mine.py",),
    corpus_fingerprint="e" * 64,
    parameters={
        "readout.b": np.array([0.1, np.nan]),
        "readout.W": np.ones((2, 2), dtype=np.float32),
    },
)


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "text.txt").write_text(
        "the time traveller and the morlocks of the white sphinx " * 20
    )
    settings = Settings(
        cell="gru",
        corpus="text",
        path=str(tmp_path / "text.txt"),
        hidden_size=4,
        batch_size=3,
        bptt_length=5,
        budget=Budget(updates=12),
        evaluations=3,
        engine="reference",
        device="cpu",
        threads=1,
    )
    runs = tuple(Run(f"gru/replicate/{i}", (i,), settings) for i in range(2))
    return Plan(runs, keep_models=True)


def ends(plan):
    return [r for records in train(plan) for r in records if kind_of(r) == "end"]


def test_a_model_survives_its_file():
    found = SavedModel.from_bytes(MODEL.to_bytes())
    assert replace(found, parameters={}) == replace(MODEL, parameters={})
    for name, values in MODEL.parameters.items():
        assert found.parameters[name].dtype == values.dtype
        np.testing.assert_array_equal(found.parameters[name], values)
    assert found.to_bytes() == MODEL.to_bytes()


def test_a_forecaster_says_what_its_numbers_stand_for(tmp_path, plan):
    values = np.arange(200.0).reshape(100, 2) % 7 + (5, 50)
    table = tmp_path / "table.csv"
    np.savetxt(table, values, delimiter=",", header="load,heat", comments="")
    settings = replace(
        plan.runs[0].settings,
        task="forecasting",
        corpus="table",
        path=str(table),
        options=Options.of({"horizon": 2}),
        budget=Budget(updates=2),
        evaluations=1,
    )
    runs = (Run("gru/replicate/0", (0,), settings),)
    (end,) = ends(Plan(runs, keep_models=True, objective="validation/mse", version=2))
    model = SavedModel.from_bytes(end.model)
    meaning = model.reads_and_predicts.meaning
    assert (meaning["columns"], meaning["horizon"]) == (["load", "heat"], 2)
    np.testing.assert_allclose(meaning["mean"], values[:80].mean(0))
    np.testing.assert_allclose(meaning["deviation"], values[:80].std(0))
    assert SavedModel.from_bytes(model.to_bytes()).interface == model.interface


def test_what_a_rule_draws_is_written_as_by_versions_that_knew_no_meaning():
    model = replace(MODEL, vocabulary=None, interface=Interface(2, 3, reads_tokens=False))
    header, _ = npz.from_bytes(model.to_bytes())
    assert header["interface"] == {"num_inputs": 2, "num_outputs": 3, "reads_tokens": False}


def test_numpy_alone_reads_it():
    with np.load(io.BytesIO(MODEL.to_bytes()), allow_pickle=False) as file:
        assert file["readout.W"].shape == (2, 2)
        assert json.loads(file[npz.HEADER].tobytes())["vocabulary"]["symbols"] == [" ", "a", "ü"]


@pytest.mark.parametrize(
    "content, rule",
    [
        (b"", "must be a file that a run ended with, but got ArraysError"),
        (MODEL.to_bytes()[:-30], "must be a whole npz with a header, but got error="),
        (
            npz.to_bytes({"format": 99}, {}),
            "its format must be known to this version, but got format=99. Update",
        ),
        (npz.to_bytes({"format": 1}, {}), "must be a file that a run ended with, but got KeyError"),
        (npz.to_bytes({}, {}), "must be a file that a run ended with, but got KeyError"),
    ],
)
def test_another_file_is_refused(content, rule):
    with pytest.raises(SavedModelError, match=rule):
        SavedModel.from_bytes(content)


def test_nothing_is_kept_unasked(plan):
    assert [r.model for r in ends(replace(plan, keep_models=False))] == [None, None]


def test_a_run_taken_up_again_ends_with_the_same_file(plan, tmp_path):
    whole = [r.model for r in ends(plan)]
    plan = replace(plan, checkpoint_folder=str(tmp_path / "checkpoints"))
    interrupted = pack.Pack(plan)
    interrupted.advance()
    interrupted.advance()
    interrupted.save()
    interrupted.close()
    assert [r.model for r in ends(plan)] == whole
    assert MODEL_FILE == "model.npz"
