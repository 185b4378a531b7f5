"""A run's model as a module of torch gives what the run's own model gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from saved_models import TEXT, saved
from torch.nn.functional import cross_entropy

import harness
from harness.results import safetensors_file
from harness.results.modules import LanguageModel
from harness.results.trained_models import ModelError, TrainedModel


def losses(model, text):
    tokens = torch.from_numpy(model.vocabulary.encode(text))
    with torch.no_grad():
        scores, _ = model(tokens[:-1].unsqueeze(1))
    return cross_entropy(scores.squeeze(1).double(), tokens[1:], reduction="none").numpy()


@pytest.mark.parametrize(
    "fields",
    [
        {"cell": "lstm", "num_layers": 3, "residual": True, "zoneout_c": 0.2, "dropout": 0.3},
        {"cell": "gru", "embedding_size": 6, "tied": True, "biases": 2, "zoneout_c": 0.2},
        {"cell": "lstm-peephole", "learned_start": True, "state_dropout": 0.1, "state_clip": 0.4},
        {"cell": "lstm-projected", "num_layers": 2, "projection_size": 2},
        {"cell": "sru", "embedding_size": 6, "weight_dropout": 0.5},
    ],
    ids=lambda fields: fields["cell"],
)
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


def test_a_module_is_trained_further_and_what_it_cannot_be_is_refused():
    model = LanguageModel(saved(cell="lstm", learned_start=True), engine="reference").train()
    scores, _ = model(torch.zeros(4, 2, dtype=torch.int64))
    scores.logsumexp(-1).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with pytest.raises(ModelError, match="precision must be one of float32.* but got .*'bf16'"):
        LanguageModel(saved(cell="lstm", precision="bf16"))


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
