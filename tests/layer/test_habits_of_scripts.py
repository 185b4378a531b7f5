"""What scripts do with modules of torch.nn beside calling them."""

import pytest
import torch
from small_layers import B, H, I, T

from harness import Recurrent, RecurrentCell
from harness.engine import EngineError
from harness.engine.base import is_exporting


@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_tracer_that_takes_a_compiled_graph_for_an_exported_one_is_not_believed(
    is_compiled, monkeypatch
):
    """That of torch 2.9 does, as `tests/layer/test_graphs_around.py` shows there."""
    assert not is_exporting()
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    monkeypatch.setattr(torch.compiler, "is_dynamo_compiling", lambda: is_compiled)
    assert is_exporting() != is_compiled


@pytest.mark.parametrize("kind", [Recurrent, RecurrentCell])
def test_a_module_may_be_made_without_memory_and_get_its_values_later(kind):
    with torch.device("meta"):
        made = kind("lstm", I, H)
    assert {each.device.type for each in made.parameters()} == {"meta"}
    made.to_empty(device="cpu").reset_parameters()
    torch.manual_seed(0)
    made.reset_parameters()
    torch.manual_seed(0)
    expected = kind("lstm", I, H)
    for name, value in made.named_parameters():
        assert torch.equal(value, expected.get_parameter(name)), name


@pytest.mark.parametrize("name", ["lstm", "lstm-peephole", "min-gru"])
def test_shapes_are_told_where_there_is_no_memory(name):
    made = Recurrent(name, I, H, num_layers=2, bidirectional=True, device="meta")
    output, final = made(torch.empty(T, B, I, device="meta"))
    assert output.shape == (T, B, 2 * H) and output.is_meta
    states = (final,) if isinstance(final, torch.Tensor) else final
    assert {tuple(each.shape) for each in states} == {(4, B, H)}


def test_a_replica_that_holds_tensors_in_place_of_parameters_runs():
    """nn.DataParallel makes such replicas; their values are copies with a gradient."""
    made, x = Recurrent("lstm", I, H, num_layers=2), torch.randn(T, B, I)
    replica = made._replicate_for_data_parallel()
    for name, value in made.named_parameters():
        setattr(replica, name, value * 1.0)
    assert not list(replica.parameters())
    output, _ = replica(x)
    torch.testing.assert_close(output, made(x)[0])
    output.sum().backward()
    assert all(each.grad is not None for each in made.parameters())


@pytest.mark.parametrize("kind", [Recurrent, RecurrentCell])
def test_torch_jit_is_refused_in_a_sentence(kind, recwarn):
    made = kind("gru", I, H)
    with pytest.raises(EngineError, match=r"torch\.export"):
        torch.jit.trace(made, torch.randn(B, I))
    with pytest.raises(EngineError, match=r"torch\.export"):
        torch.jit.script(torch.nn.Sequential(made))
    assert not [each for each in recwarn if issubclass(each.category, torch.jit.TracerWarning)]


@pytest.mark.parametrize("name", ["bias", "batch_first", "bidirectional"])
def test_a_word_is_no_choice_of_yes_or_no(name):
    with pytest.raises(ValueError, match=f"{name}: must be True or False, but got {name}='no'"):
        Recurrent("lstm", I, H, **{name: "no"})
    assert getattr(Recurrent("lstm", I, H, **{name: 1}), name) is True


def test_memory_that_is_no_grid_is_refused():
    made, x = Recurrent("lstm", I, H), torch.ones(T, B, I)
    with pytest.raises(ValueError, match="input: must be dense, but got layout=torch.sparse_coo"):
        made(x.to_sparse())
    state = torch.zeros(1, B, H)
    with pytest.raises(ValueError, match="hx: c must be dense"):
        made(x, (state, state.to_sparse()))
