"""What torch.compile makes of a module around a layer: few graphs, whatever the sizes."""

import warnings

import pytest
import torch
from small_layers import B, H, I, T
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from harness import Recurrent


class Around(nn.Module):
    """A layer with something before it and something behind."""

    def __init__(self, engine):
        super().__init__()
        self.head, self.tail = nn.Linear(I, I), nn.Linear(H, 2)
        self.layer = Recurrent("lstm", I, H, engine=engine)

    def forward(self, x):
        if isinstance(x, PackedSequence):
            return self.tail(self.layer(x)[0].data)
        return self.tail(self.layer(self.head(x))[0])


@pytest.fixture
def counted():
    """Compiles a module; returns what calls it, and says how many graphs there are by then."""
    from torch._dynamo import reset
    from torch._dynamo.testing import CompileCounter

    reset()

    def made(module):
        counter = CompileCounter()
        compiled = torch.compile(module, backend=counter)

        def graphs(x):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                output = compiled(x)
            torch.testing.assert_close(output, module(x))
            output.sum().backward()
            return counter.frame_count

        return graphs

    return made


@pytest.mark.slow
def test_graphs_around_it_are_compiled_once_and_once_for_all_sizes(counted):
    module = Around("native")
    graphs = counted(module)
    first = graphs(torch.randn(T, B, I))
    assert first == 2 and graphs(torch.randn(T, B, I)) == first
    assert graphs(torch.randn(T, B - 1, I)) <= 2 * first  # the batch becomes a variable,
    last = graphs(torch.randn(T - 2, B - 2, I))  # and then time
    assert last <= 3 * first
    module.eval()
    assert graphs(torch.randn(T + 2, B + 5, I)) == last
    module.train()
    assert graphs(torch.randn(T - 1, B + 4, I)) == last


@pytest.mark.slow
def test_graphs_around_a_packed_sequence_are_compiled_once_for_all_lengths(counted):
    graphs = counted(Around("native"))

    def packed(*lengths):
        return pack_padded_sequence(torch.randn(max(lengths), len(lengths), I), lengths)

    first = graphs(packed(5, 3, 2))
    assert first == 1 and graphs(packed(5, 3, 2)) == first
    last = graphs(packed(4, 4, 1))
    assert last <= 2 * first and graphs(packed(6, 2)) == graphs(packed(7, 3, 3, 1)) == last


@pytest.mark.slow
def test_the_reference_is_a_part_of_the_graphs_that_are_compiled_once_for_a_size(counted):
    graphs = counted(Around("reference"))
    first = graphs(torch.randn(2, B, I))
    assert graphs(torch.randn(2, B, I)) == first
