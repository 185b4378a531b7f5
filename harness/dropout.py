"""Dropout whose masks have no history: a pure function of seed, site, update and index, made on the device."""

import torch
from torch import Tensor

from harness import randomness


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


GOLDEN = _signed(0x9E3779B97F4A7C15)
MIX = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)))


def uniform(keys: Tensor, counters: Tensor) -> Tensor:
    """Returns float64 draws from [0, 1), one for each pair of key and counter (both int64, broadcast).

    SplitMix64 (Steele, Lea & Flood 2014) of key + counter * golden ratio, in 64-bit arithmetic that wraps.
    """
    z = keys + counters * GOLDEN
    for shift, factor in MIX:
        z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor
    z = z ^ ((z >> 31) & ((1 << 33) - 1))
    return ((z >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


class Dropout:
    """Dropout between layers for the runs of a pack: own seed and own rate each.

    ``update`` is the number of the present update, int64 on the device: a recorded update reads it anew each time.
    """

    def __init__(self, seeds: list[tuple], rates: list[float], device: torch.device):
        self._seeds = seeds
        self._rates = torch.tensor(rates, dtype=torch.float64, device=device).view(1, -1, 1, 1)
        self._keys: dict[int, Tensor] = {}
        self.update = torch.zeros((), dtype=torch.int64, device=device)

    def __call__(self, layer: int, values: Tensor) -> Tensor:
        """Returns ``values`` (T, N, B, H) with units dropped and the others scaled up, for the update in ``update``."""
        if layer not in self._keys:
            keys = [_signed(randomness.key(*seed, "dropout", layer) & ((1 << 64) - 1)) for seed in self._seeds]
            self._keys[layer] = torch.tensor(keys, dtype=torch.int64, device=values.device).view(1, -1, 1, 1)
        num_steps, _, batch_size, width = values.shape
        index = torch.arange(num_steps * batch_size * width, device=values.device)
        counters = index.view(num_steps, 1, batch_size, width) + (self.update << 32)
        kept = uniform(self._keys[layer], counters) >= self._rates
        return values * kept / (1.0 - self._rates).to(values.dtype)
