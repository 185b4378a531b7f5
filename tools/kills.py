"""Small studies that are killed again and again, and what is stored of them in the end.

``make kills`` kills a thousand times where results live in files, and a hundred times each on a Ray
cluster, where drivers and workers die, and in PostgreSQL, where drivers and the server do. Every
study must end as one that nobody disturbed: no run lost, none there twice or put aside, no number
other, no launch ended by an error. A row a study is added to studies/bench/kills-STORES.jsonl, and
a row with the sums over the whole file ends a sitting: what is interrupted goes on where it was.
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
from harness.cli.faults import FAULT  # noqa: E402
from harness.results.doctor import examine  # noqa: E402
from harness.store.locations import Locations  # noqa: E402
from harness.store.reader import ARM_PHASE, StudyReader, phase_of, unit_of  # noqa: E402
from harness.store.rows import RunRow  # noqa: E402
from harness.tuning import storage as storages  # noqa: E402

OUT = ROOT / "studies" / "bench"
NAME = "small"
KEY = ["arm", "phase", "index", "draw"]
CURVE = ["update", "train/loss", "validation/loss"]
MEASURED = ("seconds", "tokens_per_second", "memory")
"""What the names of metrics have whose values no two runs share: only their number is compared."""
WRONG = ("lost", "doubled", "differing", "found", "bad_ends")
"""What must be empty of every study."""
CODES = {None: (0,), "driver": (-signal.SIGKILL,), "worker": (0,), "server": (0, FAULT)}
"""How a launch may end by what was killed; one that meets no server when it begins says so."""
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

        size: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
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
        doubled: Runs that are there more than once, each further time, or that were put aside.
        differing: What of which run or search is other.
        found: What the doctor found.
        bad_ends: How launches ended that must not end so, and what they said last.
        seconds: How long all of it took.
    """

    killed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    bad_ends: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Stored:
    """How often every run is stored, and what is of each run and search, by the parts' names."""

    counts: Counter[str]
    parts: dict[str, dict[str, Any]]


def stored(locations: Locations) -> Stored:
    """Returns what a study's stores hold, without what no two studies share."""
    reader = StudyReader(locations.tracking_uri, NAME)
    rows = {row.run_id: row for row in reader.search()}
    keys = {run_id: _key(row) for run_id, row in rows.items()}
    parts = {keys[run_id]: _parts(reader, row) for run_id, row in rows.items()}
    for key, points in reader.curves().groupby(KEY):
        name = "/".join(map(str, key))
        parts[name]["curve"] = points[CURVE].astype(str).to_numpy().tolist()
    with storages.opened(locations.storage_url) as storage:
        for search in storage.get_all_studies():
            name = search.study_name.rpartition("/")[0]
            parts[f"search {name}"] = {
                str(trial.number): repr(
                    (trial.state, trial.params, trial.values, trial.intermediate_values)
                )
                for trial in storage.get_all_trials(search._study_id)
            }
    return Stored(Counter(keys.values()), parts)


def _key(row: RunRow) -> str:
    return f"{unit_of(row)}/{phase_of(row)}/{row.tags['index']}/{row.tags.get('draw', 0)}"


def _parts(reader: StudyReader, row: RunRow) -> dict[str, Any]:
    """Returns what is compared of a run: also how often each point was booked."""
    parts: dict[str, Any] = {
        "status": row.status,
        "tags": {name: row.tags.get(name) for name in ("seed", "state")},
        "parameters": {name: text for name, text in row.params.items() if name != "path"},
        "metrics": {name: _shared(name, value) for name, value in row.metrics.items()},
    }
    if phase_of(row) != ARM_PHASE:  # an arm's numbers are written by every launch that ends
        points = reader.points(row)
        parts["points"] = Counter((p.metric, p.update, _shared(p.metric, p.value)) for p in points)
    return parts


def _shared(metric: str, value: float) -> str | None:
    return None if any(word in metric for word in MEASURED) else repr(value)


def judge(ended: Ended, locations: Locations, whole: Stored) -> None:
    """Compares a study with the undisturbed one."""
    now = stored(locations)
    ended.lost = [key for key in whole.counts if key not in now.counts]
    ended.doubled = list((now.counts - Counter(list(whole.counts))).elements())
    for key, wanted in whole.parts.items():
        if key not in ended.lost:
            parts = now.parts.get(key, {})
            names = [name for name in wanted | parts if wanted.get(name) != parts.get(name)]
            ended.differing += [f"{key}: {name}" for name in names]
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
    left_seconds = seconds
    for _ in range(min(most, draw.randint(1, MOST_KILLS))):
        driver.start(words, errors)
        waited_seconds = draw.uniform(0.02, 0.9) * left_seconds
        time.sleep(waited_seconds)
        # What was done is not done again; the end, which each launch has of its own, is a third.
        left_seconds = max(left_seconds - waited_seconds, seconds / 3)
        struck = stores.strike(driver, draw)
        code = driver.wait()
        if struck == "driver" and code != -signal.SIGKILL:  # it had ended before
            struck = None
        ended.killed += [struck] if struck else []
        _note_end(ended, struck, code, errors)
        if code == 0:
            break
    for _ in range(MOST_LAUNCHES):
        driver.start(words, errors)
        code = driver.wait()
        _note_end(ended, None, code, errors)
        if code == 0:
            break
    return ended, locations


def _note_end(ended: Ended, struck: str | None, code: int, errors: Path) -> None:
    """Notes how a launch ended, unless it may end so."""
    said = errors.read_text(encoding="utf-8", errors="replace")
    if code not in CODES[struck] or "Traceback" in said:
        ended.bad_ends.append(f"{code} after {struck or 'nothing'} was killed: {said[-400:]}")


class Rows:
    """The rows of a file, to which each sitting adds its own."""

    def __init__(self, path: Path) -> None:
        """Reads the rows that are there; a last one that was not written whole is dropped."""
        self._path = path
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        self._rows = [json.loads(line) for line in whole.splitlines()]

    def add(self, row: dict[str, Any]) -> None:
        """Writes a row, and prints it."""
        line = json.dumps(row)
        print(line, flush=True)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        self._rows.append(row)

    def sums(self) -> Counter[str]:
        """Returns the sums over all studies of the file."""
        sums = Counter[str]({name: 0 for name in ("studies", "kills", *WRONG)})
        for row in self._rows:
            if "study" in row:
                sums["studies"] += 1
                sums["kills"] += len(row["killed"])
                sums.update(f"{struck}_kills" for struck in row["killed"])
                sums.update({name: len(row[name]) for name in WRONG})
        return sums


def undisturbed(stores: Stores, driver: Forking, folder: Path) -> tuple[Stored, float]:
    """Returns what is stored of a study that nobody disturbs, and how long a launch takes.

    The second launch is timed: the first finds the machine's caches empty, and twice its seconds
    would let half of the studies end before they are killed.

    Raises:
        SystemExit: It did not end as it must.
    """
    for place in (folder / "first", folder / "second"):
        path = study_in(place)
        locations, options = stores.new(place)
        begun = time.monotonic()
        driver.start(["run", path, "--force", *options], place / "stderr")
        code, seconds = driver.wait(), time.monotonic() - begun
        if code != 0:
            raise SystemExit((place / "stderr").read_text())
    whole = stored(locations)
    if found := examine(NAME, locations, whole=True).findings:
        raise SystemExit(f"the undisturbed study must be sound, but {found[0].text}")
    return whole, seconds


def run(stores: Stores, kills: int, seed: int, rows: Rows) -> bool:
    """Kills studies until the file has so many kills; returns whether all ended as they must."""
    with Forking() as driver, tempfile.TemporaryDirectory() as root:
        whole, seconds = undisturbed(stores, driver, Path(root, "whole"))
        rows.add({"runs": whole.counts.total(), "undisturbed_seconds": round(seconds, 1)})
        while (sums := rows.sums())["kills"] < kills:
            number, begun = sums["studies"] + 1, time.monotonic()
            folder, draw = Path(root, f"study-{number}"), random.Random(f"{seed} {number}")
            left = kills - sums["kills"]
            ended, locations = kill_study(stores, driver, folder, draw, seconds, left)
            judge(ended, locations, whole)
            ended.seconds = round(time.monotonic() - begun, 1)
            shutil.rmtree(folder)
            rows.add({"study": number, **asdict(ended)})
    rows.add(dict(sums))
    return not any(sums[name] for name in WRONG)


def main() -> None:
    """Kills, and ends with 1 where a study of the file did not end as it must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", choices=("files", "ray", "postgres"))
    parser.add_argument("--kills", type=int, default=100, help="those of earlier sittings count")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = Rows(arguments.out or OUT / f"kills-{arguments.stores}.jsonl")
    known = {"date": date.today().isoformat(), "seed": arguments.seed, **provenance.describe("cpu")}
    with ExitStack() as stack:
        makers: dict[str, Callable[[ExitStack], Stores]] = {
            "files": lambda _: Files(),
            "ray": Ray,
            "postgres": Postgres,
        }
        stores = makers[arguments.stores](stack)
        rows.add(known)
        is_sound = run(stores, arguments.kills, arguments.seed, rows)
    sys.exit(0 if is_sound else 1)


if __name__ == "__main__":
    main()
