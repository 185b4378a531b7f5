"""Text that a model continues, a token at a time: the state is carried, and each token chosen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.engine import Parameters
from harness.model.masks import Masks
from harness.model.network import Model


class ChoiceError(ValueError):
    """A way to choose tokens that there is none of; a line for every problem."""


@dataclass(frozen=True)
class Choice:
    """How the next token is chosen of the scores of all: the likeliest, or a draw.

    Attributes:
        temperature: Scores are divided by it before the softmax; None: the likeliest token.
        top_k: Only so many of the likeliest tokens are drawn from; None: all. Of tokens that are
            equally likely the first in the vocabulary are kept.
        top_p: Only the nucleus is drawn from: the fewest of the likeliest tokens whose
            probabilities, among those that ``top_k`` has left, come to ``top_p`` at least
            (Holtzman et al. 2020); None: all.

    Raises:
        ChoiceError: A number is outside its range, or tokens are cut without a temperature.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        temperature, top_k, top_p = self.temperature, self.top_k, self.top_p
        problems = []
        if temperature is not None and not 0.0 < temperature < math.inf:
            problems.append(
                f"temperature: must be > 0, but got {temperature=}. "
                "Leave it out for the likeliest token."
            )
        if top_k is not None and top_k < 1:
            problems.append(f"top_k: must be >= 1, but got {top_k=}. Leave it out for all tokens.")
        if top_p is not None and not 0.0 < top_p <= 1.0:
            problems.append(
                f"top_p: must be > 0 and <= 1, but got {top_p=}. Leave it out for all tokens."
            )
        if temperature is None and (top_k is not None or top_p is not None):
            problems.append(
                "temperature: must be given where top_k or top_p is, since the likeliest token is "
                f"among all that they keep, but got {temperature=}. Give 1 to draw from the "
                "model's own probabilities."
            )
        if problems:
            raise ChoiceError("\n".join(problems))

    def probabilities(self, scores: Tensor) -> np.ndarray:
        """Returns with what probability each token is chosen, (V,), float64, of its scores (V,)."""
        scores = scores.double().cpu()
        scaled = scores / (self.temperature or 1.0)
        if self.temperature is None or not torch.isfinite(scaled).all():
            # So near to 0 that the quotients overflow, a temperature leaves the likeliest alone.
            likeliest = np.zeros(len(scores))
            likeliest[int(scores.argmax())] = 1.0
            return likeliest
        probabilities: np.ndarray = torch.softmax(scaled, 0).numpy()
        if self.top_k is None and self.top_p is None:
            return probabilities
        kept = np.argsort(-probabilities, kind="stable")[: self.top_k]
        if self.top_p is not None:
            # A token stays where those before it have not come to top_p yet.
            share = probabilities[kept] / probabilities[kept].sum()
            kept = kept[np.cumsum(share) - share < self.top_p]
        cut = np.zeros_like(probabilities)
        cut[kept] = probabilities[kept] / probabilities[kept].sum()
        return cut

    def token(self, scores: Tensor, draw: float) -> int:
        """Returns the token that ``draw``, from [0, 1), selects of the scores (V,)."""
        if self.temperature is None:
            return int(scores.argmax())
        cumulative = np.cumsum(self.probabilities(scores))
        selected = int(np.searchsorted(cumulative, draw, side="right"))
        # The sum may be rounded to less than a draw: the last token that can be drawn is meant.
        return min(selected, int(np.searchsorted(cumulative, cumulative[-1])))


class Stream:
    """One text that a single run's model reads, token by token; its state is carried."""

    def __init__(self, model: Model, parameters: Parameters, masks: Masks | None = None):
        """Begins at the start of a text; ``parameters`` are (1, ...) each."""
        self._model, self._parameters, self._masks = model, parameters, masks
        self._states = model.initial_states(parameters, 1, 1)
        self._readout = model.readout(parameters)
        self._device = parameters["readout.b"].device

    def scores(self, tokens: Sequence[int]) -> Tensor:
        """Reads ``tokens``, one at least, and returns the scores of the next one, (V,)."""
        inputs = torch.tensor(tokens, device=self._device).view(-1, 1, 1)
        rows, self._states = self._model(self._parameters, inputs, self._states, self._masks)
        return self._readout.scores(rows[:, -1:])[0, 0]


def continued(
    stream: Stream, prefix: Sequence[int], choice: Choice, draws: Sequence[float]
) -> list[int]:
    """Returns the tokens that follow ``prefix``, one for each draw from [0, 1)."""
    tokens: list[int] = []
    fresh = list(prefix)
    for draw in draws:
        fresh = [choice.token(stream.scores(fresh), draw)]
        tokens += fresh
    return tokens
