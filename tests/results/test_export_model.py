"""A run as a file for others: every form gives the run's numbers, read as its readers read it."""

import functools
import json

import mlflow_servers
import numpy as np
import pytest
import torch
from saved_models import OF_LANGUAGE, of_sequences, saved
from tolerances import assert_close
from typer.testing import CliRunner

import harness
from cells.base import Cell
from harness.cli import app
from harness.results import export_model, modules
from harness.results.trained_models import ModelError
from harness.store.locations import Locations

RUN = "small:wide:1000"
needs_onnx = pytest.mark.usefixtures("onnx")


@pytest.fixture(scope="module")
def onnx():
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the packages of the extra export are not installed")


@pytest.fixture(scope="module")
def expected(store):
    """Tokens, a state, and what the run makes of them, at sizes that no file was tried with.

    There are more tokens than the vocabulary has: another order of sums would be the faster one.
    """
    module = harness.load_module(RUN, store, engine="reference")
    count = len(module.vocabulary)
    tokens = torch.arange(2 * (count + 1)).view(-1, 2).remainder(count)
    state = tuple(values + 0.2 for values in module.start(2))
    with torch.no_grad():
        scores, final = module(tokens, state)
    return tokens, state, (scores, *final)


def assert_all_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert_close(torch.as_tensor(one), other)


def test_a_run_as_safetensors_is_loaded_again(store, expected, tmp_path):
    file, (tokens, state, wanted) = tmp_path / "gru.safetensors", expected
    done = CliRunner().invoke(app, ["export-model", RUN, str(file), "--folder", str(store)])
    assert done.exit_code == 0 and done.output.split() == [
        str(file),
        str(file.with_suffix(".json")),
    ]
    module = harness.load_module(str(file), engine="reference")
    scores, final = module(tokens, state)
    assert_all_close((scores, *final), wanted)
    assert json.loads(file.with_suffix(".json").read_text())["start"] == {
        name: [[0.0] * 16] for name in ("h", "c")
    }


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore:.isinstance.treespec")
def test_a_run_as_pt2_needs_torch_alone(store, expected, tmp_path):
    file, (tokens, state, wanted) = tmp_path / "lstm.pt2", expected
    export_model.export_model(RUN, file, store)
    described = {export_model.KEY: ""}
    module = torch.export.load(file, extra_files=described).module()
    scores, final = module(tokens, state)
    assert_all_close((scores, *final), wanted)
    assert json.loads(described[export_model.KEY])["settings"]["cell"] == "lstm"


@needs_onnx
def test_a_run_as_onnx_is_served_by_mlflow(store, expected, tmp_path):
    import mlflow
    import onnxruntime

    file, (tokens, state, wanted) = tmp_path / "lstm.onnx", expected
    address = export_model.export_model(RUN, file, store, log=True).address
    session = onnxruntime.InferenceSession(file)
    named = dict(zip(("tokens", "h", "c"), (tokens, *state), strict=True))
    assert_all_close(session.run(None, {name: v.numpy() for name, v in named.items()}), wanted)
    assert export_model.KEY in session.get_modelmeta().custom_metadata_map

    uri = Locations(store).tracking_uri
    client = mlflow.MlflowClient(uri, uri)
    logged = client.get_logged_model(address.removeprefix("models:/"))
    assert client.get_run(logged.source_run_id).data.tags["seed"] == "1000"
    loaded = mlflow.pyfunc.load_model(logged.artifact_location)
    assert loaded.metadata.signature.inputs.input_names() == ["tokens", "h", "c"]

    # The command itself, which starts another: four seconds.
    words = ("models", "serve", "--model-uri", address, "--env-manager", "local")
    request = json.dumps({"inputs": {name: values.tolist() for name, values in named.items()}})
    with mlflow_servers.serving(*words, folder=tmp_path, MLFLOW_TRACKING_URI=uri) as port:
        predictions = json.loads(mlflow_servers.posted(port, "invocations", request))["predictions"]
    found = [np.float32(predictions[name]) for name in ("scores", "next_h", "next_c")]
    assert_all_close(found, wanted)


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [*(saved(**fields) for fields in OF_LANGUAGE), of_sequences(0), of_sequences(1)],
    ids=lambda given: f"{given.settings.task}-{given.settings.cell}",
)
@torch.no_grad()
def test_all_that_a_model_may_have_is_in_a_file(monkeypatch, given):
    # Both files are made of one traced program.
    monkeypatch.setattr(export_model, "_program", functools.cache(export_model._program))
    module = modules.module_of(given, engine="reference").requires_grad_(False)
    source = export_model.Source(given, module, "{}")
    # At other sizes than the file is tried with, and from the run's own start.
    inputs, _ = export_model._example(module, 5, 2)
    wanted = export_model._computed(module, inputs, module.start(2))
    for suffix in (".pt2", ".onnx"):
        form = export_model.FORMS[suffix]
        with export_model._quietly():
            computed = form.opened(form.content(source), source)
            export_model._try(suffix, module, computed)
        for one, other in zip(computed(inputs, module.start(2)), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def model_of(cell):
    """A model whose layer has the equations of ``cell``, of one gate h."""
    module = modules.LanguageModel(saved(cell="rnn-tanh"), engine="reference")
    module.layers[0].cell = module.cell = cell
    return module


@needs_onnx
@torch.no_grad()
def test_operations_that_onnx_lacks_are_told():
    class Exponential(Cell):
        """h' = exp of the outer product of W x."""

        name, gates, state = "exponential", ("h",), ("h",)

        def step(self, p, x, h):
            return (torch.matrix_exp(x.h.unsqueeze(-1) * x.h.unsqueeze(-2)).sum(-1) + p.R(h).h,)

    source = export_model.Source(saved(cell="rnn-tanh"), model_of(Exponential), "{}")
    with pytest.raises(ModelError, match=r"exponential: .*No ONNX function.*matrix_exp.*in .pt2"):
        with export_model._quietly():
            export_model.FORMS[".onnx"].content(source)


class Soft(Cell):
    """h' = softplus of W x + R h, of which 2 is the slope at 0."""

    name, gates, state = "soft", ("h",), ("h",)

    def step(self, p, x, h):
        return (torch.nn.functional.softplus(x.h + p.R(h).h, beta=2.0),)


@needs_onnx
@pytest.mark.parametrize("cell", ["exprnn", "scornn", Soft], ids=["exprnn", "scornn", "softplus"])
@torch.no_grad()
def test_what_onnx_lacks_is_made_of_what_it_has_or_computed_before_the_steps(cell):
    given = saved(cell="rnn-tanh" if cell is Soft else cell)
    module = model_of(Soft) if cell is Soft else modules.LanguageModel(given, engine="reference")
    source = export_model.Source(given, module.requires_grad_(False), "{}")
    with export_model._quietly():
        computed = export_model._opened_onnx(export_model._onnx(source), source)
    tokens, state = torch.zeros(4, 2, dtype=torch.int64), module.start(2)
    assert_close(computed(tokens, state)[0], module(tokens)[0])


@torch.no_grad()
def test_a_step_that_cannot_be_traced_is_told():
    class Branching(Cell):
        """h' = W x, or h where its first unit is above 0."""

        name, gates, state = "branching", ("h",), ("h",)

        def step(self, p, x, h):
            return (h + 0 if h[0, 0, 0] > 0 else x.h,)

    with pytest.raises(ModelError, match=r"branching: its step must be one that torch.export"):
        export_model._program(model_of(Branching))


def test_a_file_with_other_numbers_is_not_written(monkeypatch, tmp_path):
    def opened(content, source):
        return lambda tokens, state: [values + 1 for values in state]

    form = export_model.FORMS[".safetensors"]
    other = export_model.Form(form.packages, form.content, opened)
    monkeypatch.setitem(export_model.FORMS, ".safetensors", other)
    monkeypatch.setattr(export_model, "saved_model", lambda *_, **__: saved(cell="gru"))
    with pytest.raises(ModelError, match="must give the run's own numbers, but at 1 time steps"):
        export_model.export_model("s:a:1", tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "log", "messages"),
    [
        ("model.tar", False, [r"must end in .safetensors, .pt2 or .onnx.*suffix='.tar'"]),
        ("model.safetensors", False, [r"model.json: must not exist yet"]),
        ("taken.pt2", True, [r"taken.pt2: must not exist yet", r"--log: must come with.*.onnx"]),
        ("absent/model.pt2", False, [r"absent: must be a folder"]),
        (
            "model.onnx",
            False,
            [r"needs the packages onnx, onnxscript.*'recurrent-bench\[export\]'"],
        ),
    ],
)
def test_all_that_is_wrong_with_a_file_is_told_at_once(monkeypatch, tmp_path, name, log, messages):
    for taken in ("model.json", "taken.pt2"):
        (tmp_path / taken).touch()
    find = export_model.importlib.util.find_spec
    monkeypatch.setattr(
        export_model.importlib.util,
        "find_spec",
        lambda package: None if package == "onnxscript" else find(package),
    )
    with pytest.raises(ModelError) as told:
        export_model.export_model("s:a:1", tmp_path / name, log=log)
    assert len(str(told.value).splitlines()) == len(messages)
    for message in messages:
        told.match(message)


def test_a_damaged_or_absent_file_is_told(tmp_path):
    file = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="with model.json beside it, but there is no"):
        harness.load_module(str(file))
    file.write_bytes(b"{}")
    file.with_suffix(".json").write_text("{}")
    with pytest.raises(ValueError, match="must be as `harness export-model` wrote them"):
        harness.load_module(str(file))
