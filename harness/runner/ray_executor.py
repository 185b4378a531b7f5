"""Packs on a Ray cluster: a worker a slot, one driver that listens.

Ray places workers, carries texts to nodes and tells of deaths; what failed is trained again by the
driver alone, as everywhere. See docs/decisions/executors.md.
"""

import math
import secrets
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cells import registry
from harness import data, timing
from harness.preflight.memory import expected_bytes
from harness.runner.executor import ExecutorError, Listener
from harness.runner.ray_cluster import check_versions, first_line, imported, join
from harness.store.patience import Say, clock
from harness.tasks.objective import loss_of
from harness.training.execution import resolve_device
from harness.training.files import write_whole
from harness.training.messages import Evaluation, Message, RunEnded, failure, pruned_at
from harness.training.plan import Plan
from harness.training.remote import SharedFolder, Worker

LOOK_SECONDS = 0.2
"""So long the driver waits for workers before it looks whether a person wants to end."""
IDLE_SECONDS = 10.0
"""So long after its workers' end a cluster may take to count them as gone."""
NOTICE_SECONDS = 30.0
"""After so long without a worker a person is told: where there is room, one starts in seconds."""
MAX_STARTING = 64
"""So many workers are asked for at once: more would come up when their packs are done."""
MAX_STARTS = 3
"""So many workers in a row may die as they start: one may meet an accident, three cannot start."""
PROCESS_BYTES = 2**29
"""What a worker takes beside its runs: Python, torch and a text, 0.27 GiB measured, and room."""


class WorkerDied(RuntimeError):
    """A worker's process or node ended; its runs are trained again."""


@dataclass(frozen=True)
class Demand:
    """What a pack takes of a node."""

    num_cpus: int
    num_gpus: float
    num_bytes: int

    @property
    def resources(self) -> dict[str, float]:
        """By Ray's names."""
        return {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.num_bytes}

    def __str__(self) -> str:
        gpus = f", {self.num_gpus:g} GPUs" if self.num_gpus else ""
        return f"{self.num_cpus} CPUs{gpus}, {self.num_bytes / 2**30:.2f} GiB"


@dataclass(eq=False)
class _Working:
    """A worker, and where its pack stands."""

    actor: Any
    demand: Demand
    plan: Plan | None = None
    last: dict[str, Evaluation] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    pruned: set[str] = field(default_factory=set)


class RayExecutor:
    """Trains packs beside each other, as a Ray cluster has room.

    Its workers stay from round to round, those that still start too.
    """

    def __init__(self, address: str, folder: Path, say: Say):
        """Joins a cluster.

        Args:
            address: Ray's: ``auto`` for the one that this machine is part of, ``local`` for one of
                its own, or HOST:PORT.
            folder: Of checkpoints; workers that see it keep theirs there.
            say: Told what a person should know.

        Raises:
            ExecutorError: There is no Ray, or no cluster.
        """
        self._ray = imported()
        join(self._ray, address)
        content = secrets.token_hex(16)
        file = folder.with_name(f"{folder.name}.shared")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content.encode("ascii"))
        self._shared = SharedFolder(str(file), content)
        self._say = say
        self._texts: dict[tuple[object, ...], Any] = {}
        self._alive: list[_Working] = []
        self._calls: dict[Any, _Working] = {}
        self._idle: list[_Working] = []
        self._num_dead_starts = 0
        self._waiting_since: float | None = None
        self._is_told = False

    def execute(self, plans: Sequence[Plan], listen: Listener) -> None:
        """Trains packs to their ends, begun in their order.

        Raises:
            ExecutorError: No node has what a pack takes, or nodes have other versions.
        """
        timing.give_back_memory()  # of a GPU on which an update of each arm was tried here
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        waiting = deque(self._demanded(plan, nodes) for plan in plans)
        while waiting or self._is_training():
            self._start(waiting)
            ready, _ = self._ray.wait(list(self._calls), timeout=LOOK_SECONDS)
            for call in ready:
                self._take(call, waiting, listen)
            self._tell_of_wait(self._starting())

    def rest(self) -> None:
        """Ends the workers, and waits until the cluster is idle.

        Raises:
            RuntimeError: It is not: others work there.
        """
        self._end_workers()
        until = time.monotonic() + IDLE_SECONDS
        while self._busy() and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        self.check_rest()

    def check_rest(self) -> None:
        """Looks whether the cluster is idle.

        Raises:
            RuntimeError: It is not: others work there.
        """
        if busy := self._busy():
            raise RuntimeError(
                f"the cluster must be idle, since others' work would be timed too, but {busy}"
            )

    def close(self) -> None:
        """Ends the workers and leaves the cluster."""
        self._end_workers()
        Path(self._shared.file).unlink(missing_ok=True)
        self._ray.shutdown()

    @property
    def num_idle(self) -> int:
        """The workers that are up and wait for a pack."""
        return len(self._idle)

    # What a pack takes

    @staticmethod
    def _demanded(plan: Plan, nodes: Sequence[Mapping[str, float]]) -> tuple[Plan, Demand]:
        """Returns a plan that names its text, device and threads, and what it takes of a node.

        Args:
            plan: The pack.
            nodes: What each node has, by Ray's names.

        Raises:
            ExecutorError: No node has what it takes.
        """
        text, settings = data.load(plan.settings), plan.settings
        size = len(plan.runs) * expected_bytes(settings, text)
        device = resolve_device(settings.device)
        is_on_gpu = device == "cuda"
        largest = max((int(node.get("CPU", 0)) for node in nodes), default=1)
        useful = 1 if is_on_gpu else min(len(plan.runs), max(1, largest))
        num_threads = settings.threads or useful
        share = _gpu_share(size + PROCESS_BYTES) if is_on_gpu else 0.0
        demand = Demand(num_threads, share, PROCESS_BYTES + (0 if is_on_gpu else size))
        if not any(_fits(demand, node) for node in nodes):
            raise ExecutorError(
                f"executor: a node must have what a pack takes, {demand}, but of {len(nodes)} "
                "nodes none has. Use a smaller pack_size or fewer threads, or add a larger node."
            )
        # A worker that asked for no GPU sees those of its node all the same.
        runs = tuple(
            replace(run, settings=replace(run.settings, device=device, threads=num_threads))
            for run in plan.runs
        )
        return replace(plan, runs=runs, corpus_fingerprint=text.fingerprint), demand

    # Workers

    def _is_training(self) -> bool:
        return any(worker.plan is not None for worker in self._calls.values())

    def _starting(self) -> list[_Working]:
        return [worker for worker in self._calls.values() if worker.plan is None]

    def _start(self, waiting: deque[tuple[Plan, Demand]]) -> None:
        """Gives packs to idle workers, and asks for a worker for each of the others."""
        while waiting and (fit := [w for w in self._idle if w.demand == waiting[0][1]]):
            self._idle.remove(fit[0])
            self._begin(fit[0], waiting.popleft()[0])
        starting = self._starting()
        if waiting:  # what idles, or starts for no pack, has resources that the next one may need
            wanted = {demand for _, demand in waiting}
            self._end_workers([*self._idle, *(w for w in starting if w.demand not in wanted)])
        asked = [worker.demand for worker in starting]
        for _, demand in list(waiting)[:MAX_STARTING]:
            if demand in asked:
                asked.remove(demand)
                continue
            actor = self._ray.remote(max_restarts=0, max_task_retries=0)(Worker).options(
                num_cpus=demand.num_cpus, num_gpus=demand.num_gpus, memory=demand.num_bytes
            )
            made = _Working(actor.remote(), demand)
            self._alive.append(made)
            self._calls[made.actor.versions.remote()] = made

    def _tell_of_wait(self, starting: Sequence[_Working]) -> None:
        """Says once that no worker starts, where nothing trains meanwhile."""
        if not starting or self._is_training():
            self._waiting_since, self._is_told = None, False
            return
        self._waiting_since = self._waiting_since or time.monotonic()
        if not self._is_told and time.monotonic() - self._waiting_since >= NOTICE_SECONDS:
            self._is_told = True
            self._say(
                f"executor: no worker has started since {clock(self._waiting_since)}, since no "
                f"node has {starting[0].demand} free, or starts slowly; training waits for it, "
                "Ctrl-C ends",
                "yellow",
            )

    def _begin(self, worker: _Working, plan: Plan) -> None:
        text = self._shared_text(data.load(plan.settings))
        worker.plan, worker.last, worker.pruned = plan, {}, set()
        worker.running = [run.id for run in plan.runs]
        cell_files = {path: registry.content_of(path) for path in plan.cell_files}
        call = worker.actor.begin.remote(plan, text, cell_files, self._shared)
        self._calls[call] = worker

    def _shared_text(self, text: data.Data) -> Any:
        """Returns where Ray holds a text, which all packs share that read it in the same way."""
        key = data.reading_of(text)
        if key not in self._texts:
            self._texts[key] = self._ray.put(text)
        return self._texts[key]

    def _take(self, call: Any, waiting: deque[tuple[Plan, Demand]], listen: Listener) -> None:
        """Takes what a worker said, and has it go on."""
        worker = self._calls.pop(call)
        try:
            said = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            self._alive.remove(worker)
            self._bury(worker, error, listen)
            return
        if worker.plan is None:
            check_versions(said)
            self._num_dead_starts = 0
        elif said is not None:
            self._note(worker, said)
            if worker.running:
                worker.pruned = listen(said)
                self._calls[worker.actor.advance.remote(worker.pruned)] = worker
            else:  # it trains the next pack while the ends of this one are recorded
                try:
                    self._give_next(worker, waiting)
                finally:  # a pack that cannot be given costs no result
                    listen(said)
            return
        self._give_next(worker, waiting)

    def _give_next(self, worker: _Working, waiting: deque[tuple[Plan, Demand]]) -> None:
        """Has a worker begin the first pack that takes what it has, or idle."""
        worker.plan = None
        mine = next((each for each in waiting if each[1] == worker.demand), None)
        if mine is None:
            self._idle.append(worker)
        else:
            waiting.remove(mine)
            self._begin(worker, mine[0])

    @staticmethod
    def _note(worker: _Working, messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message, Evaluation):
                worker.last[message.run] = message
            elif isinstance(message, RunEnded):
                worker.running.remove(message.run)

    def _bury(self, worker: _Working, error: Exception, listen: Listener) -> None:
        """Ends the runs of a worker that died: those to be pruned as such, the others as failed.

        Raises:
            ExecutorError: It died as it started, and so did the ones before it.
        """
        if worker.plan is None:
            self._num_dead_starts += 1
            if self._num_dead_starts < MAX_STARTS:
                return  # another is asked for
            raise ExecutorError(
                f"executor: nodes must be able to start a worker, but {MAX_STARTS} in a row died "
                f"as they started: {first_line(error)}. Install recurrent-bench on every node."
            ) from None
        died = WorkerDied(f"its worker died ({type(error).__name__})")
        loss, now = loss_of(worker.plan.objective), time.time()
        listen(
            [
                pruned_at(worker.last[run], loss, now)
                if run in worker.pruned
                else failure(run, died, now)
                for run in worker.running
            ]
        )

    def _end_workers(self, workers: Sequence[_Working] | None = None) -> None:
        # Ctrl-C may come while a worker is in none of the other lists.
        ending = list(self._alive if workers is None else workers)
        for worker in ending:
            self._ray.kill(worker.actor)
        self._alive = [worker for worker in self._alive if worker not in ending]
        self._idle = [worker for worker in self._idle if worker not in ending]
        self._calls = {call: w for call, w in self._calls.items() if w not in ending}

    def _busy(self) -> str:
        """Returns what of the cluster is in use; empty where nothing is."""
        whole, free = self._ray.cluster_resources(), self._ray.available_resources()
        used = {name: whole.get(name, 0) - free.get(name, 0) for name in ("CPU", "GPU")}
        return ", ".join(f"{count:g} {name}s are in use" for name, count in used.items() if count)


def _fits(demand: Demand, node: Mapping[str, float]) -> bool:
    return all(needed <= node.get(name, 0) for name, needed in demand.resources.items())


def _gpu_share(num_bytes: int) -> float:
    """Returns which part of a GPU a pack takes, in hundredths; this machine's GPU is the measure.

    One that takes more than a whole GPU gets one, and is halved where that does not suffice.
    """
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    return min(1.0, math.ceil(100 * num_bytes / total) / 100)
