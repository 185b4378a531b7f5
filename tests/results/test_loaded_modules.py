"""A run's model as a module of torch gives what the run's own model gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from saved_models import OF_LANGUAGE, OF_SEQUENCES, TEXT, of_sequences, saved
from torch.nn.functional import cross_entropy

import harness
from harness.results import modules, safetensors_file
from harness.results.modules import LanguageModel
from harness.results.trained_models import ModelError, TrainedModel


def losses(model, text):
    tokens = torch.from_numpy(model.vocabulary.encode(text))
    with torch.no_grad():
        scores, _ = model(tokens[:-1].unsqueeze(1))
    return cross_entropy(scores.squeeze(1).double(), tokens[1:], reduction="none").numpy()


@pytest.mark.parametrize("fields", OF_LANGUAGE, ids=lambda fields: fields["cell"])
def test_a_module_gives_the_losses_of_the_run_s_model(fields):
    given = saved(**fields)
    model = LanguageModel(given, engine="reference")
    np.testing.assert_allclose(losses(model, TEXT), TrainedModel(given).losses(TEXT), rtol=1e-12)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == sum(values.size for values in given.parameters.values())
    tokens = torch.from_numpy(model.vocabulary.encode(TEXT)).unsqueeze(1)
    whole, _ = model(tokens)
    first, state = model(tokens[:9])
    second, _ = model(tokens[9:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("index", range(len(OF_SEQUENCES)))
def test_a_model_of_sequences_puts_out_what_the_run_s_does(index):
    given = of_sequences(index)
    model, numbers = modules.module_of(given, engine="reference"), np.random.default_rng(0)
    if model.reads_tokens:
        inputs = numbers.integers(model.num_inputs, size=(4, 7))
    else:
        inputs = numbers.standard_normal((4, 7, model.num_inputs))
    expected = torch.from_numpy(TrainedModel(given).predict(inputs.tolist())).transpose(0, 1)
    given_inputs = torch.from_numpy(inputs).transpose(0, 1)
    with torch.no_grad():
        found, _ = model(given_inputs)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        first, state = model(given_inputs[:3])
        second, _ = model(given_inputs[3:], state)
    torch.testing.assert_close(torch.cat([first, second]), expected, rtol=1e-12, atol=1e-12)
    assert not hasattr(model, "vocabulary") and isinstance(model, modules.SequenceModel)


@pytest.mark.parametrize("masks", ["step", "update"])
@pytest.mark.parametrize(
    "field", ["dropout", "output_dropout", "lookup_dropout", "embedding_dropout"]
)
def test_a_module_in_training_drops_what_the_run_dropped(field, masks):
    """Of scores that are what was dropped: every weight behind it is the identity."""
    given = saved(cell="lstm", num_layers=2, embedding_size=6, dropout_masks=masks, **{field: 0.5})
    model, seen = LanguageModel(given, engine="reference").train(), []
    watched = {"dropout": model.layers[1], "output_dropout": model.readout}
    watched.get(field, model.layers[0]).register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0])
    )
    tokens = torch.tensor([[0, 1, 2, 3]] * 5)
    torch.manual_seed(3)  # of four types of tokens all may stay, once in sixteen times
    model(tokens)
    model.eval()(tokens)
    dropped, kept = (values.detach() for values in seen)
    factors = dropped / kept
    torch.testing.assert_close(factors, factors.round(), rtol=0, atol=1e-9)
    assert set(factors.round().unique().tolist()) == {0.0, 2.0}
    is_steady = bool((factors == factors[:1]).all())
    assert is_steady == (masks == "update" or field == "embedding_dropout")
    assert (field == "embedding_dropout") == bool((factors == factors[..., :1]).all())


def test_a_module_is_trained_further_and_what_it_cannot_be_is_refused():
    model = LanguageModel(saved(cell="lstm", learned_start=True), engine="reference").train()
    scores, _ = model(torch.zeros(4, 2, dtype=torch.int64))
    scores.logsumexp(-1).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with pytest.raises(ModelError, match="precision must be one of float32.* but got .*'bf16'"):
        LanguageModel(saved(cell="lstm", precision="bf16"))
    of_two = saved(cell="lstm")
    of_two = replace(of_two, settings=replace(of_two.settings, bidirectional=True))
    with pytest.raises(ModelError, match="must read in one direction"):
        LanguageModel(of_two)


TOKENS, VECTORS = torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2, 3).double()
STATE = torch.zeros(1, 2, 6).double()


@pytest.mark.parametrize(
    ("reads", "inputs", "state", "message"),
    [
        ("tokens", TOKENS[0], None, r"inputs: must have 2 axes of tokens, but got shape=\(2,\)"),
        (
            "tokens",
            TOKENS.int(),
            None,
            "inputs: must be tokens of int64.* but got dtype=torch.int32",
        ),
        ("tokens", VECTORS, None, "inputs: must be tokens of int64.* but got dtype=torch.float64"),
        ("tokens", None, None, "inputs: must be a tensor, but got type=NoneType"),
        ("tokens", TOKENS[:0], None, "must have a time step"),
        ("tokens", TOKENS, STATE, "state: must be one tensor for each of h, c, but got 1"),
        ("tokens", TOKENS, (STATE, STATE[:, :1]), r"c must have shape=\(1, 2, 6\),.*\(1, 1, 6\)"),
        ("tokens", TOKENS, (STATE, STATE.float()), "state: c .* but got dtype=torch.float32"),
        ("tokens", TOKENS, (STATE.repeat(2, 1, 1), STATE), r"h must have .*shape=\(2, 2, 6\)"),
        ("vectors", VECTORS[0], None, r"inputs: must have 3 axes of floats, .*shape=\(2, 3\)"),
        ("vectors", VECTORS[..., :2], None, "inputs: must have input_size=3 features"),
        ("vectors", VECTORS.float(), None, "inputs: .*dtype=torch.float64, .*torch.float32"),
        ("vectors", TOKENS, None, "inputs: must be vectors of floats.* got dtype=torch.int64"),
    ],
)
def test_what_a_module_cannot_read_is_told(reads, inputs, state, message):
    given = saved(cell="lstm") if reads == "tokens" else of_sequences(1)
    with pytest.raises(ValueError, match=message):
        modules.module_of(given, engine="reference")(inputs, state)


def test_a_finished_run_is_loaded_as_a_module(store):
    model = harness.load_module("small:wide:1000", store)
    text = "the cell state gate opens " * 3
    expected = harness.load_model("small:wide:1000", store).losses(text)
    np.testing.assert_allclose(losses(model, text), expected, rtol=1e-4)


OWN = """
from cells.lstm import LSTM


class Own(LSTM):
    r'''i f g o: W_i x W_f x W_g x W_o x R h; c' = f * c + i * g; h' = o * tanh(c')

    Source: none. Reference: none. Differs from lstm: nothing.
    '''

    name = "of-the-exporter"
"""


def test_a_cell_of_ones_own_is_found_beside_the_file_of_its_model(tmp_path):
    given, file = saved(cell="lstm"), tmp_path / "own.safetensors"
    settings = replace(given.settings, cell="of-the-exporter")
    own = replace(given, settings=settings, cell_files=("/gone/exporter.py",))
    file.write_bytes(safetensors_file.content(own))
    file.with_suffix(".json").write_text(safetensors_file.description(own, {}))
    with pytest.raises(ModelError, match=r"Name its file \(/gone/exporter.py then\)"):
        harness.load_module(str(file), changed_cell=True)
    (tmp_path / "exporter.py").write_text(OWN)
    module = harness.load_module(str(file), changed_cell=True, engine="reference")
    assert module.cell.name == "of-the-exporter"
    np.testing.assert_allclose(losses(module, TEXT), TrainedModel(given).losses(TEXT), rtol=1e-12)
