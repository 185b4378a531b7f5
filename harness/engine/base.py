"""What training and an engine know of each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cells.base import Cell
from harness.engine.rounding import product

Parameters = dict[str, Tensor]
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Layer:
    """One recurrent layer as an engine sees it.

    The parameters of a call follow ``cell.parameters``, with a leading N.

    Attributes:
        cell: The equations.
        hidden_size: H.
        biases: 1 or 2 a gate.
        precision: What the operands of products are rounded to.
        threads: How many threads a call may use.
    """

    cell: type[Cell]
    hidden_size: int
    biases: int
    precision: str
    threads: int = 1


class Tape(Protocol):
    """A layer's forward pass in training, and the way back.

    Attributes:
        outputs: (T, N, B, H), or (T, N, B, P) where the cell projects them.
        final: The final state, (N, B, H) each.
    """

    outputs: Tensor
    final: State

    def backward(
        self,
        outputs: Tensor,
        gradients: Parameters,
        inputs: bool,
        start: Sequence[Tensor] | None = None,
    ) -> Tensor | None:
        """Writes the gradient of every parameter; can be called once.

        Args:
            outputs: The gradient of the outputs; the final state has none.
            gradients: Name -> (N, ...), where to write.
            inputs: Whether to return the gradient of float inputs, (T, N, B, I).
            start: Where to write the gradient of the state before the first step, (N, B, H) each;
                None: nowhere.
        """
        ...


class Engine(Protocol):
    """How a cell's recurrence is executed.

    Attributes:
        name: What a study calls the engine.
        general_device: The type of device on which the engine is meant to run every cell, so that
            a refusal there is worth a note; None where it is meant for some cells only.
        has_kernels: Whether compiled kernels do what surrounds the layers too, on a CPU: the
            read-out, the masks and the step of the optimizer.
    """

    name: str
    general_device: str | None
    has_kernels: bool

    def refusal(self, cell: type[Cell], device: str, precision: str, biases: int = 1) -> str | None:
        """Returns why this engine does not run the cell there, or None where it does.

        An engine that compiles a cell's code has compiled that of a layer with so many biases then.
        """
        ...

    def layer_refusal(self, layer: Layer, device: torch.device) -> str | None:
        """Returns why this engine does not run a layer on this very device, or None where it does.

        It runs the layer's cell; its size may be too large.
        """
        ...

    def note(self, precision: str) -> str | None:
        """Returns what makes this engine slower here than it could be, or None."""
        ...

    def run(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Runs a layer over all time steps; differentiable in every float argument but the noise.

        Args:
            layer: What to run.
            parameters: Name -> (N, ...).
            inputs: Tokens (T, N, B), int64, for which W's rows are looked up; or (T, N, B, I).
            state: One (N, B, H) a state of the cell.
            noise: The cell's ``noise`` side by side, (T, N, B, K*H), or (1, N, B, K*H) for all time
                steps.

        Returns:
            The outputs (T, N, B, H), or (T, N, B, P) where the cell projects them, and the final
            state.
        """
        ...

    def forward(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None = None,
    ) -> Tape:
        """Runs a layer as :meth:`run` does, for one update."""
        ...


class AutogradTape:
    """A :class:`Tape` that lets autograd differentiate an engine's ``run``."""

    def __init__(
        self,
        engine: Engine,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None,
    ):
        self._parameters = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        self._inputs = inputs.detach().requires_grad_() if inputs.is_floating_point() else inputs
        self._start = tuple(s.detach().requires_grad_() for s in state)
        with torch.enable_grad():
            self._outputs, final = engine.run(
                layer, self._parameters, self._inputs, self._start, noise
            )
        self.outputs, self.final = self._outputs.detach(), tuple(s.detach() for s in final)

    def backward(
        self,
        outputs: Tensor,
        gradients: Parameters,
        inputs: bool,
        start: Sequence[Tensor] | None = None,
    ) -> Tensor | None:
        """See :class:`Tape`."""
        targets = [*(gradients[name] for name in self._parameters), *(start or ())]
        wanted = [
            *self._parameters.values(),
            *(self._start if start else ()),
            *([self._inputs] if inputs else []),
        ]
        results = torch.autograd.grad(self._outputs, wanted, outputs, materialize_grads=True)
        for target, gradient in zip(targets, results, strict=False):
            target.copy_(gradient)
        return results[-1] if inputs else None


class ByAutograd:
    """What engines share that have no backward pass of their own, and no kernels."""

    general_device: str | None = None
    has_kernels = False

    def layer_refusal(self, layer: Layer, device: torch.device) -> str | None:
        """See :class:`Engine`."""
        return None

    def note(self, precision: str) -> str | None:
        """See :class:`Engine`."""
        return None

    def forward(
        self: Engine,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None = None,
    ) -> Tape:
        """See :class:`Engine`."""
        return AutogradTape(self, layer, parameters, inputs, state, noise)


def prepared(layer: Layer, parameters: Parameters, inputs: Tensor) -> Parameters:
    """Returns what a layer multiplies with, computed from its parameters.

    Raises:
        ValueError: The step reads its input, which is a token or of another size than H.
    """
    size = layer.hidden_size
    if layer.cell.reads_input and (not inputs.is_floating_point() or inputs.shape[3] != size):
        got = f"size={inputs.shape[3]}" if inputs.is_floating_point() else "tokens"
        raise ValueError(
            f"{layer.cell.name}: must have inputs of hidden_size={size}, which it reads, "
            f"but got {got}."
        )
    return layer.cell.prepared(parameters)


def emitted(layer: Layer, parameters: Parameters, outputs: Tensor) -> Tensor:
    """Returns what the layer above sees: the first states (T, N, B, H), or their projection."""
    if not layer.cell.projects:
        return outputs
    return by_time(product(by_run(outputs), parameters["P"], layer.precision), outputs.shape[0])


def by_run(values: Tensor) -> Tensor:
    """Returns (T, N, B, ...) as (N, T*B, ...)."""
    return values.transpose(0, 1).flatten(1, 2)


def by_time(rows: Tensor, num_steps: int) -> Tensor:
    """Returns (N, T*B, H) as (T, N, B, H): what :func:`by_run` was given."""
    by_step: Tensor = rows.unflatten(1, (num_steps, -1))
    return by_step.transpose(0, 1)


class PreparedTape:
    """A :class:`Tape` of a layer whose products take matrices computed from its parameters."""

    def __init__(
        self,
        layer: Layer,
        parameters: Parameters,
        prepare: Callable[[Parameters], Parameters],
        make: Callable[[Parameters], Tape],
    ):
        """Takes what prepares the parameters, and what makes a tape of the prepared ones."""
        self._parameters = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        with torch.enable_grad():
            self._prepared = prepare(self._parameters)
        self._layer, self._tape = (
            layer,
            make({name: p.detach() for name, p in self._prepared.items()}),
        )
        self.outputs, self.final = emitted(layer, parameters, self._tape.outputs), self._tape.final

    def backward(
        self,
        outputs: Tensor,
        gradients: Parameters,
        inputs: bool,
        start: Sequence[Tensor] | None = None,
    ) -> Tensor | None:
        """See :class:`Tape`."""
        # Zeros, since the tape writes no gradient of what its layer does not use.
        prepared_gradients = {name: p.new_zeros(p.shape) for name, p in self._prepared.items()}
        seen, given = self._tape.outputs, outputs
        if self._layer.cell.projects:
            back = product(
                by_run(given), self._parameters["P"].detach().transpose(1, 2), self._layer.precision
            )
            outputs = by_time(back, len(seen))
        input_gradient = self._tape.backward(outputs, prepared_gradients, inputs, start)
        computed = {name: p for name, p in self._prepared.items() if p.requires_grad}
        parameter_gradients = torch.autograd.grad(
            list(computed.values()),
            list(self._parameters.values()),
            [prepared_gradients[name] for name in computed],
            materialize_grads=True,
            allow_unused=True,
        )
        for name, gradient in zip(self._parameters, parameter_gradients, strict=True):
            gradients[name].copy_(gradient)
        if self._layer.cell.projects:
            gradients["P"] += product(
                by_run(seen).transpose(1, 2), by_run(given), self._layer.precision
            )
        return input_gradient


def is_exporting() -> bool:
    """Returns whether torch traces a graph to export it.

    The tracer of torch.compile, which in torch 2.9 takes each of its graphs for one, is not meant.
    """
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()


def initial_state(
    cell: type[Cell], num_runs: int, batch_size: int, hidden_size: int, like: Tensor
) -> State:
    """Returns the state at the start of a stream, (N, B, H) each.

    ``like`` gives dtype and device.
    """
    shape = (num_runs, batch_size, hidden_size)
    return tuple(like.new_full(shape, cell.start.get(name, 0.0)) for name in cell.state)
