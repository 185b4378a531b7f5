"""A call of a layer's time loop, with which its kernels are tried beside torch's operations."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine.base import Layer, State, initial_state, prepared
from harness.engine.gpu.launches import Layout
from harness.engine.gpu.layout import layout
from harness.engine.persistent.tiling import ROWS
from harness.engine.reference import Reference, input_product, input_table
from harness.engine.rounding import dtype_of

STEPS, RUNS, VOCABULARY = 5, 2, 5
"""T, N and V."""

Named = dict[str, Tensor]


@dataclass(frozen=True)
class Question:
    """A layer's time loop and the arguments of a call, on the CPU.

    Attributes:
        plan: The loop as engine ``gpu`` has it.
        precision: Of its products.
        tokens: (T, N, B); None where the cell reads its input.
        leaves: What has a gradient, by name: ``table`` (N, V, G*H), ``rows`` (N, T, B, G*H),
            ``vectors`` (N, K*H), matrices (N, H, g*H) as ``matrix.NAME``, ``state.0`` and so on
            (N, B, H).
        noise: (N, T, B, M*H).
    """

    plan: Layout
    precision: str
    tokens: Tensor | None
    leaves: Named
    noise: Tensor

    def called(self, run: Callable[..., Sequence[Tensor]], device: torch.device) -> Named:
        """Returns a loop's results and their gradients, by name, on the CPU.

        Args:
            run: Is called with tokens (N, T, B) or None, the table or the rows, vectors, noise,
                matrices by name and states; returns outputs (T, N, B, H) and final states.
            device: Where.
        """
        leaves = {n: v.to(device).detach().requires_grad_() for n, v in self.leaves.items()}
        matrices = {n[7:]: v for n, v in leaves.items() if n.startswith("matrix.")}
        states = tuple(v for n, v in leaves.items() if n.startswith("state."))
        given: dict[str, Tensor | None] = {"rows": None}
        if self.tokens is not None:
            given["table"] = self.tokens.transpose(0, 1).contiguous().to(device)
        found: Named = {}
        for name, tokens in given.items():
            values = run(
                tokens, leaves[name], leaves["vectors"], self.noise.to(device), matrices, states
            )
            total = torch.stack([(_weights(v) * v).sum() for v in values]).sum()
            used = [leaf for leaf in leaves if leaf not in {"rows", "table"} - {name}]
            gradients = torch.autograd.grad(
                total, [leaves[leaf] for leaf in used], allow_unused=True, materialize_grads=True
            )
            found |= {f"{name}: result {k}": value for k, value in enumerate(values)}
            found |= {
                f"{name}: gradient of {leaf}": gradient
                for leaf, gradient in zip(used, gradients, strict=True)
            }
        return {name: value.detach().cpu() for name, value in found.items()}


def _weights(like: Tensor) -> Tensor:
    """Returns numbers between -1 and 1, of which neighbours differ."""
    return torch.arange(like.numel(), device=like.device).view(like.shape).to(like.dtype).sin()


def question(layer: Layer, num_tiles: int = 2) -> Question:
    """Returns a call of the layer with random numbers of the size that training begins with.

    The states are those that the definition comes to, since some cells begin with infinite ones.

    Args:
        layer: What is to be run.
        num_tiles: Groups of rows of each run, each for a block or a cluster; the last one has one
            row.

    Raises:
        Untraceable: The layer's step cannot be traced.
    """
    dtype, size = dtype_of(layer.precision), layer.hidden_size
    draw = functools.partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=dtype)
    batch, width = ROWS * (num_tiles - 1) + 1, size if layer.cell.reads_input else VOCABULARY
    specs = layer.cell.parameters(width, size, layer.biases)
    inputs = draw(STEPS, RUNS, batch, width)
    drawn = {s.name: draw(RUNS, *s.shape(size)) / (size + 1) ** 0.5 for s in specs}
    noise = draw(RUNS, STEPS, batch, len(layer.cell.noise) * size).sigmoid()
    ready = prepared(layer, drawn, inputs)
    vectors = [ready[s.name] for s in specs if s.kind in ("recurrent_bias", "vector")]
    leaves = {
        "rows": input_product(layer, ready, inputs).transpose(0, 1).contiguous(),
        "vectors": torch.cat(vectors, dim=-1) if vectors else draw(RUNS, 0),
    }
    leaves |= {f"matrix.{s.name}": ready[s.name] for s in specs if s.kind == "recurrent"}
    first: State = initial_state(layer.cell, RUNS, batch, size, inputs)
    factors = noise.transpose(0, 1) if layer.cell.noise else None
    _, last = Reference().run(layer, drawn, inputs, first, factors)
    leaves |= {f"state.{k}": state for k, state in enumerate(last)}
    tokens = None
    if not layer.cell.reads_input:
        leaves["table"] = input_table(layer, ready)
        tokens = torch.arange(STEPS * RUNS * batch).view(STEPS, RUNS, batch) * 7 % VOCABULARY
    return Question(layout(layer), layer.precision, tokens, leaves, noise)
