"""The runs of an experiment that one process knows, by their place in the study."""

from collections.abc import Sequence

from harness.store.counting import counting, counting_arm
from harness.store.entries import Entry
from harness.store.reader import ARM_PHASE, key_of, phase_of, unit_of
from harness.store.rows import RunRow
from harness.study.units import RunKey, Unit


class KnownRuns:
    """Runs that were found or made, none of them twice.

    Attributes:
        entries: All of them, by MLflow's id.
        runs: The one that counts of each place.
        doubles: Those of a place that do not count.
        arms: The own run of each arm, of all its repeats.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.runs: dict[RunKey, Entry] = {}
        self.doubles: dict[RunKey, list[Entry]] = {}
        self.arms: dict[Unit, Entry] = {}

    def take_up(self, stored: Sequence[RunRow]) -> None:
        """Takes up all stored runs; of several of one place, known or new, one counts."""
        places: dict[RunKey, list[RunRow]] = {}
        arms: dict[Unit, list[RunRow]] = {}
        for run in stored:
            if run.run_id not in self.entries:
                is_loaded = not run.metrics
                params = dict(run.params) if is_loaded else {}
                self.entries[run.run_id] = Entry(run.run_id, run.status, params, is_loaded)
            if phase_of(run) == ARM_PHASE:
                arms.setdefault(unit_of(run), []).append(run)
            elif key := key_of(run):
                places.setdefault(key, []).append(run)
        for unit, own in arms.items():
            self.arms[unit] = self.entries[counting_arm(own, stored).run_id]
        for key, runs in places.items():
            counts = counting(runs).run_id
            self.runs[key] = self.entries[counts]
            if others := [self.entries[run.run_id] for run in runs if run.run_id != counts]:
                self.doubles[key] = others

    def add(self, key: RunKey, entry: Entry) -> None:
        """Adds a run that was made."""
        self.entries[entry.run_id] = self.runs[key] = entry

    def add_arm(self, arm: Unit, entry: Entry) -> None:
        """Adds an arm's own run that was made."""
        self.entries[entry.run_id] = self.arms[arm] = entry

    def forget_place(self, key: RunKey) -> None:
        """Frees a place: its runs are known by their ids alone."""
        del self.runs[key]
        self.doubles.pop(key, None)
