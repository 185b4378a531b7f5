"""How forecasts that are distributions are scored: normal ones by likelihood, quantiles by losses.

Shapes: N runs, M positions, O values, Q quantiles of each. What the outputs stand for is said in
:mod:`harness.data.sequences.heads`.

Source: Gneiting, T. and Raftery, A. E. Strictly proper scoring rules, prediction, and estimation.
Journal of the American Statistical Association 102, 2007; of quantiles Koenker, R. and Bassett, G.
Regression quantiles. Econometrica 46, 1978.
"""

import functools
import math
from statistics import NormalDist

import torch
from torch import Tensor

from harness.data.sequences.heads import LEAST_VARIANCE, LEVELS, SPACING
from harness.tasks.objective import CRPS, LIKELIHOOD, OF_DENSITIES, OF_QUANTILES, Objective
from harness.tasks.scoring import ValueScoring

NOMINAL = LEVELS[-1] - LEVELS[0]
"""The probability of the central interval whose coverage is told: 0.9."""
_HALF_WIDTH = NormalDist().inv_cdf((1 + NOMINAL) / 2)
_LOG_2_PI = math.log(2 * math.pi)


@functools.cache
def _levels(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns the levels, (Q, 1); kept, since a recorded step may copy nothing from the host."""
    return torch.tensor(LEVELS, device=device, dtype=dtype).view(-1, 1)


class GaussianScoring(ValueScoring):
    """A normal distribution of each value; training follows the negative log-likelihood."""

    objectives: tuple[Objective, ...] = OF_DENSITIES
    trained = LIKELIHOOD
    measures = ("squares", "distances", "nll", "crps", "coverage")

    def point(self, outputs: Tensor) -> Tensor:
        """See :class:`~harness.tasks.scoring.Scoring`; the means."""
        return outputs.chunk(2, -1)[0]

    def _measured(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """See :class:`ValueScoring`; errors are those of the mean."""
        mean, log_variance = outputs.chunk(2, 2)
        variance = log_variance.exp() + LEAST_VARIANCE
        errors, deviation = targets - mean, variance.sqrt()
        z = errors / deviation
        density = (-0.5 * z.square()).exp() / math.sqrt(2 * math.pi)
        sides = torch.erf(z / math.sqrt(2))  # 2 Phi(z) - 1
        likelihood = 0.5 * (z.square() + variance.log() + _LOG_2_PI)
        score = deviation * (z * sides + 2 * density - 1 / math.sqrt(math.pi))
        covered = (z.abs() <= _HALF_WIDTH).double()
        return errors.square(), errors.abs(), likelihood, score, covered

    def _losses_and_slopes(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`ValueScoring`."""
        mean, log_variance = outputs.chunk(2, 2)
        above = log_variance.exp()
        variance = above + LEAST_VARIANCE
        errors = mean - targets
        ratio = errors.square() / variance
        losses = 0.5 * (ratio + variance.log() + _LOG_2_PI)
        slopes = errors / variance, 0.5 * (1.0 - ratio) * (above / variance)
        return losses, torch.cat(slopes, 2)


class QuantileScoring(ValueScoring):
    """Quantiles of each value; training follows their CRPS, twice the mean pinball loss."""

    objectives: tuple[Objective, ...] = OF_QUANTILES
    trained = CRPS
    measures = ("squares", "distances", "crps", "coverage")

    def point(self, outputs: Tensor) -> Tensor:
        """See :class:`~harness.tasks.scoring.Scoring`; the medians."""
        medians: Tensor = outputs.unflatten(-1, (len(LEVELS), -1))[..., LEVELS.index(0.5), :]
        return medians

    def _measured(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """See :class:`ValueScoring`; errors are those of the median."""
        quantiles = outputs.unflatten(2, (len(LEVELS), -1))
        errors = targets - quantiles[:, :, LEVELS.index(0.5)]
        score, _ = self._losses_and_slopes(outputs, targets)
        covered = (quantiles[:, :, 0] <= targets) & (targets <= quantiles[:, :, -1])
        return errors.square(), errors.abs(), score, covered.double()

    def _losses_and_slopes(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`ValueScoring`."""
        errors = targets.unsqueeze(2) - outputs.unflatten(2, (len(LEVELS), -1))  # (N, M, Q, O)
        levels: Tensor = _levels(outputs.device, outputs.dtype)
        slopes = (errors < 0).to(outputs.dtype) - levels
        slopes = (2.0 * SPACING) * slopes
        return -(slopes * errors).sum(2), slopes.flatten(2)
