"""Lookup or projection -> stacked cells -> read-out. Every parameter has a leading run axis N."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from harness.engine import (
    Engine,
    Parameters,
    State,
    initial_state,
    lookup,
    lookup_gradient,
    product,
)
from harness.engine.base import Tape, by_run, by_time
from harness.model.architecture import Architecture, start_name
from harness.model.loss_terms import LossTerms
from harness.model.masks import Masks
from harness.model.readout import Gradients, Readout
from harness.model.regularization import NONE, StepRegularization, regularization_of, regularized
from harness.settings import Settings


class Model:
    """An architecture on an engine.

    Holds no parameters: they come with each call, (N, ...) each.
    """

    def __init__(
        self,
        arch: Architecture,
        engine: Engine,
        threads: int = 1,
        regularization: StepRegularization = NONE,
    ):
        """Takes the engine, how many threads a call may use, and what acts within a step."""
        self.arch = arch
        self.engine = engine
        self.threads = threads
        self.cell = regularized(arch.cell, regularization)
        self._layer = replace(arch.layer, cell=self.cell, threads=threads)
        names = [slot.name for slot in arch.slots()]
        prefixes = [f"layer{index}." for index in range(arch.num_layers)]
        self._names = [
            {n.removeprefix(prefix): n for n in names if n.startswith(prefix)}
            for prefix in prefixes
        ]

    def for_runs(self, settings: Sequence[Settings]) -> "Model":
        """Returns the model with the regularization of runs that advance together."""
        return Model(
            self.arch, self.engine, self.threads, regularization_of(self.arch.cell, settings)
        )

    def initial_states(self, parameters: Parameters, num_runs: int, batch_size: int) -> list[State]:
        """Returns the state at the start of a stream, one a layer."""
        arch, like, learned = self.arch, parameters["readout.b"], self.arch.learned_states()
        constant = initial_state(arch.cell, num_runs, batch_size, arch.hidden_size, like)

        def start(index: int, name: str, value: Tensor) -> Tensor:
            if name not in learned:
                return value
            return parameters[start_name(index, name)].unsqueeze(1).expand_as(value)

        named = list(zip(arch.cell.state, constant, strict=True))
        return [tuple(start(index, *each) for each in named) for index in range(arch.num_layers)]

    def readout(
        self,
        parameters: Parameters,
        gradients: Parameters | None = None,
        terms: LossTerms | None = None,
    ) -> Readout:
        """Returns the read-out of the rows that a call returns.

        It may write the gradients of its parameters into ``gradients``.
        """
        precision, threads = self.arch.precision, self.threads if self.engine.has_kernels else None
        smoothing = None if terms is None else terms.label_smoothing
        bias = parameters["readout.b"]
        if self.arch.tied:
            table = parameters["lookup.W"].transpose(1, 2).contiguous()
            return Readout(table, bias, precision, threads, smoothing=smoothing)
        homes = None if gradients is None else (gradients["readout.W"], gradients["readout.b"])
        return Readout(parameters["readout.W"], bias, precision, threads, homes, smoothing)

    def __call__(
        self,
        parameters: Parameters,
        inputs: Tensor,
        states: list[State],
        masks: Masks | None = None,
    ) -> tuple[Tensor, list[State]]:
        """Returns the rows for the read-out, (N, T*B, H), and the final states.

        The rows are the last layer's outputs.

        Args:
            parameters: Name -> (N, ...).
            inputs: Tokens, (T, N, B), int64; or vectors, (T, N, B, I).
            states: One a layer.
            masks: Their means stand for them; needed where the cell has any ``noise``.
        """
        values = self._lookup(parameters, inputs)
        finals = []
        for index, (names, state) in enumerate(zip(self._names, states, strict=True)):
            given = None if masks is None else masks.expected(self.cell, state[0])
            outputs, final = self.engine.run(
                self._layer, _of_layer(parameters, names), values, state, given
            )
            values = self._with_skip(index, outputs, values)
            finals.append(final)
        return by_run(values), finals

    def update(
        self,
        parameters: Parameters,
        gradients: Parameters,
        inputs: Tensor,
        states: list[State],
        loss: Callable[[Readout, Tensor], tuple[Tensor, Gradients]],
        masks: Masks | None = None,
        begins: Tensor | None = None,
        terms: LossTerms | None = None,
        weights: Tensor | None = None,
    ) -> tuple[Tensor, list[State]]:
        """Returns the losses (N,) and the final states, and writes all ``gradients``.

        Args:
            parameters: Name -> (N, ...).
            gradients: Likewise, overwritten.
            inputs: Tokens, (T, N, B), int64; or vectors, (T, N, B, I).
            states: One a layer; no gradient flows into them but where they are a learned start.
            loss: Maps the read-out and the last layer's rows to the losses (N,), and to the
                gradients to begin with.
            masks: Those of this update; needed where the cell has any ``noise``.
            begins: 1 where the states are the start of a stream, else 0, of no axes; needed for a
                learned start.
            terms: What else the gradients are of; None: of the losses alone.
            weights: How often each time step counts in these terms, (T, N, B); None where all count
                once.
        """
        masks = Masks([], [], inputs.device) if masks is None else masks
        values = self._dropped_lookup(inputs, self._lookup(parameters, inputs), masks)
        tapes = []
        for index, state in enumerate(states):
            values = masks.inputs(index, values) if values.is_floating_point() else values
            given = masks.steps(index, self.cell, state[0], len(inputs))
            layer_parameters = self._dropped(
                index, _of_layer(parameters, self._names[index]), masks
            )
            tapes.append(self.engine.forward(self._layer, layer_parameters, values, state, given))
            values = self._with_skip(index, tapes[-1].outputs, values)
            outputs = values
            values = (
                masks.readout(values) if index == len(states) - 1 else masks.outputs(index, values)
            )
        readout = self.readout(parameters, gradients, terms)
        losses, readout_gradients = loss(readout, by_run(values))
        seen = by_time(readout_gradients.rows, len(values))
        if terms is not None:
            seen = terms.with_activation(seen, values, weights)
        seen = masks.readout(seen)
        ahead: Tensor | None = seen
        if terms is not None:
            ahead = terms.with_temporal(seen, outputs, weights)
        for index in reversed(range(len(tapes))):
            assert ahead is not None
            ahead = ahead if index == len(tapes) - 1 else masks.outputs(index, ahead)
            ahead = self._back(index, tapes[index], ahead, gradients, masks, begins)
        if ahead is not None:
            ahead = self._dropped_lookup(inputs, ahead, masks)
            gradients["lookup.W"].copy_(self._lookup_gradient(parameters, inputs, ahead))
        self._take(readout_gradients, gradients)
        return losses, [tape.final for tape in tapes]

    def _back(
        self,
        index: int,
        tape: Tape,
        outputs: Tensor,
        gradients: Parameters,
        masks: Masks,
        begins: Tensor | None,
    ) -> Tensor | None:
        """Writes the gradients of a layer's parameters, given that of its outputs.

        Returns:
            The gradient of the layer's inputs, None for those of the model.
        """
        layer_gradients = _of_layer(gradients, self._names[index])
        has_gradient = index > 0 or self.arch.embedding_size is not None
        start = [torch.empty_like(s) for s in tape.final] if self.arch.learned_start else None
        input_gradient = tape.backward(outputs, layer_gradients, has_gradient, start)
        for name, gradient in self._dropped(index, layer_gradients, masks).items():
            if gradient is not layer_gradients[name]:
                layer_gradients[name].copy_(gradient)
        if start is not None:
            assert begins is not None
            start_gradients = dict(zip(self.arch.cell.state, start, strict=True))
            for name in self.arch.learned_states():
                torch.mul(
                    start_gradients[name].sum(1), begins, out=gradients[start_name(index, name)]
                )
        if input_gradient is None:
            return None
        return masks.inputs(index, self._with_skip(index, input_gradient, outputs))

    def _take(self, readout_gradients: Gradients, gradients: Parameters) -> None:
        """Puts the read-out's gradients where they belong; it may have written them there."""
        if self.arch.tied:
            gradients["lookup.W"] += readout_gradients.weight.transpose(1, 2)
        elif readout_gradients.weight.data_ptr() != gradients["readout.W"].data_ptr():
            gradients["readout.W"].copy_(readout_gradients.weight)
        if readout_gradients.bias.data_ptr() != gradients["readout.b"].data_ptr():
            gradients["readout.b"].copy_(readout_gradients.bias)

    def _with_skip(self, index: int, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Returns a layer's outputs plus its inputs where there is a residual connection.

        The gradients of both are treated alike.
        """
        return outputs + inputs if self.arch.residual and index > 0 else outputs

    def _dropped(self, index: int, parameters: Parameters, masks: Masks) -> Parameters:
        """Returns a layer's parameters with DropConnect on the recurrent matrices.

        The gradients of both are treated alike.
        """
        return parameters | {
            name: masks.weights(index, name, parameters[name])
            for name in self.cell.recurrent_products()
        }

    def _dropped_lookup(self, inputs: Tensor, values: Tensor, masks: Masks) -> Tensor:
        """Returns the vectors of inputs with dropout; the gradients of both are treated alike."""
        if self.arch.embedding_size is None:
            return values
        return masks.lookup(
            inputs if self.arch.reads_tokens else None, self.arch.num_inputs, values
        )

    def _lookup(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Returns what the first layer reads: the inputs, their rows of a table, or a product."""
        if self.arch.embedding_size is None:
            return inputs
        if self.arch.reads_tokens:
            return lookup(parameters["lookup.W"], inputs)
        rows = product(by_run(inputs), parameters["lookup.W"], self.arch.precision)
        return by_time(rows, len(inputs))

    def _lookup_gradient(self, parameters: Parameters, inputs: Tensor, ahead: Tensor) -> Tensor:
        """Returns the gradient of the table, or of the matrix, given that of :meth:`_lookup`."""
        if self.arch.reads_tokens:
            return lookup_gradient(parameters["lookup.W"], inputs, ahead)
        return product(by_run(inputs).transpose(1, 2), by_run(ahead), self.arch.precision)


def _of_layer(values: Parameters, names: dict[str, str]) -> Parameters:
    """Returns a layer's part of ``values``, under the names that its cell gives."""
    return {name: values[full] for name, full in names.items()}
