"""Cells against Keras's layers, on its backend of torch, whose autograd gives gradients too."""

import pytest
import torch
from compared import KERAS
from comparison import B, H, T, assert_equal, plain, width_of

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    """Keras takes its backend from the environment, and writes a file of settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        found = pytest.importorskip("keras", reason="keras is not installed")
    assert found.backend.backend() == "torch"
    return found


@pytest.mark.parametrize("name", KERAS)
def test_a_cell_equals_a_layer_of_keras(keras, name):
    row, width = KERAS[name], width_of(name)
    arguments = {"return_sequences": True, "return_state": True, "dtype": "float64"}
    layer = getattr(keras.layers, row.kind)(H, **arguments, **row.arguments)
    layer.build((B, T, width))

    def run(given, x, start):
        """Its matrices are the transposes of torch's; its two biases, where there are, a matrix."""
        biases = [given[key] for key in ("bias_ih", "bias_hh") if key in given]
        values = [given["weight_ih"].t(), given["weight_hh"].t()]
        values.append(torch.stack(biases) if len(biases) > 1 else biases[0])
        states = list(start) if isinstance(start, tuple) else [start]
        others = [each.value for each in layer.non_trainable_variables]
        batch_first = x.transpose(0, 1)
        found, _ = layer.stateless_call(values, others, batch_first, initial_state=states)
        return [found[0].transpose(0, 1), *found[1:]]

    parameters = {key: values for key, values in plain(width).items() if key in row.blocks}
    assert_equal(name, row, parameters, run)
