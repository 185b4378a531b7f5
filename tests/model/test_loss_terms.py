"""AR and TAR count the time steps that there are: those of lines, and not what pads them."""

import pytest
import torch
from tolerances import assert_close

from harness.model.loss_terms import LossTerms
from harness.settings import Settings

T, N, B, H = 5, 2, 3, 4
LENGTHS = torch.tensor([[5, 2, 0], [1, 1, 1]])
"""Of every run's lines; the second run has none with a difference."""


@pytest.mark.parametrize("field", ["activation", "temporal"])
def test_a_mean_square_is_that_of_each_line_by_itself(field):
    factors = {"activation_regularization": 0.7, "temporal_activation_regularization": 0.3}
    settings = [Settings("lstm", "genesis", **factors), Settings("lstm", "genesis", **factors)]
    terms = LossTerms(settings, torch.device("cpu"), torch.float64)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(T, N, B, H, generator=generator, dtype=torch.float64, requires_grad=True)
    counted = (torch.arange(T).view(-1, 1, 1) < LENGTHS).double()
    shares = counted / counted.sum((0, 2), keepdim=True)

    means = []
    for n in range(N):
        lines = [values[:length, n, b] for b, length in enumerate(LENGTHS[n].tolist())]
        parts = lines if field == "activation" else [line.diff(dim=0) for line in lines]
        found = torch.cat(
            [part.flatten() for part in parts if part.numel()] or [values[:0].flatten()]
        )
        means.append(found.square().sum() / max(1, len(found)))
    factor = factors[f"{'temporal_' if field == 'temporal' else ''}activation_regularization"]
    (expected,) = torch.autograd.grad(factor * sum(means), values)

    act = terms.with_activation if field == "activation" else terms.with_temporal
    with torch.no_grad():
        padded = values.masked_fill(counted.unsqueeze(3) == 0, torch.inf)
        gradient = act(torch.zeros_like(values), padded, shares)
        assert_close(gradient, expected)
        assert gradient[:, 0].any() and not gradient[counted == 0].any()
        everywhere = act(torch.zeros_like(values), values, torch.full_like(shares, 1 / (T * B)))
        assert_close(everywhere, act(torch.zeros_like(values), values))
