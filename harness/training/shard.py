"""Runs that advance together as one computation.

A shard is a whole pack on an accelerator, and a single run on a CPU: there each run has one thread
from start to end, so that its numbers cannot depend on its pack, on its place in it, or on the
number of threads: every operation sees the same shapes. See docs/decisions/shards.md.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from harness.engine import Parameters, State, allow_tf32, dtype_of
from harness.engine.gpu import trial
from harness.model.initialization import initial_parameters
from harness.model.loss_terms import LossTerms
from harness.model.masks import Masks
from harness.model.network import Model
from harness.settings import SampleRequest
from harness.tasks.task import Batch, Task
from harness.timing import Clock
from harness.training.checkpoint import Checkpoint
from harness.training.cuda_graph import GRAPH_RECORDERS, CapturedStep
from harness.training.flat_parameters import FlatLayout
from harness.training.optimizer import Optimizer
from harness.training.patience import Heard
from harness.training.plan import Run

BatchKind = tuple[tuple[torch.Size, torch.dtype], ...]
"""The shape and dtype of every tensor that a batch is scored with."""
NOTED_UPDATES = 1024
"""So many updates' losses and norms are kept as they came, before they are added up."""


@dataclass
class Progress:
    """What a shard's runs did since the last evaluation point, one value a run.

    All values are read from the device at once.
    """

    train_nats: list[float]
    gradient_norm: list[float]
    clipped_fraction: list[float]
    bad_update: list[int]
    last_loss: list[float]
    update_seconds: list[float]


class Shard:
    """N runs: parameters, optimizer, carried state, sums, and the best parameters so far.

    An update changes tensors in place and makes none that outlives it, so that it can be recorded
    and replayed. ``notes`` says where that failed.
    """

    def __init__(
        self, runs: list[Run], task: Task, model: Model, num_updates: int, device: torch.device
    ):
        settings = runs[0].settings
        self.runs, self.task, self.model, self.device = list(runs), task, model, device
        self.num_updates, self.update = num_updates, 0
        self.stopping = False
        self.notes: list[str] = []
        self._refused: set[str] = set()  # what cannot be recorded
        dtype = dtype_of(settings.precision)
        self._layout = FlatLayout({slot.name: slot.shape for slot in model.arch.slots()})
        self._flat = torch.zeros(len(runs), self._layout.size, dtype=dtype, device=device)
        drawn = [initial_parameters(model.arch, run.settings, run.seed) for run in runs]
        for name, view in self._layout.views(self._flat).items():
            view.copy_(torch.stack([parameters[name] for parameters in drawn]))
        self._flat_best = self._flat.clone()
        self.best_nats = torch.full((len(runs),), math.inf, dtype=torch.float64, device=device)
        self.best_update = torch.zeros(len(runs), dtype=torch.int64, device=device)
        self.bad_update = torch.full((len(runs),), -1, dtype=torch.int64, device=device)
        self.last_loss = torch.full((len(runs),), math.nan, dtype=torch.float64, device=device)
        self.heard: list[list[Heard]] = [[] for _ in runs]
        self._set_up()
        self.states = [
            tuple(s.clone() for s in state) for state in self._first_states(self.parameters)
        ]

    def _set_up(self) -> None:
        """Makes what follows from the runs and the flat tensors."""
        seeds, settings = [run.seed for run in self.runs], [run.settings for run in self.runs]
        self.model = self.model.for_runs(settings)
        self.parameters = self._layout.views(self._flat)
        self.best = self._layout.views(self._flat_best)
        self._flat_gradients = torch.zeros_like(self._flat)
        self._gradients = self._layout.views(self._flat_gradients)
        self.optimizer = Optimizer(
            settings, self._flat, self.num_updates, self._optimizer_backend()
        )
        self.optimizer.hear(self.heard)
        average = self.optimizer.average
        self._flat_evaluated = self._flat if average is None else average
        self.evaluated = self._layout.views(self._flat_evaluated)
        self._masks = Masks(seeds, settings, self.device, self.model.engine.has_kernels)
        self._terms = LossTerms(settings, self.device, self._flat.dtype)
        self._begins = torch.tensor([0.0, 1.0], dtype=self._flat.dtype, device=self.device)
        self._epoch, self._parts = -1, tuple[Tensor, ...]()
        self._recorder = GRAPH_RECORDERS.get(self.device.type)
        self._captured = self._capture("update")
        self._captured_batches: dict[BatchKind, CapturedStep | None] = {}
        self._clear()

    def _optimizer_backend(self) -> Literal["torch", "cpp", "triton"]:
        if self.model.engine.has_kernels:
            return "cpp"
        return "triton" if self.device.type == "cuda" and trial.failure() is None else "torch"

    def _capture(self, name: str) -> CapturedStep | None:
        """Returns what records a step, None where it is run launch by launch."""
        if self._recorder is None or name in self._refused:
            return None
        return CapturedStep(self._recorder(), self.notes, name, self._refused)

    def _clear(self) -> None:
        self._sums = torch.zeros(3, len(self.runs), dtype=torch.float64, device=self.device)
        self._noted: list[tuple[Tensor, ...]] = []
        self._since = 0
        self.clock = Clock(self.device)

    def use_threads(self, count: int) -> None:
        """Lets so many threads work at one run from now on; no number depends on how many."""
        if self.model.threads != count:
            self.model = self.model.on_threads(count)

    def advance(self, to_update: int) -> None:
        """Trains until ``to_update`` updates are done, or ``stopping`` is set.

        Nothing here waits for the device.
        """
        self._allow_tf32()
        self.clock = Clock(self.device)
        while self.update < to_update and not self.stopping:
            self._train_once()
            self.clock.mark()

    @torch.no_grad()
    def forward(self, count: int) -> None:
        """Runs a forward pass and its loss ``count`` times, for a clock outside.

        Nothing of it is kept.
        """
        self._allow_tf32()
        parts = self.task.epoch([run.seed for run in self.runs], 0)
        batch = self.task.batch(*(part[0] for part in parts))
        states = self._first_states(self.parameters)
        for _ in range(count):
            self._scored(self._flat, batch, states)

    def _allow_tf32(self) -> None:
        """Lets products round their operands to TF32, or not, as the runs ask for.

        The flag is one of the process, and packs of other precisions may be alive beside this one.
        """
        allow_tf32(self.runs[0].settings.precision)

    def _train_once(self) -> None:
        epoch, index = divmod(self.update, self.task.updates_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._parts = self.task.epoch([run.seed for run in self.runs], epoch)
        begins = index == 0 or not self.task.carried
        if begins:
            self._leave(self._first_states(self.parameters))
        if self._masks:
            self._masks.update.fill_(self.update)
        inputs = (
            self.optimizer.schedule[self.update],
            self._begins[int(begins)],
            *(part[index] for part in self._parts),
        )
        self._noted.append(
            self._step(*inputs) if self._captured is None else self._captured(self._step, *inputs)
        )
        self.update += 1
        if len(self._noted) == NOTED_UPDATES:
            self._add_up()

    @torch.no_grad()
    def _step(self, schedule: Tensor, begins: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Makes one update and returns losses and norms, (N,) each; ``parts`` are its minibatch's.

        What tells one update from the next is on the device.
        """
        batch = self.task.batch(*parts)
        losses, states = self.model.update(
            self.parameters,
            self._gradients,
            batch.inputs,
            self.states,
            lambda readout, rows: self.task.mean_losses(readout, rows, batch),
            self._masks,
            begins,
            self._terms,
            batch.weights,
        )
        self._leave(states)
        return losses, self.optimizer.step(self._flat, self._flat_gradients, schedule, losses)

    @torch.no_grad()
    def _leave(self, states: list[State]) -> None:
        """Puts the states where the next update finds them."""
        for kept, state in zip(self.states, states, strict=True):
            for buffer, value in zip(kept, state, strict=True):
                buffer.copy_(value)

    def _add_up(self) -> None:
        """Adds what was noted of the last updates to the sums.

        Done one by one, each update would cost several operations.
        """
        if not self._noted:
            return
        # (updates, N) each.
        losses, norms = (torch.stack(column) for column in zip(*self._noted, strict=True))
        summands = losses, norms, self.optimizer.clipped(norms)
        for total, values in zip(self._sums, summands, strict=True):
            total += values.sum(0, dtype=torch.float64)
        finite, alive = torch.isfinite(losses), self.bad_update < 0
        # 1 until the first update that was none.
        moved = (finite & torch.isfinite(norms)).cumprod(0)
        sound = finite & torch.cat([torch.ones_like(moved[:1]), moved[:-1]]).bool()
        last = losses.gather(0, sound.sum(0, keepdim=True).sub_(1).clamp_(min=0)).squeeze(0)
        self.last_loss = torch.where(alive & sound[0], last, self.last_loss)
        stopped = self.update - len(losses) + moved.sum(0)
        self.bad_update = torch.where(alive & (moved[-1] == 0), stopped, self.bad_update)
        self._since += len(losses)
        self._noted.clear()

    def _first_states(self, parameters: Parameters, num_streams: int | None = None) -> list[State]:
        """Returns the states of streams that begin, as many as those of training by default."""
        size = self.runs[0].settings.batch_size if num_streams is None else num_streams
        return self.model.initial_states(parameters, len(self.runs), size)

    def progress(self) -> Progress:
        """Returns what happened since the last call and begins again; waits for the device."""
        durations = self.clock.durations()
        self._add_up()
        nats, norms, clipped = (self._sums / max(1, self._since)).tolist()
        progress = Progress(
            nats, norms, clipped, self.bad_update.tolist(), self.last_loss.tolist(), durations
        )
        self._clear()
        return progress

    @torch.no_grad()
    def evaluate(self, split: str, *, of_best: bool = False) -> list[list[float]]:
        """Returns the means of every run's sums over a split, each target scored once.

        Args:
            split: Its name.
            of_best: Whether the best parameters are scored, and not those of now.
        """
        self._allow_tf32()
        flat = self._flat_best if of_best else self._flat_evaluated
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        first: list[State] = []
        states: list[State] = []
        for batch in self.task.evaluation(split, len(self.runs)):
            # As many streams as its minibatches have, which may be others than those of training.
            first = first or self._first_states(self._layout.views(flat), batch.inputs.shape[2])
            sums, states = self._scored(flat, batch, first if batch.begins else states or first)
            total = total + sums.double()
        means: list[list[float]] = (total / self.task.num_targets(split)).tolist()
        return means

    def _scored(
        self, flat: Tensor, batch: Batch, states: list[State]
    ) -> tuple[Tensor, list[State]]:
        """Returns every run's sums over a batch, (N, K), and the final states."""
        weights = () if batch.weights is None else (batch.weights,)
        leaves = [value for state in states for value in state]
        inputs = (flat, batch.inputs, batch.targets, *leaves, *weights)
        # A graph for each kind of batch: a clock's has no weights or others than an evaluation's,
        # and that of a longer test set has more time steps.
        kind = tuple((value.shape, value.dtype) for value in inputs)
        if kind not in self._captured_batches:
            self._captured_batches[kind] = self._capture("batch of an evaluation")
        captured = self._captured_batches[kind]
        sums, *finals = self._score(*inputs) if captured is None else captured(self._score, *inputs)
        final = iter(finals)
        return sums, [tuple(next(final) for _ in state) for state in states]

    def _score(
        self, flat: Tensor, inputs: Tensor, targets: Tensor, *others: Tensor
    ) -> tuple[Tensor, ...]:
        """Does the work of :meth:`_scored`: tensors in, tensors out, so that it can be recorded.

        The others are the states of all layers, one after the other, and the weights, if any.
        """
        parameters, given = self._layout.views(flat), iter(others)
        states = [tuple(next(given) for _ in state) for state in self.states]
        batch = Batch(inputs, targets, next(given, None))
        rows, finals = self.model(parameters, inputs, states, self._masks, batch.weights)
        sums = self.task.sums(self.model.readout(parameters), rows, batch)
        return sums, *(value for final in finals for value in final)

    def hear(self, losses: list[float]) -> None:
        """Takes in every run's validation loss of now, its criterion: what waits for it may end."""
        for own, loss in zip(self.heard, losses, strict=True):
            own.append(Heard(self.update, loss))
        self.optimizer.hear(self.heard)

    @torch.no_grad()
    def keep_best(self, nats: list[float]) -> None:
        """Copies the parameters of the runs whose ``nats`` are their lowest so far."""
        values = torch.tensor(nats, dtype=torch.float64, device=self.device)
        better = values < self.best_nats  # false for NaN
        self.best_nats = torch.where(better, values, self.best_nats)
        self.best_update = torch.where(better, self.update, self.best_update)
        self._flat_best.copy_(
            torch.where(better.unsqueeze(1), self._flat_evaluated, self._flat_best)
        )

    @torch.no_grad()
    def samples(
        self, index: int, wanted: SampleRequest, parameters: Parameters
    ) -> list[dict[str, Any]]:
        """Returns the texts of one run, of its best parameters or of those of now."""
        self._allow_tf32()
        run_parameters = {name: p[index : index + 1] for name, p in parameters.items()}
        run = self.runs[index]
        masks = Masks([run.seed], [run.settings], self.device)
        return self.task.samples(
            self.model.for_runs([run.settings]), run_parameters, wanted, run.seed, masks
        )

    def keep(self, indices: list[int]) -> None:
        """Repacks: only these runs go on."""
        self._add_up()
        before = self.optimizer
        self.runs = [self.runs[i] for i in indices]
        self.heard = [self.heard[i] for i in indices]
        self.states = [tuple(s[indices] for s in state) for state in self.states]
        for name in ("_flat", "_flat_best", "best_nats", "best_update", "bad_update", "last_loss"):
            setattr(self, name, getattr(self, name)[indices])
        self._set_up()
        self.optimizer.take_over(before, indices)

    def _named(self) -> dict[str, Parameters]:
        """Returns what there is of every parameter, as a checkpoint names it.

        Returns:
            Kind -> name -> (N, ...).
        """
        moments = {
            f"optimizer/{kind}": self._layout.views(moment)
            for kind, moment in self.optimizer.state.items()
        }
        return {"parameters": self.parameters, "best": self.best, **moments}

    def snapshot(self, index: int) -> Checkpoint:
        """Returns everything that one run's future depends on."""
        self._add_up()
        arrays = {
            f"{kind}/{n}": values[index]
            for kind, named in self._named().items()
            for n, values in named.items()
        }
        for layer, state in enumerate(self.states):
            arrays |= {f"state/{layer}/{i}": s[index] for i, s in enumerate(state)}
        values = {
            "best_nats": self.best_nats[index].item(),
            "best_update": self.best_update[index].item(),
            "last_loss": self.last_loss[index].item(),
            "heard": [[each.update, each.loss] for each in self.heard[index]],
        }
        # Copies, since training goes on in place.
        copies = {name: array.detach().clone() for name, array in arrays.items()}
        return Checkpoint(copies, self.update, values)

    @torch.no_grad()
    def restore(self, index: int, checkpoint: Checkpoint) -> None:
        """Puts one run where :meth:`snapshot` took it.

        All runs of a shard must stand at the same update.
        """
        named = self._named()
        for name, array in checkpoint.arrays.items():
            kind, _, key = name.rpartition("/")
            if kind.startswith("state/"):
                state = self.states[int(kind.removeprefix("state/"))]
                state[int(key)][index] = array.to(self.device)
            elif kind in named:  # a neighbour's momentum may have gone with it
                named[kind][key][index] = array.to(self.device)
        self.update = checkpoint.update
        self.best_nats[index] = checkpoint.values["best_nats"]
        self.best_update[index] = checkpoint.values["best_update"]
        self.last_loss[index] = checkpoint.values["last_loss"]
        heard = checkpoint.values.get("heard", [])  # earlier versions waited for nothing
        self.heard[index] = [Heard(int(update), float(loss)) for update, loss in heard]
        self.optimizer.hear(self.heard)
