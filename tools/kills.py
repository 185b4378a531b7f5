"""Small studies that are killed again and again, and what is stored of them in the end.

``make kills`` kills a thousand times where results live in files, and a hundred times each on a Ray
cluster, where drivers and workers die, and in PostgreSQL, where drivers and the server do. Every
study must end as one that nobody disturbed: no run lost, none there twice, no number other. A line
a study goes to studies/bench/kills-STORES.jsonl, and a last one with the sums.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))

import postgresql  # noqa: E402
import small_study  # noqa: E402
from forking import Forking  # noqa: E402

from harness import provenance  # noqa: E402
from harness.results.doctor import examine  # noqa: E402
from harness.store.locations import Locations  # noqa: E402
from harness.store.reader import SUPERSEDED_PHASE, StudyReader  # noqa: E402
from harness.tuning import storage as storages  # noqa: E402

OUT = ROOT / "studies" / "bench"
NAME = "small"
KEY = ["arm", "phase", "index", "draw"]
VALUES = ["seed", "state", "objective", "validation/loss", "test/loss", "train/loss"]
CURVE = ["update", "train/loss", "validation/loss"]
MOST_KILLS = 7
"""So often a study is killed at most before it may end."""
MOST_LAUNCHES = 3
"""So many launches that nobody kills a study gets to end in: an accident may need a second."""
AWAY_SECONDS = 1.0
"""How long a server that was stopped is away."""


class Stores(Protocol):
    """Where studies live, and what is killed there."""

    def new(self, folder: Path) -> tuple[Locations, list[str]]:
        """Returns the stores of a new study, and the options that name them."""
        ...

    def strike(self, driver: Forking, draw: random.Random) -> str | None:
        """Kills something, and returns what; None where it was not there."""
        ...


def kill_driver(driver: Forking) -> str:
    driver.kill()
    return "driver"


class Files:
    """SQLite files in a folder."""

    def new(self, folder: Path) -> tuple[Locations, list[str]]:
        return Locations(folder), ["--folder", str(folder)]

    def strike(self, driver: Forking, draw: random.Random) -> str | None:
        return kill_driver(driver)


class Ray(Files):
    """SQLite files, and workers on a cluster of two nodes."""

    def __init__(self, stack: ExitStack) -> None:
        from ray.cluster_utils import Cluster

        size = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
        stack.callback(cluster.shutdown)
        cluster.add_node(**size)
        self._options = ["--executor", "ray", "--executor-address", cluster.address]

    def new(self, folder: Path) -> tuple[Locations, list[str]]:
        locations, options = super().new(folder)
        return locations, options + self._options

    def strike(self, driver: Forking, draw: random.Random) -> str | None:
        if draw.random() < 0.5:
            return kill_driver(driver)
        workers = sorted(_processes(b"ray::Worker"))
        if not workers:
            return None
        os.kill(draw.choice(workers), signal.SIGKILL)
        return "worker"


class Postgres:
    """Both databases in a PostgreSQL server."""

    def __init__(self, stack: ExitStack) -> None:
        programs = postgresql.binaries()
        if programs is None:
            raise SystemExit("kills: PostgreSQL must be installed: apt-get install postgresql")
        self._server = postgresql.PostgreSQL(programs)
        stack.callback(self._server.remove)
        self._server.make("mlflow_empty", "optuna_empty")
        from harness.store import connection

        connection.close(connection.connect(self._server.url("mlflow_empty")))
        storages.close(storages.open_storage(self._server.url("optuna_empty")))

    def new(self, folder: Path) -> tuple[Locations, list[str]]:
        for name in ("mlflow", "optuna"):
            self._server.execute("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            self._server.execute("postgres", f"CREATE DATABASE {name} TEMPLATE {name}_empty")
        tracking, storage = map(self._server.url, ("mlflow", "optuna"))
        options = ["--folder", str(folder), "--tracking", tracking, "--storage", storage]
        return Locations(folder, tracking, storage), options

    def strike(self, driver: Forking, draw: random.Random) -> str | None:
        if draw.random() < 0.75:
            return kill_driver(driver)
        self._server.stop()
        time.sleep(AWAY_SECONDS)
        self._server.start()
        return "server"


def _processes(start: bytes) -> list[int]:
    """Returns the numbers of the processes whose command begins so."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if file.read_bytes().startswith(start):
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


@dataclass
class Ended:
    """What became of a study.

    Attributes:
        killed: What was killed, in order.
        lost: Runs of the undisturbed study that are not there.
        doubled: Runs that are there more than once, each further time.
        differing: Runs and searches whose state or numbers are others.
        found: What the doctor found.
        codes: How launches ended that were not killed and did not end with 0.
        said: What the last of them said.
    """

    killed: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    differing: int = 0
    found: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    said: str = ""


def stored(locations: Locations) -> tuple[Counter[Any], dict[Any, Any]]:
    """Returns how often every run is stored, and the numbers of every run and search."""
    reader = StudyReader(locations.tracking_uri, NAME)
    runs = reader.runs()
    runs = runs[runs["phase"] != SUPERSEDED_PHASE]
    keys = [tuple(row) for row in runs[KEY].astype(str).to_numpy()]
    numbers: dict[Any, Any] = dict(
        zip(keys, runs[VALUES].astype(str).to_numpy().tolist(), strict=True)
    )
    for key, rows in reader.curves().groupby(KEY):
        numbers["curve", *map(str, key)] = rows[CURVE].astype(str).to_numpy().tolist()
    with storages.opened(locations.storage_url) as storage:
        for search in storage.get_all_studies():
            name = search.study_name.rpartition("/")[0]
            numbers["search", name] = [
                (t.number, str(t.state), t.params, t.values, t.intermediate_values)
                for t in storage.get_all_trials(search._study_id)
            ]
    return Counter(keys), numbers


def judge(ended: Ended, locations: Locations, whole: tuple[Counter[Any], dict[Any, Any]]) -> None:
    """Compares a study with the undisturbed one."""
    counts, numbers = stored(locations)
    ended.lost = sum(key not in counts for key in whole[0])
    ended.doubled = sum(count - 1 for count in counts.values())
    ended.doubled += sum(key not in whole[0] for key in counts)
    ended.differing = sum(
        numbers.get(key) != value for key, value in whole[1].items() if key in numbers
    )
    ended.differing += sum(key not in numbers for key in whole[1] if key[0] in ("curve", "search"))
    ended.found = [each.text for each in examine(NAME, locations, whole=True).findings]


def study_in(folder: Path) -> Path:
    """Writes the study that is killed: trials that are pruned, and replicates."""
    return small_study.write(folder, trials=4, seeds=4, updates=120)


def kill_study(
    stores: Stores, driver: Forking, folder: Path, draw: random.Random, seconds: float, most: int
) -> tuple[Ended, Locations]:
    """Kills a study a few times and lets it end.

    Args:
        stores: Where it lives.
        driver: Starts launches.
        folder: A new one.
        draw: Says when, and how often.
        seconds: What an undisturbed launch takes.
        most: So many kills are wanted at most.
    """
    path, ended = study_in(folder), Ended()
    locations, options = stores.new(folder)
    words, errors = ["run", path, "--force", *options], folder / "stderr"
    for _ in range(min(most, draw.randint(1, MOST_KILLS))):
        driver.start(words, errors)
        time.sleep(draw.uniform(0.02, 0.9) * seconds)
        struck = stores.strike(driver, draw)
        code = driver.wait()
        if struck == "driver" and code == 0:  # it had ended before
            break
        ended.killed += [struck] if struck else []
        if code == 0:
            break
        _note(ended, code, errors)
    for _ in range(MOST_LAUNCHES):
        driver.start(words, errors)
        code = driver.wait()
        _note(ended, code, errors)
        if code == 0:
            break
    return ended, locations


def _note(ended: Ended, code: int, errors: Path) -> None:
    if code not in (0, -signal.SIGKILL):
        ended.codes.append(code)
        ended.said = errors.read_text(encoding="utf-8", errors="replace")[-400:]


def run(stores: Stores, kills: int, seed: int, say: Callable[[dict[str, Any]], None]) -> bool:
    """Kills studies until so many kills have hit, and returns whether all ended as they must."""
    draw, sums = random.Random(seed), Counter[str]()
    with Forking() as driver, tempfile.TemporaryDirectory() as root:
        whole_folder = Path(root, "whole")
        path = study_in(whole_folder)
        locations, options = stores.new(whole_folder)
        begun = time.monotonic()
        driver.start(["run", path, "--force", *options], whole_folder / "stderr")
        if driver.wait() != 0:
            raise SystemExit((whole_folder / "stderr").read_text())
        seconds = time.monotonic() - begun
        whole = stored(locations)
        say({"runs": len(whole[0]), "undisturbed_seconds": round(seconds, 1)})
        while sums["kills"] < kills:
            folder = Path(root, f"study-{sums['studies']}")
            left = kills - sums["kills"]
            ended, locations = kill_study(stores, driver, folder, draw, seconds, left)
            judge(ended, locations, whole)
            shutil.rmtree(folder)
            sums["studies"] += 1
            sums["kills"] += len(ended.killed)
            for name in ("lost", "doubled", "differing"):
                sums[name] += getattr(ended, name)
            sums["found"] += len(ended.found)
            sums["other_ends"] += len(ended.codes)
            say({"study": sums["studies"], **asdict(ended)})
    say({**sums, "seconds": round(time.monotonic() - begun)})
    return not (sums["lost"] or sums["doubled"] or sums["differing"] or sums["found"])


def main() -> None:
    """Kills, and ends with 1 where something was lost, doubled or other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", choices=("files", "ray", "postgres"))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    out = arguments.out or OUT / f"kills-{arguments.stores}.jsonl"
    with ExitStack() as stack, open(out, "w", encoding="utf-8") as file:

        def say(row: dict[str, Any]) -> None:
            line = json.dumps(row)
            print(line, flush=True)
            file.write(f"{line}\n")
            file.flush()

        say(
            {"date": date.today().isoformat(), "seed": arguments.seed, **provenance.describe("cpu")}
        )
        makers = {"files": lambda _: Files(), "ray": Ray, "postgres": Postgres}
        stores: Stores = makers[arguments.stores](stack)
        sys.exit(0 if run(stores, arguments.kills, arguments.seed, say) else 1)


if __name__ == "__main__":
    main()
