"""A layer with random arguments, what it gives, and how far two results lie apart."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch
from torch import Tensor

from cells.base import Cell, split_gates, unchanged
from harness.engine.base import Engine, Layer, Parameters, State
from harness.engine.reference import Reference


@dataclass(frozen=True)
class Case:
    """A layer with random arguments.

    Attributes:
        layer: What is run.
        parameters: Tensors (N, ...) by their names.
        inputs: A tensor (T, N, B, I).
        state: A tensor (N, B, H) for each declared state.
    """

    layer: Layer
    parameters: Parameters
    inputs: Tensor
    state: State

    def run(self, engine: Engine | None = None) -> tuple[Tensor, State]:
        """Returns the outputs (T, N, B, H) and the final state; by default ``reference`` runs."""
        return (engine or Reference()).run(self.layer, self.parameters, self.inputs, self.state)

    def part(self, axis: int, index: int) -> "Case":
        """Returns one run (axis 0 of a state) or one row (axis 1) alone."""
        parameters = self.parameters
        if axis == 0:
            parameters = {name: value.narrow(0, index, 1) for name, value in parameters.items()}
        state = tuple(s.narrow(axis, index, 1) for s in self.state)
        return Case(self.layer, parameters, self.inputs.narrow(axis + 1, index, 1), state)

    def arguments(self) -> dict[str, Tensor]:
        """Returns everything that a gradient may be asked of, by name."""
        states = {
            f"the initial state {s}": v
            for s, v in zip(self.layer.cell.state, self.state, strict=True)
        }
        return {"the input": self.inputs, **states, **self.parameters}


def case_of(
    cell: type[Cell],
    *,
    steps: int = 3,
    runs: int = 1,
    batch: int = 2,
    hidden: int = 3,
    biases: int = 2,
) -> Case:
    """Returns a layer of a cell in float64, with arguments that are the same each time."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return 0.7 * torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = hidden if cell.reads_input else 2
    parameters = {
        spec.name: random(runs, *spec.shape(hidden))
        for spec in cell.parameters(inputs, hidden, biases)
    }
    state = tuple(random(runs, batch, hidden) for _ in cell.state)
    return Case(
        Layer(cell, hidden, biases, "float64"),
        parameters,
        random(steps, runs, batch, inputs),
        state,
    )


def differentiable(case: Case) -> Case:
    """Returns the case with gradients asked of everything that it is given."""
    parameters = {name: value.requires_grad_() for name, value in case.parameters.items()}
    state = tuple(s.requires_grad_() for s in case.state)
    return replace(case, parameters=parameters, inputs=case.inputs.requires_grad_(), state=state)


def gates_of(cell: type[Cell], case: Case, dtype: torch.dtype) -> SimpleNamespace:
    """Returns an ``x`` of ``step`` for the case's state: random, one (N, B, H) a gate."""
    generator = torch.Generator().manual_seed(1)
    shape = (*case.state[0].shape[:-1], len(cell.input_products()) * case.layer.hidden_size)
    return split_gates(
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype),
        cell.input_products(),
    )


def without_runs(p: SimpleNamespace) -> SimpleNamespace:
    """Returns the ``p`` of ``Cell.step`` on (B, H), given that on (1, B, H)."""

    def unwrapped(
        product: Callable[[Tensor], SimpleNamespace],
    ) -> Callable[[Tensor], SimpleNamespace]:
        return lambda h: SimpleNamespace(
            **{gate: value[0] for gate, value in vars(product(h[None])).items()}
        )

    values = {
        name: value[0] if isinstance(value, Tensor) else unwrapped(value)
        for name, value in vars(p).items()
        if name != "drop"
    }
    return SimpleNamespace(**values, drop=unchanged)


def results_of(case: Case, engine: Engine | None = None) -> dict[str, Tensor]:
    """Returns the outputs, the final state and the gradients of a random weighting of them.

    They are named by what they are.
    """
    outputs, final = case.run(engine)
    states = {f"the final state {s}": v for s, v in zip(case.layer.cell.state, final, strict=True)}
    results = {"the outputs": outputs, **states}
    generator = torch.Generator().manual_seed(2)
    weights = [
        torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for value in results.values()
    ]
    total = torch.stack(
        [(w * v).sum() for w, v in zip(weights, results.values(), strict=True)]
    ).sum()
    names, values = zip(*case.arguments().items(), strict=True)
    grads = torch.autograd.grad(total, values, allow_unused=True, materialize_grads=True)
    return results | {
        f"the gradient of {name}": value for name, value in zip(names, grads, strict=True)
    }


def distance(a: Iterable[Tensor], b: Iterable[Tensor]) -> float:
    """Returns the largest difference of two sequences of tensors, relative to 1 + the value.

    NaN counts as infinite.
    """
    gaps = [
        ((x - y).abs() / (1 + y.abs())).nan_to_num(torch.inf).max().item()
        for x, y in zip(a, b, strict=True)
    ]
    return max(gaps)
