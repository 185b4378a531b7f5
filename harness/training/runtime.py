"""The runtime phase: what an update costs, arm beside arm, with nothing else going on.

Ten replicates in one pack are one timing, ten times; so runtime is measured by itself, in rounds A
B C A B C, and a round's figures are compared with one another and with no other's.
"""

import json
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Literal

from harness import timing
from harness.settings import MOST_ROUNDS, MOST_SECONDS, SampleRequest
from harness.training.cuda_graph import EAGER_CALLS
from harness.training.fields import MAX_RUN_ID, MAX_TEXT, FieldReader, parsed
from harness.training.pack import Pack
from harness.training.plan import Plan, PlanError, plans_from_json, plans_to_json

Mode = Literal["train", "forward"]
MODES: tuple[Mode, ...] = ("train", "forward")
WARM_UP_UPDATES = EAGER_CALLS + 1
"""So many updates are not counted: where updates are recorded, the last of these is the first
replayed.
"""
LONG_SECONDS = 2.0
"""An update that takes so long is warm after one: what the first one takes besides is little."""
PROBE_SECONDS = 0.1
"""For so long short updates are watched: of the first ones of a process, or beside others' work,
two may take several times as long as the rest.
"""


@dataclass(frozen=True)
class Measurement:
    """One repeat of a timing.

    ``seconds`` are per update of the whole pack, ``tokens_per_second`` of one of its runs.
    """

    arm: str
    mode: Mode
    pack: int
    round: int
    seconds: float
    tokens_per_second: float
    engine: str
    device: str
    precision: str
    threads: int
    busy: bool

    @staticmethod
    def from_json(line: str) -> "Measurement":
        """Returns the measurement of a line that :func:`answer` wrote.

        Raises:
            MessageError: The line is none; it names the field that is wrong and its value.
        """
        whole = FieldReader(parsed(line), "")
        fields = whole.inside("measurement")
        mode = fields.text("mode", MAX_TEXT)
        if mode not in MODES:
            raise fields.wrong("mode", f"one of {', '.join(MODES)}", mode)
        measurement = Measurement(
            arm=fields.text("arm", MAX_RUN_ID),
            mode=mode,
            pack=fields.count("pack"),
            round=fields.count("round"),
            seconds=fields.number("seconds"),
            tokens_per_second=fields.number("tokens_per_second"),
            engine=fields.text("engine", MAX_TEXT),
            device=fields.text("device", MAX_TEXT),
            precision=fields.text("precision", MAX_TEXT),
            threads=fields.count("threads"),
            busy=fields.flag("busy"),
        )
        fields.check_all_read()
        whole.check_all_read()
        return measurement


class Stand:
    """One arm in one pack size, warmed up, and how many updates fill a repeat."""

    def __init__(self, arm: str, plan: Plan):
        self.arm, self.pack = (
            arm,
            Pack(replace(plan, samples=SampleRequest(), checkpoint_folder=None)),
        )
        self._size = len(plan.runs)
        self._counts: dict[Mode, int] = {}

    def warm_up(self, seconds: float) -> None:
        """Runs each mode a few times and settles how many updates take ``seconds``."""
        for mode in MODES:
            self._work(mode, WARM_UP_UPDATES)
            begun = time.perf_counter()
            self._work(mode, WARM_UP_UPDATES)
            each = (time.perf_counter() - begun) / WARM_UP_UPDATES
            self._counts[mode] = max(1, int(seconds / each) + 1)

    def measure(self, mode: Mode, round_index: int) -> Measurement:
        """Returns one repeat."""
        count = self._counts[mode]
        with timing.Watch() as watch:
            self._work(mode, count)
        seconds = watch.seconds / count
        pack, settings = self.pack, self.pack.plan.settings
        return Measurement(
            self.arm,
            mode,
            self._size,
            round_index,
            seconds,
            pack.task.targets_per_update / seconds,
            pack.engine.name,
            pack.device.type,
            settings.precision,
            pack.threads,
            watch.busy,
        )

    def close(self) -> None:
        """Ends its threads."""
        self.pack.close()

    def _work(self, mode: Mode, count: int) -> None:
        (self.pack.train_updates if mode == "train" else self.pack.forward_updates)(count)


def measure(
    plans: Mapping[str, list[Plan]], *, rounds: int, seconds: float
) -> Iterator[Measurement]:
    """Yields every repeat, in rounds over all arms, pack sizes and modes.

    Args:
        plans: Arm -> one plan a pack size.
        rounds: Repeats of everything.
        seconds: Least length of one repeat.
    """
    stands: list[Stand] = []
    try:
        stands += [Stand(arm, plan) for arm, sizes in plans.items() for plan in sizes]
        for stand in stands:
            stand.warm_up(seconds)
        for index in range(rounds):
            for mode in MODES:
                for stand in stands:
                    yield stand.measure(mode, index)
    finally:
        for stand in stands:
            stand.close()


def phase_to_json(plans: Mapping[str, list[Plan]], *, rounds: int, seconds: float) -> str:
    """Returns the arguments of :func:`measure` as a file for a worker; :func:`answer` reads it."""
    arms = {arm: json.loads(plans_to_json(sizes)) for arm, sizes in plans.items()}
    return json.dumps({"runtime": {"rounds": rounds, "seconds": seconds, "arms": arms}}, indent=1)


def is_phase(text: str) -> bool:
    """Returns whether a worker's file asks for a runtime phase."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and "runtime" in values


def answer(text: str) -> Iterator[str]:
    """Yields a line of JSON for every repeat of the phase that :func:`phase_to_json` wrote.

    Raises:
        PlanError: The text asks for no phase that could be measured.
    """
    try:
        asked = json.loads(text)["runtime"]
        rounds, seconds = int(asked["rounds"]), float(asked["seconds"])
        plans = {arm: plans_from_json(json.dumps(sizes)) for arm, sizes in asked["arms"].items()}
    except PlanError:
        raise
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise PlanError(
            f"plan: a runtime phase must have rounds, seconds and arms, but got {error!r}."
        ) from error
    if not 1 <= rounds <= MOST_ROUNDS or not 0 <= seconds <= MOST_SECONDS:
        raise PlanError(
            f"plan: a runtime phase must have 1 to {MOST_ROUNDS:,} rounds of at most "
            f"{MOST_SECONDS:,} s, but got rounds={rounds} and seconds={seconds}."
        )
    for measurement in measure(plans, rounds=rounds, seconds=seconds):
        yield json.dumps({"measurement": asdict(measurement)})


def update_seconds(pack: Pack, *, updates: int = 2) -> float:
    """Returns the seconds an update of a new pack takes, after as many as a stand's warm-up makes.

    It is the median over portions of so many ``updates``, which go on for ``PROBE_SECONDS``. Where
    updates are long, and nothing is recorded, it is that of the second one.
    """
    begun = time.perf_counter()
    pack.train_updates(1)
    if pack.device.type == "cpu" and time.perf_counter() - begun > LONG_SECONDS:
        updates = 1
    else:
        pack.train_updates(WARM_UP_UPDATES - 1)
    ends = [time.perf_counter()]
    while len(ends) == 1 or ends[-1] - ends[0] < PROBE_SECONDS:
        pack.train_updates(updates)
        ends.append(time.perf_counter())
    return statistics.median(end - start for start, end in pairwise(ends)) / updates
