"""A cell's class: what of a time step has to wait for what.

Found by running the step, not by its name.
"""

from collections.abc import Callable, Iterable
from types import SimpleNamespace

import torch
from torch import Tensor

from cells.base import Cell, unchanged

Values = dict[str, Tensor]

ROWS, UNITS = 8, 16
"""Sizes of the probe: enough random numbers to fall on both sides of any kink."""


def cell_class(cell: type[Cell]) -> str:
    """Returns the class of a cell.

    a: pointwise after one round of recurrent products on the previous state; ar: the same with a
        reduction over H;
    b: a product that waits for another one; e: no recurrent product; c: none, and linear in the
        state.
    """
    probe = _Probe(cell)
    if not cell.recurrent_products():
        return "c" if probe.is_linear() else "e"
    if probe.waits:
        return "b"
    return "ar" if probe.reduces() else "a"


class _Probe:
    """Steps of a cell on random numbers.

    The results of its products do not depend on what the products are given.
    """

    def __init__(self, cell: type[Cell]):
        self._step_of = cell().step
        self._generator = torch.Generator().manual_seed(0)
        self._vectors = {name: self._draw()[0] for name in cell.vectors}
        self._inputs = self._draw_each(cell.input_products())
        self._states = self._draw_each(cell.state)
        self._results = {
            name: self._draw_each(gates) for name, gates in cell.recurrent_products().items()
        }
        self.waits = False
        self._outputs = self._step(self._inputs, self._states, self._results)

    def _draw(self) -> Tensor:
        return 4.0 * torch.rand(ROWS, UNITS, dtype=torch.float64, generator=self._generator) - 2.0

    def _draw_each(self, names: Iterable[str]) -> Values:
        return {name: self._draw() for name in names}

    def _step(self, inputs: Values, states: Values, results: dict[str, Values]) -> list[Tensor]:
        def product(values: Values) -> Callable[[Tensor], SimpleNamespace]:
            def call(h: Tensor) -> SimpleNamespace:
                # Of all that enters a step, only the products' results require a gradient.
                self.waits |= h.requires_grad
                return SimpleNamespace(
                    **{gate: value.requires_grad_() for gate, value in values.items()}
                )

            return call

        products = {name: product(values) for name, values in results.items()}
        p = SimpleNamespace(**products, **self._vectors, drop=unchanged)
        return [
            output.detach()
            for output in self._step_of(p, SimpleNamespace(**inputs), *states.values())
        ]

    def reduces(self) -> bool:
        """Whether a change of the first unit of all inputs changes another unit of an output."""

        def bumped(values: Values) -> Values:
            bump = torch.eye(UNITS, dtype=torch.float64)[0]
            return {name: (value + bump).detach() for name, value in values.items()}

        results = {name: bumped(values) for name, values in self._results.items()}
        outputs = self._step(bumped(self._inputs), bumped(self._states), results)
        return any(
            not torch.equal(new[:, 1:], old[:, 1:])
            for new, old in zip(outputs, self._outputs, strict=True)
        )

    def is_linear(self) -> bool:
        """Whether the step at the mean of two states is the mean of the two steps.

        That holds for an affine function.
        """
        others = self._draw_each(self._states)
        middle = {name: (state + others[name]) / 2 for name, state in self._states.items()}
        ends = zip(self._outputs, self._step(self._inputs, others, self._results), strict=True)
        means = self._step(self._inputs, middle, self._results)
        return all(torch.allclose(m, (a + b) / 2) for m, (a, b) in zip(means, ends, strict=True))
