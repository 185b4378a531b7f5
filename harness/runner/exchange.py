"""A study trained elsewhere: its plans as a file, and a worker's records into its stores."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from harness.data.regular_files import check_regular
from harness.runner import publisher, runtime_phase
from harness.runner.launch import held_study, open_scheduler
from harness.runner.progress import Display
from harness.runner.recorder import RecordError, check_text, key_of
from harness.runner.scheduler import Scheduler
from harness.store.kept import load_study
from harness.store.locations import Locations
from harness.store.lock import locked
from harness.store.presence import await_readable
from harness.store.soundness import check_stores
from harness.study.units import Phase, Unit
from harness.tasks.objective import loss_of
from harness.training import checkpoint, runtime
from harness.training.fields import MessageError
from harness.training.files import write_whole
from harness.training.messages import (
    Evaluation,
    Message,
    RunEnded,
    RunStarted,
    RunState,
    message_from_json,
    pruned_at,
)
from harness.training.plan import Plan, Run, plans_to_json
from harness.training.runtime import Measurement
from harness.training.saved_model import SavedModel, SavedModelError

REMEDY = "Write a new plan with `harness plan` and train that."
MAX_SHARDS = 10_000
"""More machines than any round has packs."""


class ShardError(ValueError):
    """A machine's share of a round is not given as it must be."""


@dataclass(frozen=True)
class Shard:
    """One machine's share of a round: every ``count``-th pack, from the ``number``-th on."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Returns the share that is written ``2/4``.

        Raises:
            ShardError: It is written otherwise, or there is no such share.
        """
        number, _, count = text.partition("/")
        digits = number.isascii() and number.isdigit() and count.isascii() and count.isdigit()
        if digits and max(map(len, (number, count))) < 10:
            if 1 <= int(number) <= int(count) <= MAX_SHARDS:
                return cls(int(number), int(count))
        raise ShardError(
            f"--shard: must be I/N, I from 1 to N and N at most {MAX_SHARDS:,}, but got {text!r}. "
            "Write for example --shard 2/4 for the second of four machines."
        )

    def of(self, plans: Sequence[Plan]) -> Sequence[Plan]:
        """Returns the share's packs; all shares together are all packs, each once."""
        return plans[self.number - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


WHOLE = Shard()


def write_plan(
    path: str | Path,
    target: Path,
    *,
    overrides: tuple[str, ...] = (),
    locations: Locations | None = None,
    force: bool = False,
    shard: Shard = WHOLE,
) -> str:
    """Writes the next round's plans, to be trained elsewhere, and returns a line on what they hold.

    Args:
        path: As :func:`harness.runner.launch.run`; so are the next ones but ``shard``.
        target: The file, which is written where there is something to write.
        overrides: Of the study.
        locations: Where its results live.
        force: Plan a design that cannot reach its own threshold.
        shard: The share of the round that is written. A round stays as it is until its records
            are ingested, so that shares may be written one after the other.

    Raises:
        ValueError: As :func:`harness.runner.launch.run`.
    """
    locations = locations or Locations(Path.cwd())
    with held_study(path, overrides, locations, force) as (study, assure):
        scheduler = open_scheduler(study, locations, Display(Console(quiet=True)), assure)
        with closing(scheduler):
            plans = [_to_travel(plan, scheduler) for plan in scheduler.next_plans()]
        share = shard.of(plans)
        if share:
            write_whole(target, plans_to_json(share).encode())
            num_runs = sum(len(plan.runs) for plan in share)
            return f"{target}: {num_runs} runs in {len(share)} packs"
        if plans:
            return f"{target}: not written, a round of {len(plans)} packs has none for {shard}"
        timing, phase = runtime_phase.timing_plans(scheduler), study.measure.runtime
        if not timing or phase is None:
            return f"{target}: not written, nothing is missing"
        if shard.number > 1:  # what is compared is measured on one machine
            return f"{target}: not written, the runtime phase is for 1/{shard.count} alone"
        text = runtime.phase_to_json(timing, rounds=phase.rounds, seconds=phase.seconds)
        write_whole(target, text.encode())
        return f"{target}: the runtime phase of {len(timing)} arms"


def _to_travel(plan: Plan, scheduler: Scheduler) -> Plan:
    """Returns a plan for another machine: it has no folder of checkpoints, and must have the text.

    Runs of one pack read one text.
    """
    unit = key_of(plan.runs[0].id).unit.first_repeat
    text = scheduler.datasets[unit].fingerprint
    return replace(plan, checkpoint_folder=None, corpus_fingerprint=text)


def ingest_records(
    path: str | Path,
    source: Path,
    *,
    overrides: tuple[str, ...] = (),
    locations: Locations | None = None,
) -> str:
    """Stores records that a worker wrote elsewhere, as if trained here, and returns a line on them.

    Raises:
        ValueError: As :func:`harness.runner.launch.run`; or the records are not this study's.
    """
    locations = locations or Locations(Path.cwd())
    await_readable(locations)
    study = load_study(path, overrides, locations)
    check_stores(locations)
    messages, measured, is_cut = _read(source)
    with ExitStack() as held:
        assure = held.enter_context(locked(study.name, locations))
        scheduler = held.enter_context(
            closing(open_scheduler(study, locations, Display(Console(quiet=True)), assure))
        )
        wanted = {run.id: run for plan in scheduler.next_plans() for run in plan.runs}
        ends = scheduler.recorder.ends
        missing = [message for message in messages if key_of(message.run) not in ends]
        for message in missing:
            _check_wanted(message, wanted, source, scheduler)
        _check_order(missing, source, scheduler.study.measure.objective)
        _check_arms(measured, {str(unit.first_repeat) for unit in scheduler.units}, source)
        _record(scheduler, missing)
        if runtime_phase.is_timed(scheduler):  # like runs that have ended: the first ones stand
            measured = []
        if measured:
            _check_arms(measured, set(runtime_phase.timing_plans(scheduler)), source)
            runtime_phase.store_timings(scheduler, measured)
        publisher.publish(scheduler, scheduler.report(), _going_on(scheduler, wanted))
    num_ended = sum(isinstance(message, RunEnded) for message in missing)
    line = f"{source}: {num_ended} runs and {len(measured)} timings stored"
    return f"{line}; its last line was cut off, and is left out" if is_cut else line


def _going_on(scheduler: Scheduler, wanted: Iterable[str]) -> set[Unit]:
    """Returns the arms of which runs are still to come, of runs that were ``wanted`` before.

    While any arm searches, those that do are the only ones whose runs are asked for.
    """
    keys = [key_of(run) for run in wanted]
    if any(key.phase is not Phase.REPLICATE for key in keys):
        return {unit.first_repeat for unit in scheduler.units}
    return {key.unit.first_repeat for key in keys if key not in scheduler.recorder.ends}


def _read(source: Path) -> tuple[list[Message], list[Measurement], bool]:
    """Returns the messages and the measurements of a worker's file, and whether its end is cut off.

    A worker that is killed leaves part of a line at the end, which says nothing.
    """
    messages, measured = [], []
    remedy = "Ingest it in parts, each with whole runs"
    check_regular(source.stat(), "records", source, held="its records are", remedy=remedy)
    try:
        # A character that is cut is part of such a line.
        whole, newline, rest = source.read_bytes().rpartition(b"\n")
        is_cut = bool(whole) and rest.startswith(b"{") and not _is_whole(rest)
        lines = (whole if is_cut else whole + newline + rest).decode().splitlines()
    except UnicodeDecodeError as error:
        raise MessageError(
            f"{source}: must be what a worker wrote, but is no UTF-8 ({error})."
        ) from error
    for line in lines:
        if line.startswith('{"measurement"'):
            measured.append(Measurement.from_json(line))
        elif line.strip():
            messages.append(message_from_json(line))
    return messages, measured, is_cut


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _check_wanted(
    message: Message, wanted: dict[str, Run], source: Path, scheduler: Scheduler
) -> None:
    """Raises RecordError for a record of a run, or of settings, that the study does not lack."""
    if message.run not in wanted:
        raise RecordError(
            f"{source}: records must be of runs that this study lacks, but got "
            f"run={message.run!r}. {REMEDY}"
        )
    if isinstance(message, RunStarted):
        digest = checkpoint.digest(wanted[message.run], message.corpus_fingerprint)
        if message.digest != digest:
            raise RecordError(
                f"{source}: records must be of this study's settings, but those of "
                f"run={message.run!r} are of others. {REMEDY}"
            )
        dataset = scheduler.datasets[key_of(message.run).unit.first_repeat]
        check_text(message, dataset, f"{source}: ")


def _check_arms(measured: Sequence[Measurement], known: set[str], source: Path) -> None:
    if strange := {row.arm for row in measured} - known:
        raise RecordError(
            f"{source}: timings must be of the arms that lack them, but got {sorted(strange)}. "
            f"{REMEDY}"
        )


def _check_order(messages: Sequence[Message], source: Path, objective: str) -> None:
    """Raises RecordError where runs do not begin, go on and end in this order, with their numbers.

    It is asked of a whole file before any of it is stored.
    """
    needed = ("seconds", "tokens_per_second", "tokens", objective, loss_of(objective))
    begun: dict[str, RunStarted] = {}
    last: dict[str, int] = {}
    ended: set[str] = set()

    def wrong(message: Message, rule: str) -> RecordError:
        return RecordError(f"{source}: {message.run} must {rule}, but does not. {REMEDY}")

    for message in messages:
        if message.run in ended:
            raise wrong(message, "say nothing after its end")
        if isinstance(message, RunStarted):
            begun[message.run] = message
            last.pop(message.run, None)  # a worker that was started again begins anew
            continue
        start = begun.get(message.run)
        if isinstance(message, RunEnded):
            ended.add(message.run)
            if start is None and message.state is not RunState.FAILED:
                raise wrong(message, "start before it ends")
            if message.state.has_objective and math.isnan(
                message.metrics.get("objective", math.nan)
            ):
                raise wrong(message, "end with an objective that is a number")
            _check_model(message, source)
        else:
            if start is None:
                raise wrong(message, "start before it goes on")
            if not last.get(message.run, 0) < message.update <= start.num_updates:
                raise wrong(message, f"be evaluated in order, within {start.num_updates:,} updates")
            last[message.run] = message.update
            if lacking := [name for name in needed if name not in message.metrics]:
                raise wrong(message, f"have {', '.join(lacking)} where it is evaluated")


def _check_model(ended: RunEnded, source: Path) -> None:
    if ended.model is None:
        return
    try:
        SavedModel.from_bytes(ended.model)
    except SavedModelError as error:
        raise RecordError(f"{source}: {ended.run}: {error}") from error


def _record(scheduler: Scheduler, messages: Sequence[Message]) -> None:
    """Records messages one by one, as if they came in now: a run that is pruned here ends there."""
    loss = loss_of(scheduler.study.measure.objective)
    pruned: set[str] = set()
    last: dict[str, Evaluation] = {}
    for batch in _with_ends(messages):
        if batch[0].run in pruned:
            continue
        if isinstance(batch[0], Evaluation):
            last[batch[0].run] = batch[0]
        for run in sorted(scheduler.record(batch)):  # all seeds of a trial go together
            pruned.add(run)
            scheduler.record([pruned_at(last[run], loss, last[run].time)])
    scheduler.writer.drain()
    scheduler.searches.tell_finished()


def _with_ends(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Yields messages one by one, but the last evaluation of a run together with its end.

    There a run has finished, and is pruned no more.
    """
    waiting = list(reversed(messages))
    while waiting:
        batch = [waiting.pop()]
        if isinstance(batch[0], Evaluation) and waiting:
            following = waiting[-1]
            if isinstance(following, RunEnded) and following.run == batch[0].run:
                batch.append(waiting.pop())
        yield batch
