"""Random masks without a history: pure functions of seed, site, update and index."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cells.base import Cell
from harness import randomness
from harness.engine import lookup
from harness.engine.cpu.products import drawn
from harness.settings import Settings


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


GOLDEN = _signed(0x9E3779B97F4A7C15)
MIX = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)))

Names = tuple[randomness.Name, ...]
"""What a random stream is a function of: a run's seed, or a site in its model."""

FIELDS = (
    "dropout",
    "input_dropout",
    "state_dropout",
    "recurrent_dropout",
    "weight_dropout",
    "zoneout_h",
    "zoneout_c",
    "output_dropout",
    "lookup_dropout",
    "embedding_dropout",
)
"""The settings that are the rate of a mask."""


def uniform(keys: Tensor, counters: Tensor) -> Tensor:
    """Returns float64 draws from [0, 1), one for each pair of key and counter.

    SplitMix64 (Steele, Lea & Flood 2014) of key + counter * golden ratio, in 64-bit arithmetic that
    wraps.

    Args:
        keys: Int64.
        counters: Int64; both are broadcast.
    """
    z = keys + counters * GOLDEN
    for shift, factor in MIX:
        z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor
    z = z ^ ((z >> 31) & ((1 << 33) - 1))
    return ((z >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


def rate_field(name: str) -> str:
    """Returns the setting that is the rate of one of a cell's ``noise``."""
    return next(field for field in FIELDS if name.startswith(field))


class Masks:
    """The random masks of a pack's runs, each with its own seed and its own rates.

    A dropout's factor is 0 at its rate and else 1 / (1 - rate), so that its mean is 1. A zoneout's
    factor is 1 at its rate and else 0. ``update`` is the number of the present update, int64 on the
    device: a recorded update reads it anew each time.
    """

    def __init__(
        self,
        seeds: Sequence[Names],
        settings: Sequence[Settings],
        device: torch.device,
        compiled: bool = False,
    ):
        """Takes every run's seed and settings, and whether compiled kernels draw, on a CPU."""
        self._compiled = compiled
        self._is_of_update = any(s.dropout_masks == "update" for s in settings)
        self._seeds, self._keys = list(seeds), dict[Names, Tensor]()
        self._rates = {
            name: torch.tensor(
                [getattr(s, name) for s in settings], dtype=torch.float64, device=device
            )
            for name in FIELDS
            if any(getattr(s, name) for s in settings)
        }
        self.update = torch.zeros((), dtype=torch.int64, device=device)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._rates)

    def outputs(self, layer: int, values: Tensor) -> Tensor:
        """Returns a layer's outputs (T, N, B, H), or their gradient, with ``dropout``."""
        return self._dropped("dropout", ("dropout", layer), values)

    def readout(self, values: Tensor) -> Tensor:
        """Returns the read-out's inputs (T, N, B, H), or their gradient, with dropout."""
        return self._dropped("output_dropout", ("output dropout",), values)

    def lookup(self, tokens: Tensor | None, num_types: int, values: Tensor) -> Tensor:
        """Returns the vectors (T, N, B, E) of tokens (T, N, B), or their gradient, with dropout.

        That is ``embedding_dropout``, by the token's type, and ``lookup_dropout``, by element.
        Where inputs are no tokens, these have no type.
        """
        if "embedding_dropout" in self._rates and tokens is not None:
            shape = len(self._seeds), num_types
            site = ("embedding dropout",)
            factors = self._factors("embedding_dropout", site, shape, 0, values.dtype)
            values = values * lookup(factors.unsqueeze(2), tokens)
        return self._dropped("lookup_dropout", ("lookup dropout",), values)

    def _dropped(self, field: str, site: Names, values: Tensor) -> Tensor:
        if field not in self._rates:
            return values
        shape = (1 if self._is_of_update else len(values), *values.shape[1:])
        return values * self._factors(field, site, shape, 1, values.dtype)

    def inputs(self, layer: int, values: Tensor) -> Tensor:
        """Returns a layer's inputs (T, N, B, I), or their gradient, with ``input_dropout``."""
        if "input_dropout" not in self._rates:
            return values
        shape = (1, *values.shape[1:])
        return values * self._factors(
            "input_dropout", ("input dropout", layer), shape, 1, values.dtype
        )

    def weights(self, place: randomness.Name, name: str, matrix: Tensor) -> Tensor:
        """Returns a recurrent matrix (N, H, g*H), or its gradient, with ``weight_dropout``.

        Args:
            place: That of the direction whose matrix it is.
            name: The matrix's.
            matrix: Of all runs.
        """
        if "weight_dropout" not in self._rates:
            return matrix
        site = "weight dropout", place, name
        return matrix * self._factors("weight_dropout", site, matrix.shape, 0, matrix.dtype)

    def steps(
        self, place: randomness.Name, cell: type[Cell], state: Tensor, num_steps: int
    ) -> Tensor | None:
        """Returns the ``noise`` of a cell for the update in ``update``, (T, N, B, K*H).

        What has one mask for all time steps has it T times; where nothing else is, T is 1.

        Args:
            place: That of the direction which they are for.
            cell: Names K factors.
            state: (N, B, H); gives the size, dtype and device.
            num_steps: T.
        """
        if not cell.noise:
            return None
        lengths = [1 if name == "state_dropout" else num_steps for name in cell.noise]
        parts = [
            self._factors(rate_field(name), (name, place), (length, *state.shape), 1, state.dtype)
            for name, length in zip(cell.noise, lengths, strict=True)
        ]
        return torch.cat([part.expand(max(lengths), -1, -1, -1) for part in parts], dim=3)

    def expected(self, cell: type[Cell], state: Tensor) -> Tensor | None:
        """Returns the means of :meth:`steps`, (1, N, B, K*H): what evaluation takes instead."""
        if not cell.noise:
            return None
        return torch.cat([self._mean(name, state) for name in cell.noise], dim=2).unsqueeze(0)

    def _mean(self, name: str, state: Tensor) -> Tensor:
        if not name.startswith("zoneout"):
            return torch.ones_like(state)
        return self._rates[name].view(-1, 1, 1).to(state.dtype).expand_as(state)

    def _factors(
        self, field: str, site: Names, shape: Sequence[int], axis: int, dtype: torch.dtype
    ) -> Tensor:
        """Returns factors of a shape whose ``axis`` is that of the runs.

        A run's factors are counted without that axis, so that they do not depend on the other runs.
        """
        shape_of_run = [size for i, size in enumerate(shape) if i != axis]
        rates, keys = self._rates[field], self._key(site)
        dropped, kept = torch.zeros_like(rates), 1.0 / (1.0 - rates).to(dtype)
        values = (
            (torch.ones_like(rates), dropped) if field.startswith("zoneout") else (dropped, kept)
        )
        hit, miss = (value.to(dtype) for value in values)
        if self._compiled:
            factors = drawn(keys, int(self.update), math.prod(shape_of_run), rates, hit, miss)
        else:
            index = torch.arange(math.prod(shape_of_run), device=rates.device)
            is_hit = uniform(keys.unsqueeze(1), index + (self.update << 32)) < rates.unsqueeze(1)
            factors = torch.where(is_hit, hit.unsqueeze(1), miss.unsqueeze(1))
        return factors.view(len(rates), *shape_of_run).movedim(0, axis)

    def _key(self, site: Names) -> Tensor:
        if site not in self._keys:
            keys = [_signed(randomness.key(*seed, *site) & ((1 << 64) - 1)) for seed in self._seeds]
            self._keys[site] = torch.tensor(keys, dtype=torch.int64, device=self.update.device)
        return self._keys[site]
