"""Lookup or projection -> stacked cells -> read-out. Every parameter has a leading run axis N."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor

from harness.engine import (
    Engine,
    Layer,
    Parameters,
    State,
    initial_state,
    lookup,
    lookup_gradient,
    product,
)
from harness.engine.base import Tape, by_run, by_time
from harness.model.architecture import Architecture, Direction, start_name
from harness.model.loss_terms import LossTerms
from harness.model.masks import Masks
from harness.model.reading_order import from_the_end, reordered
from harness.model.readout import Gradients, Readout
from harness.model.regularization import (
    NONE,
    StepRegularization,
    regularization_of,
    regularizations_within,
    regularized,
)
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
        directions = arch.directions()
        self._layers = [
            [each for each in directions if each.layer == index] for index in range(arch.num_layers)
        ]
        names = [slot.name for slot in arch.slots()]
        prefixes = {each: f"layer{each.place}." for each in directions}
        self._names = {
            each: {n.removeprefix(prefix): n for n in names if n.startswith(prefix)}
            for each, prefix in prefixes.items()
        }

    def for_runs(self, settings: Sequence[Settings]) -> "Model":
        """Returns the model with the regularization of runs that advance together."""
        return Model(
            self.arch, self.engine, self.threads, regularization_of(self.arch.cell, settings)
        )

    def layers_of(self, settings: Sequence[Settings]) -> list[Layer]:
        """Returns what each layer is to the engine, for all groups of these runs."""
        all_of_them = regularizations_within(self.arch.cell, settings)
        return [replace(self._layer, cell=regularized(self.arch.cell, one)) for one in all_of_them]

    def on_threads(self, threads: int) -> "Model":
        """Returns the model with calls that may use so many threads."""
        model = copy(self)
        model.threads, model._layer = threads, replace(self._layer, threads=threads)
        return model

    def initial_states(self, parameters: Parameters, num_runs: int, batch_size: int) -> list[State]:
        """Returns the state at the start of a stream, one a layer and direction."""
        arch, like, learned = self.arch, parameters["readout.b"], self.arch.learned_states()
        constant = initial_state(arch.cell, num_runs, batch_size, arch.hidden_size, like)

        def start(direction: Direction, name: str, value: Tensor) -> Tensor:
            if name not in learned:
                return value
            return parameters[start_name(direction.place, name)].unsqueeze(1).expand_as(value)

        named = list(zip(arch.cell.state, constant, strict=True))
        return [tuple(start(each, *pair) for pair in named) for each in arch.directions()]

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
        weights: Tensor | None = None,
    ) -> tuple[Tensor, list[State]]:
        """Returns the rows for the read-out, (N, T*B, H), and the final states.

        The rows are the last layer's outputs; a bidirectional model's are twice as wide.

        Args:
            parameters: Name -> (N, ...).
            inputs: Tokens, (T, N, B), int64; or vectors, (T, N, B, I).
            states: One a layer and direction.
            masks: Their means stand for them; needed where the cell has any ``noise``.
            weights: How often each time step counts, (T, N, B); None where all do. A bidirectional
                model reads a sequence from its last time step that counts.
        """
        order = self._order(inputs, weights)
        values, given, finals = self._lookup(parameters, inputs), iter(states), []
        for index, directions in enumerate(self._layers):
            outputs = []
            for each in directions:
                state = next(given)
                noise = None if masks is None else masks.expected(self.cell, state[0])
                output, final = self.engine.run(
                    self._layer,
                    _of_layer(parameters, self._names[each]),
                    _as_read(each, values, order),
                    state,
                    noise,
                )
                outputs.append(_as_read(each, output, order))
                finals.append(final)
            values = self._with_skip(index, _side_by_side(outputs), values)
        return by_run(self._as_answered(values, order)), finals

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
            states: One a layer and direction; no gradient flows into them but where they are a
                learned start.
            loss: Maps the read-out and the last layer's rows to the losses (N,), and to the
                gradients to begin with.
            masks: Those of this update; needed where the cell has any ``noise``.
            begins: 1 where the states are the start of a stream, else 0, of no axes; needed for a
                learned start.
            terms: What else the gradients are of; None: of the losses alone.
            weights: How often each time step counts in these terms, (T, N, B), and where a
                sequence ends; None where all count once.
        """
        masks = Masks([], [], inputs.device) if masks is None else masks
        order, given = self._order(inputs, weights), iter(states)
        values = self._dropped_lookup(inputs, self._lookup(parameters, inputs), masks)
        tapes = list[list[Tape]]()
        for index, directions in enumerate(self._layers):
            values = masks.outputs(index - 1, values) if index > 0 else values
            values = masks.inputs(index, values) if values.is_floating_point() else values
            tapes.append(
                [
                    self._forward(each, parameters, values, next(given), masks, order)
                    for each in directions
                ]
            )
            outputs = [
                _as_read(each, tape.outputs, order)
                for each, tape in zip(directions, tapes[-1], strict=True)
            ]
            values = self._with_skip(index, _side_by_side(outputs), values)
        last = self._as_answered(values, order)
        values = masks.readout(last)
        readout = self.readout(parameters, gradients, terms)
        losses, readout_gradients = loss(readout, by_run(values))
        seen = by_time(readout_gradients.rows, len(values))
        if terms is not None:
            seen = terms.with_activation(seen, values, weights)
        seen = masks.readout(seen)
        if terms is not None:
            seen = terms.with_temporal(seen, last, weights)
        ahead: Tensor | None = self._as_answered(seen, order)
        for index in reversed(range(len(tapes))):
            assert ahead is not None
            ahead = ahead if index == len(tapes) - 1 else masks.outputs(index, ahead)
            ahead = self._back(index, tapes[index], ahead, gradients, masks, begins, order)
        if ahead is not None:
            ahead = self._dropped_lookup(inputs, ahead, masks)
            gradients["lookup.W"].copy_(self._lookup_gradient(parameters, inputs, ahead))
        self._take(readout_gradients, gradients)
        return losses, [tape.final for of_layer in tapes for tape in of_layer]

    def _order(self, inputs: Tensor, weights: Tensor | None) -> Tensor | None:
        """Returns the order of a second direction, None where there is none."""
        return from_the_end(inputs, weights) if self.arch.bidirectional else None

    def _as_answered(self, values: Tensor, order: Tensor | None) -> Tensor:
        """Returns the last layer's outputs, or their gradient, at the steps that are read out.

        Where a sequence has one answer, the outputs of the second direction stand in the order of
        its reading: at the last time step each direction has read all of the sequence.
        """
        if order is None or not self.arch.has_one_answer:
            return values
        first, second = values.chunk(2, 3)
        return torch.cat([first, reordered(second, order)], 3)

    def _forward(
        self,
        direction: Direction,
        parameters: Parameters,
        values: Tensor,
        state: State,
        masks: Masks,
        order: Tensor | None,
    ) -> Tape:
        """Returns what a direction of a layer makes of the layer's inputs, in its own order."""
        own = _of_layer(parameters, self._names[direction])
        noise = masks.steps(direction.place, self.cell, state[0], len(values))
        return self.engine.forward(
            self._layer,
            self._dropped(direction, own, masks),
            _as_read(direction, values, order),
            state,
            noise,
        )

    def _back(
        self,
        index: int,
        tapes: list[Tape],
        outputs: Tensor,
        gradients: Parameters,
        masks: Masks,
        begins: Tensor | None,
        order: Tensor | None,
    ) -> Tensor | None:
        """Writes the gradients of a layer's parameters, given that of its outputs.

        Returns:
            The gradient of the layer's inputs, None for those of the model.
        """
        below = list[Tensor]()
        parts = outputs.chunk(len(tapes), 3)
        for each, tape, part in zip(self._layers[index], tapes, parts, strict=True):
            ahead = _as_read(each, part, order)
            gradient = self._back_through(each, tape, ahead, gradients, masks, begins)
            below += [] if gradient is None else [_as_read(each, gradient, order)]
        if not below:
            return None
        total = below[0] if len(below) == 1 else below[0] + below[1]
        return masks.inputs(index, self._with_skip(index, total, outputs))

    def _back_through(
        self,
        direction: Direction,
        tape: Tape,
        outputs: Tensor,
        gradients: Parameters,
        masks: Masks,
        begins: Tensor | None,
    ) -> Tensor | None:
        """Does the work of :meth:`_back` for one direction, all in its own order."""
        own = _of_layer(gradients, self._names[direction])
        has_gradient = direction.layer > 0 or self.arch.embedding_size is not None
        start = [torch.empty_like(s) for s in tape.final] if self.arch.learned_start else None
        input_gradient = tape.backward(outputs, own, has_gradient, start)
        for name, gradient in self._dropped(direction, own, masks).items():
            if gradient is not own[name]:
                own[name].copy_(gradient)
        if start is not None:
            assert begins is not None
            starts = dict(zip(self.arch.cell.state, start, strict=True))
            for name in self.arch.learned_states():
                home = gradients[start_name(direction.place, name)]
                torch.mul(starts[name].sum(1), begins, out=home)
        return input_gradient

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

    def _dropped(self, direction: Direction, parameters: Parameters, masks: Masks) -> Parameters:
        """Returns a direction's parameters with DropConnect on the recurrent matrices.

        The gradients of both are treated alike.
        """
        return parameters | {
            name: masks.weights(direction.place, name, parameters[name])
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


def _as_read(direction: Direction, values: Tensor, order: Tensor | None) -> Tensor:
    """Returns values in the order in which a direction reads them, or in the order of time again.

    The gradients of both are treated alike.
    """
    return values if order is None or not direction.is_reverse else reordered(values, order)


def _side_by_side(outputs: list[Tensor]) -> Tensor:
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 3)
