"""What the driver costs, from a hundred trials to ten thousand, and what two workers gain on one.

``make scale`` writes studies/bench/scale.json: a row for each number of trials, from a process of
its own, and one for each number of Ray workers; what is not measured again stays there. Nothing
else must run meanwhile. The trainer of the first is a formula, which says at once what a run of 20
evaluations would: all that is left is the driver's work and its stores'. Ten thousand trials have a
million points. Each number of trials is measured without a pruner and with the default one, which
ends trials early.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from harness import data, provenance, study
from harness.report.assemble import stored_report, warnings_of
from harness.results.open import open_study
from harness.runner.executor import Listener
from harness.runner.progress import Display
from harness.runner.scheduler import Scheduler
from harness.settings import Budget, Settings
from harness.store.locations import Locations
from harness.training.messages import (
    Evaluation,
    Message,
    RunEnded,
    RunStarted,
    RunState,
    pruned_at,
)
from harness.training.plan import Plan, Run

OUT = Path(__file__).resolve().parent.parent / "studies" / "bench" / "scale.json"
NUM_TRIALS = (100, 1_000, 10_000)
PRUNERS = ("none", "median")
SUBJECT = ("workers", "trials", "pruner", "packs", "updates")
"""What a row is of: another measurement of the same takes its place."""
NUM_EVALUATIONS = 20
NUM_UPDATES = 200
BATCH = 50
YAML = """\
study: scale
version: 2
question: What does a trial cost beside its training?
compare:
  arms: {{narrow: {{hidden_size: 8}}, wide: {{hidden_size: 16}}}}
  baseline: narrow
tune:
  learning_rate: {{low: 0.001, high: 1.0, log: true}}
  clip_norm: {{low: 0.1, high: 10.0, log: true}}
  sampler: random
  trials: {trials}
  at_most: {trials}
  batch: {batch}
  pruner: {pruner}
  seeds: 1
  finalists: 1
fix: {{cell: lstm, corpus: time-machine, budget: {{updates: 200}}, evaluations: 20}}
replicate: {{seeds: 6}}
measure: {{samples: none, runtime: none}}
"""


class Formula:
    """Trains nothing: a run's loss is a formula of its settings and of the update."""

    def __init__(self, fingerprint: str) -> None:
        """Takes the fingerprint of the text that is not read."""
        self._fingerprint = fingerprint
        self.ended_at: list[float] = []
        self.num_evaluations = self.num_pruned = 0

    def execute(self, plans: Sequence[Plan], listen: Listener) -> None:
        """Says what the packs would, point by point."""
        for plan in plans:
            listen([self._started(run, plan) for run in plan.runs])
            running = list(plan.runs)
            for point in range(1, NUM_EVALUATIONS + 1):
                running = self._advance(running, point, listen)
            self.ended_at += [time.perf_counter()] * len(plan.runs)

    def _advance(self, running: list[Run], point: int, listen: Listener) -> list[Run]:
        """Says what runs are worth at a point, and returns those that go on."""
        update = point * NUM_UPDATES // NUM_EVALUATIONS
        evaluations = {run.id: self._evaluation(run, update) for run in running}
        self.num_evaluations += len(running)
        said: list[Message] = list(evaluations.values())
        if point == NUM_EVALUATIONS:
            said += [self._ended(run) for run in running]
        pruned = listen(said)
        if point == NUM_EVALUATIONS or not pruned:
            return running
        self.num_pruned += len(pruned)
        ends = (pruned_at(evaluations[each], "validation/loss", time.time()) for each in pruned)
        listen(list(ends))
        return [run for run in running if run.id not in pruned]

    def rest(self) -> None:
        """Does nothing."""

    def check_rest(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""

    def _started(self, run: Run, plan: Plan) -> RunStarted:
        settings = run.settings
        size = settings.hidden_size or 0
        return RunStarted(
            run.id,
            time.time(),
            settings.cell,
            engine="reference",
            device="cpu",
            precision="float32",
            threads=1,
            pack_size=len(plan.runs),
            hidden_size=size,
            num_parameters=4 * size * (size + 28),
            num_states=2 * size,
            flops_per_token=8 * size * (size + 28),
            num_updates=NUM_UPDATES,
            corpus_fingerprint=self._fingerprint,
            digest="0" * 64,
        )

    @staticmethod
    def _loss(run: Run, update: int) -> float:
        """Falls with the updates; the best rate is in the middle of what is searched."""
        settings = run.settings
        off = math.log10(settings.learning_rate / 0.03) ** 2
        noise = 0.01 * math.sin(sum(map(ord, run.id)))
        return (
            1.5 + 0.1 * off + noise + math.exp(-update / 50) - 0.001 * (settings.hidden_size or 0)
        )

    def _evaluation(self, run: Run, update: int) -> Evaluation:
        loss = self._loss(run, update)
        metrics = {
            "validation/loss": loss,
            "validation/perplexity": math.exp(loss),
            "tokens": 1120.0 * update,
            "seconds": 0.01 * update,
            "tokens_per_second": 112_000.0,
        }
        return Evaluation(run.id, update, time.time(), metrics)

    def _ended(self, run: Run) -> RunEnded:
        loss = self._loss(run, NUM_UPDATES)
        metrics = {
            "objective": loss,
            "validation/loss": loss,
            "test/loss": loss,
            "train/loss": loss,
            "tokens": 1120.0 * NUM_UPDATES,
            "seconds": 0.01 * NUM_UPDATES,
        }
        return RunEnded(run.id, NUM_UPDATES, time.time(), RunState.FINISHED, metrics)


def measure_driver(num_trials: int, pruner: str, folder: Path) -> dict[str, Any]:
    """Returns what a study of so many trials costs the driver, and then its report."""
    path = folder / "scale.yaml"
    text = YAML.format(trials=num_trials // 2, batch=BATCH, pruner=pruner)
    path.write_text(text, encoding="utf-8")
    loaded, locations = study.load(path), Locations(folder)
    scheduler = Scheduler(loaded, locations, Display(Console(quiet=True)))
    dataset = next(iter(scheduler.datasets.values()))
    scheduler.executor = formula = Formula(dataset.fingerprint)
    process = psutil.Process()
    memory_bytes, cpu = process.memory_info().rss, process.cpu_times()
    opening_seconds, begun = scheduler.store_seconds, time.perf_counter()
    with closing(scheduler):
        while plans := scheduler.next_plans():
            scheduler.train(plans)
        total_seconds = time.perf_counter() - begun
        cpu_seconds = sum(process.cpu_times()[:2]) - sum(cpu[:2])
        grown = process.memory_info().rss - memory_bytes
        stored_seconds = scheduler.writer.busy_seconds
        waited_seconds = scheduler.store_seconds - opening_seconds
    runs = formula.ended_at[:num_trials]
    tenth = max(1, num_trials // 10)
    return {
        "trials": num_trials,
        "pruner": pruner,
        "pruned": formula.num_pruned,
        "points": 5 * formula.num_evaluations,
        "seconds_per_trial": total_seconds / num_trials,
        "cpu_seconds_per_trial": cpu_seconds / num_trials,
        "store_thread_seconds_per_trial": stored_seconds / num_trials,
        "waited_seconds_per_trial": waited_seconds / num_trials,
        "optuna_seconds_per_trial": scheduler.searches.seconds / num_trials,
        "first_tenth_seconds_per_trial": (runs[tenth - 1] - begun) / tenth,
        "last_tenth_seconds_per_trial": (runs[-1] - runs[-1 - tenth]) / tenth,
        "grown_bytes_per_trial": grown / num_trials,
        "database_bytes": (folder / "mlflow.db").stat().st_size,
        **measure_report(path),
    }


def measure_report(path: Path) -> dict[str, float]:
    """Returns the seconds of each step from the store to the page."""
    begun = time.perf_counter()
    loaded, reader = open_study(str(path), (), Locations(path.parent))
    report = stored_report(loaded, reader, warnings_of(loaded, reader.notes()))
    built = time.perf_counter()
    page = report.html()
    return {
        "report_read_seconds": built - begun,
        "report_page_seconds": time.perf_counter() - built,
        "report_page_bytes": len(page.encode()),
    }


@dataclass(frozen=True)
class Packs:
    """Packs that train beside each other, each a run on a thread."""

    count: int
    updates: int

    def plans(self, count: int | None = None, updates: int | None = None) -> list[Plan]:
        """Returns the packs, or other numbers of packs and updates of the same shape."""
        settings = Settings(
            cell="lstm",
            corpus="time-machine",
            hidden_size=64,
            threads=1,
            pack_size=1,
            budget=Budget(updates=updates or self.updates),
            evaluations=4,
        )
        return [
            Plan((Run(f"arm-{i}/replicate/0", (i,), settings),)) for i in range(count or self.count)
        ]


def measure_workers(num_workers: int, packs: Packs, folder: Path) -> dict[str, Any]:
    """Returns how long packs take on so many nodes of one CPU each, once their workers are up."""
    from ray.cluster_utils import Cluster

    from harness.runner.ray_executor import RayExecutor

    size: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    for _ in range(num_workers - 1):
        cluster.add_node(**size)
    ended: list[RunEnded] = []

    def listen(messages: Sequence[Message]) -> set[str]:
        ended.extend(message for message in messages if isinstance(message, RunEnded))
        return set()

    try:
        with closing(RayExecutor(cluster.address, folder, lambda *_: None)) as executor:
            text = data.load(packs.plans()[0].settings)  # a driver holds it: it is read once
            while executor.num_idle < num_workers:  # workers, text, engine
                executor.execute(packs.plans(num_workers, updates=4), listen)
            ended.clear()
            begun = time.perf_counter()
            executor.execute(packs.plans(), listen)
            seconds = time.perf_counter() - begun
            del text
    finally:
        cluster.shutdown()
    assert [each.state for each in ended] == [RunState.FINISHED] * packs.count, ended
    return {
        "workers": num_workers,
        "packs": packs.count,
        "updates": packs.updates,
        "seconds": seconds,
    }


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields what each process of its own has measured."""
    jobs = [
        ["--one-driver", str(count), "--pruners", pruner]
        for count in arguments.trials
        for pruner in arguments.pruners
    ]
    shape = ["--packs", str(arguments.packs), "--updates", str(arguments.updates)]
    jobs += [["--one-cluster", str(count), *shape] for count in arguments.workers]
    for job in jobs:
        command = [sys.executable, __file__, *job]
        process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        yield json.loads(process.stdout.splitlines()[-1])


def stored_rows(out: Path, machine: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns what was measured before, on the same machine with the same versions."""
    stored = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"rows": []}
    is_same = all(stored.get(name) == value for name, value in machine.items())
    return list(stored["rows"]) if is_same else []


def main() -> None:
    """Measures, and writes after every row: what was measured outlives what fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="*", default=NUM_TRIALS)
    parser.add_argument("--pruners", nargs="*", default=PRUNERS)
    parser.add_argument("--workers", type=int, nargs="*", default=(1, 2))
    parser.add_argument("--packs", type=int, default=8)
    parser.add_argument("--updates", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--one-driver", type=int)
    parser.add_argument("--one-cluster", type=int)
    arguments = parser.parse_args()
    packs = Packs(arguments.packs, arguments.updates)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.one_driver:
            (pruner,) = arguments.pruners
            print(json.dumps(measure_driver(arguments.one_driver, pruner, Path(folder))))
            return
        if arguments.one_cluster:
            print(json.dumps(measure_workers(arguments.one_cluster, packs, Path(folder, "c"))))
            return
    machine = provenance.describe("cpu")
    now = {"date": date.today().isoformat()}
    now |= {name: machine.pop(name) for name in ("git_commit", "git_dirty")}
    found = stored_rows(arguments.out, machine)
    for row in rows(arguments):
        found = [each for each in found if any(each.get(name) != row.get(name) for name in SUBJECT)]
        found.append({**now, **row})
        found.sort(key=lambda each: [str(each.get(name, "")).zfill(9) for name in SUBJECT])
        print(json.dumps(row), flush=True)
        text = json.dumps({**machine, "rows": found}, indent=1)
        arguments.out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
