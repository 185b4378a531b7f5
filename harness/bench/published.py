"""The yardsticks: torch.nn as its users write it, and the loop over time as it is published.

The loop is that of the source notebooks. Both train one run at a time on all threads, with torch's
own loss, clipping and SGD, from the weights and on the minibatches that the engines have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cells.base import split_gates, unchanged
from harness import timing
from harness.bench.record import COMPILED, EMBEDDING, PREBUILT
from harness.engine import Parameters, State
from harness.engine.native import to_torch
from harness.model.architecture import Architecture, architecture
from harness.model.initialization import initial_parameters
from harness.settings import Settings
from harness.tasks.language_modelling import LanguageModelling

Batches = list[tuple[Tensor, Tensor]]
"""The inputs (T, B), or one-hot rows (T, B, V), and the targets (T*B,) of each minibatch."""
Network = Callable[[Tensor, State | None], tuple[Tensor, State]]
"""Inputs and the state, None at the start -> scores (T*B, V) and the final state."""


class TorchNN:
    """The class of torch.nn that a cell must equal, under a linear read-out.

    Tokens become one-hot rows here.
    """

    def __init__(self, arch: Architecture, initial: Parameters):
        """Takes over one run's initial parameters, without the run axis."""
        assert arch.cell.reference is not None
        name, arguments = arch.cell.reference
        like = initial["readout.W"]
        self._num_tokens, self._dtype = arch.num_inputs, like.dtype
        input_size = len(initial["layer0.W"])
        layer = getattr(torch.nn, name)(input_size, arch.hidden_size, **dict(arguments))
        self._layer = layer.to(like.device, like.dtype)
        parameters = {
            key.removeprefix("layer0."): value
            for key, value in initial.items()
            if key.startswith("layer0.")
        }
        self._layer.load_state_dict(to_torch(arch.layer, parameters))
        self._readout = torch.nn.Linear(arch.hidden_size, arch.num_outputs).to(
            like.device, like.dtype
        )
        self._readout.load_state_dict(
            {"weight": initial["readout.W"].t(), "bias": initial["readout.b"]}
        )

    def parameters(self) -> list[Tensor]:
        """Returns what is trained."""
        return [*self._layer.parameters(), *self._readout.parameters()]

    def encode(self, tokens: Tensor) -> Tensor:
        """Returns one-hot rows (T, B, V) of tokens (T, B)."""
        return functional.one_hot(tokens, self._num_tokens).to(self._dtype)

    def __call__(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        """See ``Network``."""
        rows = inputs if inputs.is_floating_point() else self.encode(inputs)
        carried = state if state is None or len(state) > 1 else state[0]
        outputs, final = self._layer(rows, carried)
        return self._readout(outputs.flatten(0, 1)), final if isinstance(final, tuple) else (final,)


class Embedded:
    """The same behind ``nn.Embedding``, as users of large vocabularies write it.

    Its table has V rows of H, and the layer multiplies them by an H x G*H matrix, where the cell
    looks up rows of G*H: another model with other arithmetic.
    """

    def __init__(self, arch: Architecture, initial: Parameters):
        """Takes over one run's initial parameters, the table of an embedding among them."""
        self._table = torch.nn.Embedding.from_pretrained(initial["lookup.W"].clone(), freeze=False)
        self._network = TorchNN(arch, initial)

    def parameters(self) -> list[Tensor]:
        """Returns what is trained."""
        return [*self._table.parameters(), *self._network.parameters()]

    def __call__(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        """See ``Network``."""
        return self._network(self._table(inputs), state)


class _Parts:
    """Attributes by name: what ``Cell.step`` reads, in a form that torch's compiler can follow."""

    def __init__(self, parts: Mapping[str, Any]):
        for name, part in parts.items():
            setattr(self, name, part)


class Loop:
    """A cell's loop as the sources write it, for any cell; there is no axis of runs.

    In each time step it computes a product of the one-hot rows and one of the state for every gate,
    and the read-out; the outputs are concatenated at the end.
    """

    def __init__(self, arch: Architecture, initial: Parameters):
        """Takes over one run's initial parameters: a tensor of its own for every gate."""
        self._cell, self._size = arch.cell, arch.hidden_size
        self._num_tokens, self._dtype = arch.num_inputs, initial["readout.W"].dtype
        blocks = {
            slot.name: (slot.gates, initial[slot.name].chunk(len(slot.gates), dim=-1))
            for slot in arch.slots()
        }
        self._named = {
            name: {
                gate: part.clone().requires_grad_() for gate, part in zip(gates, parts, strict=True)
            }
            for name, (gates, parts) in blocks.items()
        }
        self._unrolled = self._loop

    def _readout(self, h: Tensor) -> Tensor:
        return torch.matmul(h, self._named["readout.W"][""]) + self._named["readout.b"][""]

    def _made(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
        """Returns what the step multiplies with: matrices gate by gate, and vectors.

        The cell may compute them from the parameters.
        """
        products = self._cell.recurrent_products()
        matrices = {name: self._named[f"layer0.{name}"] for name in products}
        vectors = {name: self._named[f"layer0.{name}"] for name in self._cell.vectors}
        if not self._cell.is_prepared():
            return matrices, {name: parts[""] for name, parts in vectors.items()}
        projection = {"P": self._named["layer0.P"]} if self._cell.projects else {}
        blocks = {**matrices, **vectors, **projection}
        prepared = self._cell.prepared(
            {name: torch.cat(list(parts.values()), -1)[None] for name, parts in blocks.items()}
        )
        return {
            name: vars(split_gates(prepared[name][0], gates)) for name, gates in products.items()
        }, {name: prepared[name][0] for name in vectors}

    def _product(self, matrices: dict[str, Tensor], bias: str) -> Callable[[Tensor], _Parts]:
        biases = self._named.get(f"layer0.{bias}", {})

        def call(rows: Tensor) -> _Parts:
            products = {gate: torch.matmul(rows, weight) for gate, weight in matrices.items()}
            return _Parts(
                {gate: r + biases[gate] if gate in biases else r for gate, r in products.items()}
            )

        return call

    def compile(self) -> None:
        """Puts torch's compiler before the loop; it works when the loop is first called."""
        config = torch._dynamo.config
        many = 10_000  # one function has a variant for every cell
        config.recompile_limit = config.accumulated_recompile_limit = many
        config.fail_on_recompile_limit_hit = True
        self._unrolled = torch.compile(self._loop, fullgraph=True, dynamic=False)

    def parameters(self) -> list[Tensor]:
        """Returns what is trained."""
        return [part for parts in self._named.values() for part in parts.values()]

    def __call__(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        """See ``Network``."""
        if state is None:
            shape, start = (inputs.shape[1], self._size), self._cell.start
            like = self._named["readout.W"][""]
            state = tuple(like.new_full(shape, start.get(name, 0.0)) for name in self._cell.state)
        return self._unrolled(inputs, state)

    def _loop(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        made, vectors = self._made()
        products = {name: self._product(parts, f"b_{name}") for name, parts in made.items()}
        step, p = self._cell().step, _Parts({**products, **vectors, "drop": unchanged})
        multiplied = self._product(self._named.get("layer0.W", {}), "b")
        scores = []
        for rows in functional.one_hot(inputs, self._num_tokens).to(self._dtype):
            if self._cell.reads_input:
                rows = torch.matmul(rows, self._named["lookup.W"][""])
            state = step(p, _Parts({**vars(multiplied(rows)), "input": rows}), *state)
            outputs = state[0]
            if self._cell.projects:
                outputs = torch.matmul(outputs, self._named["layer0.P"][""])
            scores.append(self._readout(outputs))
        return torch.cat(scores, dim=0), state


class Script:
    """One run's training and forward passes around a network, as a user of torch writes them."""

    def __init__(
        self, network: Network, parameters: list[Tensor], batches: Batches, settings: Settings
    ):
        """Takes the ``batches`` of an epoch: inputs, and targets (T*B,)."""
        self._network, self._parameters, self._batches = network, parameters, batches
        assert settings.clip_norm is not None
        self._clip_norm = settings.clip_norm
        self._optimizer = torch.optim.SGD(parameters, lr=settings.learning_rate)
        self._update = 0
        self._state: State | None = None
        self.loss = torch.tensor(float("nan"))
        """The loss of the latest minibatch, before its update."""

    def train_once(self) -> None:
        """Trains one update; the state is carried over the epoch's minibatches."""
        index = self._update % len(self._batches)
        inputs, targets = self._batches[index]
        scores, state = self._network(inputs, None if index == 0 else self._state)
        loss = functional.cross_entropy(scores, targets)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self._optimizer.step()
        self._state = tuple(s.detach() for s in state)
        self._update, self.loss = self._update + 1, loss.detach()

    @torch.no_grad()
    def forward_once(self) -> None:
        """Runs the first minibatch forward from the start, its loss included."""
        inputs, targets = self._batches[0]
        scores, _ = self._network(inputs, None)
        functional.cross_entropy(scores, targets)


class InSequence:
    """The runs of a pack one after another, each on all threads."""

    def __init__(self, scripts: list[Script], threads: int, device: torch.device):
        self.scripts, self._threads, self._device = scripts, threads, device
        self.notes: Sequence[str] = ()

    def train(self, count: int) -> None:
        """See :class:`harness.bench.subjects.Subject`."""
        self._each(count, Script.train_once)

    def forward(self, count: int) -> None:
        """See :class:`harness.bench.subjects.Subject`."""
        self._each(count, Script.forward_once)

    def _each(self, count: int, once: Callable[[Script], None]) -> None:
        torch.set_num_threads(self._threads)
        for script in self.scripts:
            for _ in range(count):
                once(script)
        timing.synchronize(self._device)

    def close(self) -> None:
        """Does nothing: there is nothing to end."""


def torch_nn(settings: Settings, pack: int, form: str) -> InSequence:
    """Returns a pack of the cell's class in torch.nn.

    ``form`` says when its one-hot rows are computed, or that an embedding takes their place.
    """
    if form == EMBEDDING:
        settings = replace(settings, embedding_size=settings.hidden_size)
    scripts = [_torch_nn_script(settings, index, form) for index in range(pack)]
    return _in_sequence(scripts, settings)


def _torch_nn_script(settings: Settings, index: int, form: str) -> Script:
    arch, initial, batches = _given(settings, index)
    if form == EMBEDDING:
        embedded = Embedded(arch, initial)
        return Script(embedded, embedded.parameters(), batches, settings)
    network = TorchNN(arch, initial)
    if form == PREBUILT:
        batches = [(network.encode(inputs), targets) for inputs, targets in batches]
    return Script(network, network.parameters(), batches, settings)


def loop(settings: Settings, form: str) -> InSequence:
    """Returns one run of the cell's loop, as published or compiled."""
    arch, initial, batches = _given(settings, 0)
    network = Loop(arch, initial)
    if form == COMPILED:
        network.compile()
    return _in_sequence([Script(network, network.parameters(), batches, settings)], settings)


def _in_sequence(scripts: list[Script], settings: Settings) -> InSequence:
    assert settings.threads is not None
    return InSequence(scripts, settings.threads, torch.device(settings.device))


def _given(settings: Settings, index: int) -> tuple[Architecture, Parameters, Batches]:
    """Returns what run ``index`` of a pack is given.

    That is its architecture, its initial parameters without the run axis, and its first epoch.
    """
    task = LanguageModelling(settings, torch.device(settings.device))
    arch = architecture(settings, task.num_inputs, task.num_outputs)
    initial = initial_parameters(arch, settings, (index,))
    dtype = {"float64": torch.float64, "bf16": torch.bfloat16}.get(
        settings.precision, torch.float32
    )
    if settings.device == "cpu" and dtype is torch.bfloat16:
        dtype = torch.float32  # the engines' products round their operands there; torch's do not
    parameters = {name: value.to(settings.device, dtype) for name, value in initial.items()}
    (starts,) = task.epoch([(index,)], 0)
    epoch = [task.batch(each) for each in starts]
    batches = [(batch.inputs[:, 0].contiguous(), batch.targets[:, 0].flatten()) for batch in epoch]
    return arch, parameters, batches
