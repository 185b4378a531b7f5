"""A study that has ended, made once for all tests of results, none of which may change it."""

import io

import pytest
import small_study
from rich.console import Console
from stored import reader_of, runs_of, writer_of, writers

import harness
from harness import study
from harness.runner import runtime_phase
from harness.runner.progress import Display
from harness.runner.scheduler import Scheduler
from harness.store.locations import Locations
from harness.study.units import Phase, RunKey, Unit
from harness.training.messages import RunState

FIXED = object()


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A folder with a study that has ended, ``small``, on the reference engine, tuned and timed."""
    folder = tmp_path_factory.mktemp("store")
    path = small_study.write(folder, trials=1, seeds=5, runtime="{rounds: 6, seconds: 0.001}")
    path.write_text(
        path.read_text().replace("cell: lstm", "cell: lstm\n  engine: reference\n  pack_size: 1")
    )
    scheduler = Scheduler(study.load(path), Locations(folder), Display(Console(file=io.StringIO())))
    while plans := scheduler.next_plans():
        scheduler.train(plans)
    runtime_phase.measure(scheduler)
    # It keeps the search's warnings; its files, which take seconds, nobody asks for here.
    scheduler.report()
    return folder


@pytest.fixture(autouse=True)
def writers_are_closed():
    yield
    while writers:
        writers.pop().close()


@pytest.fixture(scope="session")
def runs(store):
    """Those of ``small``."""
    return runs_of(store, "small")


@pytest.fixture(scope="session")
def loaded(store):
    """The frames of ``small``."""
    return harness.load("small", store)


@pytest.fixture(scope="session")
def make(store, runs):
    """Stores replicates of a study like ``small``, untuned and of more updates, without training
    it.
    """
    like = reader_of(store, "small").identity()
    like["shared"]["tune"] = None
    for values in like["arms"].values():
        values |= {"learning_rate": 0.05, "budget": {**values["budget"], "updates": 44}}
    text = runs["corpus_fingerprint"].iloc[0]

    def stored(
        name,
        *,
        arm="wide",
        states=("finished", "finished"),
        losses=(1.0, 1.1, 1.2),
        fingerprint=text,
        split="holdout",
        first_seed=1000,
        stages=None,
        identity=FIXED,
        files=None,
    ):
        writer, unit = writer_of(store, name), Unit.parse(arm)
        if identity is FIXED:
            arms = {
                str(Unit(key, unit.condition)): {**values, "split": split}
                for key, values in like["arms"].items()
            }
            identity = {**like, "first_seed": first_seed, "stages": stages, "arms": arms}
        if identity is not None:
            writer.set_identity(identity)
        tags = {"corpus_fingerprint": fingerprint, "engine": "reference", "device": "cpu"}
        for index, state in enumerate(states):
            seed = f"{first_seed + index}" + (f"/repeat/{unit.repeat}" if unit.repeat else "")
            params = {"path": "text.txt", "hidden_size": 16, "learning_rate": 0.05}
            key = RunKey(unit, Phase.REPLICATE, index)
            run_id = writer.open_run(key, "", params, {**tags, **params, "seed": seed})
            # Another state has no objective, and another split is not tested.
            metrics = {"objective": losses[index]} if state == "finished" else {}
            metrics |= {"test/loss": losses[index]} if metrics and split == "holdout" else {}
            writer.end_run(run_id, RunState(state), {}, metrics, {"curve.csv": "", **(files or {})})
        return writer

    return stored
