"""A study that has ended, made once for all tests of what can be done with it: none of them may
change it.
"""

import io

import pytest
import small_study
from books import books_of, runs_of
from rich.console import Console

import harness
from harness import study
from harness.runner.progress import Display
from harness.runner.scheduler import Driver
from harness.store.locations import Places
from harness.study.units import Unit

FIXED = object()


@pytest.fixture(scope="session")
def books(tmp_path_factory):
    """A folder with a study that has ended, ``small``, on the reference engine, tuned and timed."""
    folder = tmp_path_factory.mktemp("books")
    path = small_study.write(folder, trials=1, seeds=5, runtime="{rounds: 6, seconds: 0.001}")
    path.write_text(
        path.read_text().replace("cell: lstm", "cell: lstm\n  engine: reference\n  pack_size: 1")
    )
    running = Driver(study.load(path), Places(folder), Display(Console(file=io.StringIO())))
    while plans := running.next_plans():
        running.train(plans)
    running.measure()
    running.report()  # it keeps the search's warnings; its files, which take seconds, nobody asks for here
    return folder


@pytest.fixture(scope="session")
def runs(books):
    """Those of ``small``."""
    return runs_of(books, "small")


@pytest.fixture(scope="session")
def loaded(books):
    """The frames of ``small``."""
    return harness.load("small", books)


@pytest.fixture(scope="session")
def make(books, runs):
    """Books replicates of a study like ``small``, untuned and of more updates, without training
    it.
    """
    like = books_of(books, "small").identity()
    like["shared"]["tune"] = None
    for own in like["arms"].values():
        own |= {"learning_rate": 0.05, "budget": {**own["budget"], "updates": 44}}
    text = runs["corpus_fingerprint"].iloc[0]

    def made(
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
        tracker, unit = books_of(books, name), Unit.parse(arm)
        if identity is FIXED:
            own = {
                str(Unit(key, unit.condition)): {**own, "split": split}
                for key, own in like["arms"].items()
            }
            identity = {**like, "first_seed": first_seed, "stages": stages, "arms": own}
        if identity is not None:
            tracker.set_identity(identity)
        tags = {"corpus_fingerprint": fingerprint, "engine": "reference", "device": "cpu"}
        for index, state in enumerate(states):
            seed = f"{first_seed + index}" + (f"/repeat/{unit.repeat}" if unit.repeat else "")
            own = {"path": "text.txt", "hidden_size": 16, "learning_rate": 0.05}
            run_id = tracker.open(arm, "replicate", index, "", own, {**tags, **own, "seed": seed})
            metrics = (
                {"objective": losses[index]} if state == "finished" else {}
            )  # another reads no test split
            metrics |= {"test/loss": losses[index]} if metrics and split == "holdout" else {}
            tracker.end(run_id, state, {}, metrics, {"curve.csv": "", **(files or {})})
        return tracker

    return made
