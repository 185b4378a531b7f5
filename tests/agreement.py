"""Layers with random arguments, and what an engine makes of them beside the definition."""

import math
import pathlib
from dataclasses import dataclass, replace

import pytest
import torch
from tolerances import TOLERANCES

import cells
from harness.engine import Layer, get

USER_CELLS = cells.load_file(pathlib.Path(__file__).with_name("user_cells.py"))
ALL_CELLS = sorted({*cells.names(), *USER_CELLS})
TWO_BIASES = ALL_CELLS[::3]
"""Cells that are compiled with a second bias too, which is one more term whatever the step is."""

I = 5
DEVICES = (
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
)


def random(shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@dataclass(frozen=True)
class Case:
    """A layer and the arguments of a call: tokens (T, N, B) or rows (T, N, B, I)."""

    layer: Layer
    parameters: dict[str, torch.Tensor]
    inputs: torch.Tensor
    state: tuple[torch.Tensor, ...]

    def to(self, precision):
        """The same numbers as floats of another precision."""
        dtype = torch.float64 if precision == "float64" else torch.float32
        return replace(
            self,
            layer=replace(self.layer, precision=precision),
            parameters={name: value.to(dtype) for name, value in self.parameters.items()},
            inputs=self.inputs.to(dtype) if self.inputs.is_floating_point() else self.inputs,
            state=tuple(s.to(dtype) for s in self.state),
        )

    def on_threads(self, threads):
        return replace(self, layer=replace(self.layer, threads=threads))

    def alone(self, n):
        """Run n of the pack."""
        return replace(
            self,
            parameters={name: value[n : n + 1] for name, value in self.parameters.items()},
            inputs=self.inputs[:, n : n + 1],
            state=tuple(s[n : n + 1] for s in self.state),
        )

    def run(self, engine):
        """The outputs and the final state."""
        return get(engine).run(self.layer, self.parameters, self.inputs, self.state)

    def leaves(self):
        """Everything that has a gradient, by name."""
        leaves = {**self.parameters, **{f"initial state {k}": s for k, s in enumerate(self.state)}}
        return leaves | ({"input": self.inputs} if self.inputs.is_floating_point() else {})


def case(cell, *, steps=4, runs=1, batch=3, hidden=7, biases=1, inputs="rows", scale=0.7, seed=0):
    """Random arguments in float64; `scale` is that of the parameters. `cell` is a class or a name.

    A cell that reads its input gets rows of H, whatever `inputs` says.
    """
    cell = cells.find(cell) if isinstance(cell, str) else cell
    width = hidden if cell.reads_input else I
    specs = cell.parameters(width, hidden, biases)
    parameters = {
        s.name: scale * random((runs, *s.shape(hidden)), seed + k) for k, s in enumerate(specs)
    }
    state = tuple(random((runs, batch, hidden), seed + 50 + k) for k in range(len(cell.state)))
    given = {
        "tokens": torch.randint(
            I, (steps, runs, batch), generator=torch.Generator().manual_seed(seed + 60)
        ),
        "rows": random((steps, runs, batch, width), seed + 70),
    }
    inputs = "rows" if cell.reads_input else inputs  # a token is nothing that a step could read
    return Case(Layer(cell, hidden, biases, "float64"), parameters, given[inputs], state)


def results(engine, given):
    """Outputs, final state and all gradients of a fixed weighting of them, by name."""
    leaves = {name: value.detach().requires_grad_() for name, value in given.leaves().items()}
    differentiable = replace(
        given,
        parameters={name: leaves[name] for name in given.parameters},
        inputs=leaves.get("input", given.inputs),
        state=tuple(leaves[f"initial state {k}"] for k in range(len(given.state))),
    )
    outputs, final = differentiable.run(engine)
    values = {"outputs": outputs, **{f"final state {k}": s for k, s in enumerate(final)}}
    total = sum(
        (random(v.shape, 80 + k).to(v.dtype) * v).sum() for k, v in enumerate(values.values())
    )
    gradients = torch.autograd.grad(
        total, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    values = {name: value.detach() for name, value in values.items()}
    return values | {
        f"gradient of {name}": value for name, value in zip(leaves, gradients, strict=True)
    }


def errors(ours, theirs):
    """Name -> the largest difference over the largest value of that tensor; infinite for a NaN or
    another shape.
    """
    assert ours.keys() == theirs.keys()
    largest = {}
    for name, expected in theirs.items():
        got = ours[name]
        if got.shape != expected.shape or not got.isfinite().all():
            largest[name] = torch.inf
        else:
            largest[name] = (got - expected).abs().max().item() / _scale(expected)
    return largest


def _scale(expected):
    """The largest value of a tensor, which may be zero everywhere."""
    return max(expected.abs().max().item(), 1e-300)


LARGEST_ERRORS = {"float64": 1e-10, "float32": 2e-5, "tf32": 2e-3, "bf16": 1e-2}
MEAN_ERRORS = {"tf32": 5e-5, "bf16": 4e-4}
"""Of engines that sum in another order than the definition.

In tf32 and bf16 an operand that lies between two numbers may then be rounded to the other one: the
difference is large and in few places, so that the largest is bound loosely and the mean tightly.
"""


def share_of_bounds(ours, theirs, precision):
    """The largest of all differences as a share of its bound; more than 1 is too much."""
    shares = [error / LARGEST_ERRORS[precision] for error in errors(ours, theirs).values()]
    if precision in MEAN_ERRORS:
        for name, expected in theirs.items():
            mean = (ours[name] - expected).abs().mean().item() / _scale(expected)
            shares.append(mean / MEAN_ERRORS[precision])
    return max(math.inf if math.isnan(share) else share for share in shares)


def differences(engine, given):
    """What differs from the definition in float64, a line a quantity; nothing where the engine is
    right.
    """
    ours, theirs = results(engine, given), results("reference", given)
    assert ours.keys() == theirs.keys()
    rtol, atol = TOLERANCES[torch.float64]
    problems = []
    for name, expected in theirs.items():
        got = ours[name]
        if got.shape != expected.shape or got.dtype != expected.dtype:
            problems.append(
                f"{name} is {got.dtype} {tuple(got.shape)}, "
                f"not {expected.dtype} {tuple(expected.shape)}"
            )
        elif not torch.allclose(got, expected, rtol=rtol, atol=atol):
            problems.append(f"{name} differs by {(got - expected).abs().max():.1e}")
    return problems


def assert_agrees(engine, given):
    """Fails where `engine` does not give the definition's outputs, final state and gradients,
    naming which.
    """
    problems = differences(engine, given)
    assert not problems, (
        f"{given.layer.cell.name}, biases={given.layer.biases}: {'; '.join(problems)}"
    )


def assert_same(ours, theirs):
    """Fails where two sets of results are not equal bit for bit."""
    different = [name for name, value in theirs.items() if not torch.equal(ours[name], value)]
    assert ours.keys() == theirs.keys()
    assert not different, f"not equal bit for bit: {', '.join(different)}"


def with_leaves(given, leaves):
    return replace(
        given,
        parameters={name: leaves.get(name, value) for name, value in given.parameters.items()},
        inputs=leaves.get("input", given.inputs),
        state=tuple(leaves.get(f"initial state {k}", s) for k, s in enumerate(given.state)),
    )
