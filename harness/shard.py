"""Runs that advance together as one computation: a whole pack on an accelerator, a single run on a CPU.

A run on a CPU is a shard of its own, on one thread from start to end, so that its numbers cannot depend on its
pack, its place in it, or the number of threads: every operation sees the same shapes. See docs/decisions/shards.md.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.checkpoint import Checkpoint
from harness.dropout import Dropout
from harness.engine import State
from harness.model import Model, initial_parameters
from harness.optimizer import Optimizer, learning_rates
from harness.plan import Run
from harness.tasks import Task
from harness.timing import Clock


@dataclass
class Progress:
    """What a shard's runs did since the last evaluation point, one value a run; read from the device at once."""

    train_nats: list[float]
    gradient_norm: list[float]
    clipped_fraction: list[float]
    bad_update: list[int]
    last_loss: list[float]
    update_seconds: list[float]


class Shard:
    """N runs: parameters, optimiser, carried state, sums, and the best parameters so far."""

    def __init__(self, runs: list[Run], task: Task, model: Model, num_updates: int, device: torch.device):
        settings = runs[0].settings
        self.runs, self.task, self.model, self.device = list(runs), task, model, device
        self.num_updates, self.update = num_updates, 0
        self.stopping = False
        dtype = torch.float64 if settings.precision == "float64" else torch.float32
        drawn = [initial_parameters(model.arch, run.settings, run.seed) for run in runs]
        self.parameters = {
            name: torch.stack([own[name] for own in drawn]).to(device=device, dtype=dtype).requires_grad_()
            for name in drawn[0]
        }
        self._like = next(iter(self.parameters.values()))
        self.best = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.best_nats = torch.full((len(runs),), math.inf, dtype=torch.float64, device=device)
        self.best_update = torch.zeros(len(runs), dtype=torch.int64, device=device)
        self.alive = torch.ones(len(runs), dtype=torch.bool, device=device)
        self.bad_update = torch.full((len(runs),), -1, dtype=torch.int64, device=device)
        self.last_loss = torch.full((len(runs),), math.nan, dtype=torch.float64, device=device)
        self._set_up(model.initial_states(len(runs), settings.batch_size, self._like.detach()))

    def _set_up(self, states: list[State]) -> None:
        """Makes what follows from the runs alone."""
        seeds, settings = [run.seed for run in self.runs], [run.settings for run in self.runs]
        self.states = states
        self.optimizer = Optimizer(settings, {n: p.detach() for n, p in self.parameters.items()})
        rates = torch.stack([learning_rates(s, self.num_updates) for s in settings], dim=1)
        self._rates = rates.to(device=self.device, dtype=self._like.dtype)
        dropped = self.model.arch.num_layers > 1 and any(s.dropout for s in settings)
        self._dropout = Dropout(seeds, [s.dropout for s in settings], self.device) if dropped else None
        self._epoch, self._starts = -1, torch.empty(0)
        self._clear()

    def _clear(self) -> None:
        zeros = torch.zeros(3, len(self.runs), dtype=torch.float64, device=self.device)
        self._nats, self._norms, self._clipped = zeros
        self._since = 0
        self.clock = Clock(self.device)

    def advance(self, to_update: int) -> None:
        """Trains until ``to_update`` updates are done, or ``stopping`` is set. Nothing here waits for the device."""
        self.clock = Clock(self.device)
        while self.update < to_update and not self.stopping:
            self._train_once()
            self.clock.mark()

    @torch.no_grad()
    def forward(self, count: int) -> None:
        """Runs a forward pass and its loss ``count`` times, for a clock outside; nothing is kept."""
        batch = self.task.batch(self.task.epoch([run.seed for run in self.runs], 0)[0])
        for _ in range(count):
            scores, _ = self.model(self.parameters, batch.inputs, self._zero_states())
            self.task.losses(scores, batch)

    def _train_once(self) -> None:
        epoch, index = divmod(self.update, self.task.updates_per_epoch)
        if epoch != self._epoch:
            self._starts, self._epoch = self.task.epoch([run.seed for run in self.runs], epoch), epoch
        if index == 0 or not self.task.carried:
            self.states = self._zero_states()
        batch = self.task.batch(self._starts[index])
        if self._dropout is not None:
            self._dropout.update = self.update
        scores, states = self.model(self.parameters, batch.inputs, self.states, self._dropout)
        losses = self.task.losses(scores, batch) / self.task.tokens_per_update
        gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        self.states = [tuple(s.detach() for s in state) for state in states]
        with torch.no_grad():
            self._move(losses.detach(), dict(zip(self.parameters, gradients, strict=True)))
        self.update += 1

    def _move(self, losses: Tensor, gradients: dict[str, Tensor]) -> None:
        sound = self.alive & torch.isfinite(losses)
        rates = self._rates[self.update]
        norms, clipped, moved = self.optimizer.step(self.parameters, gradients, rates, self.update, sound)
        self.bad_update = torch.where(self.alive & ~moved, self.update, self.bad_update)
        self.last_loss = torch.where(sound, losses.double(), self.last_loss)
        self.alive = moved
        self._nats += losses
        self._norms += norms
        self._clipped += clipped
        self._since += 1

    def _zero_states(self) -> list[State]:
        settings = self.runs[0].settings
        return self.model.initial_states(len(self.runs), settings.batch_size, self._like.detach())

    def progress(self) -> Progress:
        """Returns what happened since the last call and begins again; waits for the device."""
        durations = self.clock.durations()
        since = max(1, self._since)
        found = Progress(
            (self._nats / since).tolist(),
            (self._norms / since).tolist(),
            (self._clipped / since).tolist(),
            self.bad_update.tolist(),
            self.last_loss.tolist(),
            durations,
        )
        self._clear()
        return found

    @torch.no_grad()
    def evaluate(self, split: str, parameters: dict[str, Tensor] | None = None) -> list[float]:
        """Returns every run's mean nats over a split, each target scored once."""
        parameters = self.parameters if parameters is None else parameters
        total = torch.zeros(len(self.runs), dtype=torch.float64, device=self.device)
        states = self._zero_states()
        for batch in self.task.evaluation(split, len(self.runs)):
            scores, states = self.model(parameters, batch.inputs, states)
            total += self.task.losses(scores, batch)
        return (total / self.task.num_targets(split)).tolist()

    @torch.no_grad()
    def keep_best(self, nats: list[float]) -> None:
        """Copies the parameters of the runs whose ``nats`` are their lowest so far."""
        values = torch.tensor(nats, dtype=torch.float64, device=self.device)
        better = values < self.best_nats  # false for NaN
        self.best_nats = torch.where(better, values, self.best_nats)
        self.best_update = torch.where(better, self.update, self.best_update)
        for name, parameter in self.parameters.items():
            chosen = better.view((-1,) + (1,) * (parameter.dim() - 1))
            self.best[name].copy_(torch.where(chosen, parameter, self.best[name]))

    @torch.no_grad()
    def samples(self, index: int, wanted) -> list[dict[str, str]]:
        """Returns the text of one run at its best parameters."""
        own = {name: p[index : index + 1] for name, p in self.best.items()}
        return self.task.samples(self.model, own, wanted, self.runs[index].seed)

    def keep(self, indices: list[int]) -> None:
        """Repacks: only these runs go on."""
        moments, states = self.optimizer.state, self.states
        self.runs = [self.runs[i] for i in indices]
        self.parameters = {n: p.detach()[indices].requires_grad_() for n, p in self.parameters.items()}
        self._like = next(iter(self.parameters.values()))
        self.best = {n: p[indices] for n, p in self.best.items()}
        for name in ("best_nats", "best_update", "alive", "bad_update", "last_loss"):
            setattr(self, name, getattr(self, name)[indices])
        self._set_up([tuple(s[indices] for s in state) for state in states])
        for name, moment in moments.items():
            if name in self.optimizer.state:
                self.optimizer.state[name].copy_(moment[indices])

    def snapshot(self, index: int) -> Checkpoint:
        """Returns everything that one run's future depends on."""
        arrays = {f"parameters/{n}": p[index] for n, p in self.parameters.items()}
        arrays |= {f"best/{n}": p[index] for n, p in self.best.items()}
        arrays |= {f"optimizer/{n}": m[index] for n, m in self.optimizer.state.items()}
        for layer, state in enumerate(self.states):
            arrays |= {f"state/{layer}/{i}": s[index] for i, s in enumerate(state)}
        values = {
            "best_nats": self.best_nats[index].item(),
            "best_update": self.best_update[index].item(),
            "last_loss": self.last_loss[index].item(),
        }
        copies = {name: array.detach().clone() for name, array in arrays.items()}  # training goes on in place
        return Checkpoint(copies, self.update, values)

    @torch.no_grad()
    def restore(self, index: int, checkpoint: Checkpoint) -> None:
        """Puts one run where :meth:`snapshot` found it. All runs of a shard must stand at the same update."""
        for name, array in checkpoint.arrays.items():
            kind, _, rest = name.partition("/")
            if kind == "state":
                layer, i = rest.split("/")
                self.states[int(layer)][int(i)][index] = array.to(self.device)
            elif kind != "optimizer" or rest in self.optimizer.state:  # a neighbour's momentum may have gone with it
                homes = {"parameters": self.parameters, "best": self.best, "optimizer": self.optimizer.state}
                homes[kind][rest][index] = array.to(self.device)
        self.update = checkpoint.update
        self.best_nats[index] = checkpoint.values["best_nats"]
        self.best_update[index] = checkpoint.values["best_update"]
        self.last_loss[index] = checkpoint.values["last_loss"]
