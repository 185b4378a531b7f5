"""One subject after the other within a budget of seconds, the most wanted first.

Each is made, warmed up, measured and freed before the next one is made, so that all of them fit a
device's memory. What no longer fits the budget is left out, and a line says so.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cells
from harness import engine, timing
from harness.bench import kernels, wanted
from harness.bench.journal import Failed, Figure, Journal, Kernels, Label, LeftOut, Line, Recorder
from harness.bench.measure import Stand, describe, problem
from harness.bench.options import Options, own_shape
from harness.bench.record import MODES
from harness.bench.subjects import (
    Candidate,
    one_hot_refusal,
    published_loop,
    settings_of,
    torch_nn,
    trained,
    write_text,
)
from harness.bench.ticker import Ticker

NO_TIME = "the budget was spent"


def measure(options: Options, words: Sequence[str], ticker: Ticker) -> Journal:
    """Measures what fits ``options.budget``, and returns it; the file has each line at once.

    The budget counts from here on. A subject that has begun is warmed up to the end, by which the
    budget may be exceeded.
    """
    assert options.budget is not None
    begun = time.monotonic()
    labels = wanted.labels(options)
    made = describe(options, ["bench", *words]) | {
        "precision": ", ".join(dict.fromkeys(label.precision for label in labels)),
        "budget": str(options.budget),
    }
    recorder = Recorder(options.json, made)
    with contextlib.closing(recorder), tempfile.TemporaryDirectory(prefix="harness-bench-") as home:
        turns = Turns(options, recorder, Path(home), begun + options.budget, ticker)
        turns.measure(labels)
        if options.device == "cuda":
            turns.count_kernels()
        recorder.end(time.monotonic() - begun)
    return recorder.journal


class Turns:
    """Makes one subject after the other until the deadline, in the clock's seconds."""

    def __init__(
        self, options: Options, recorder: Recorder, folder: Path, deadline: float, ticker: Ticker
    ):
        self._options, self._recorder, self._folder = options, recorder, folder
        self._deadline, self._ticker = deadline, ticker

    def measure(self, labels: Sequence[Label]) -> None:
        """Measures each subject."""
        self._each(labels, self._figures)

    def count_kernels(self) -> None:
        """Profiles the single runs of what was measured, the published loops aside.

        That is done last, since a device that was profiled once may launch more slowly.
        """
        labels = [figure.label for figure in self._recorder.journal.figures()]
        single = [label for label in labels if label.kind != "loop" and label.pack == 1]
        self._each(list(dict.fromkeys(single)), self._kernels)

    def _each(self, labels: Sequence[Label], lines_of: Callable[[Label], Iterator[Line]]) -> None:
        for index, label in enumerate(labels):
            left = max(0.0, self._deadline - time.monotonic())
            self._ticker.say(f"{index} of {len(labels)}, {left:.0f} s left: {label}")
            if time.monotonic() >= self._deadline:
                self._recorder.add(LeftOut(label, NO_TIME))
                continue
            for line in _guarded(label, lines_of):
                self._recorder.add(line)
            timing.give_back_memory()

    def _figures(self, label: Label) -> Iterator[Line]:
        refusal = _refusal(label, self._options)
        if refusal is not None:
            yield LeftOut(label, refusal)
            return
        with contextlib.closing(self._stand(label)) as stand:
            label = replace(label, name=stand.candidate.name)
            stand.warm_up(self._options.seconds)
            for _ in range(self._options.rounds):
                if time.monotonic() + stand.seconds_a_round > self._deadline:
                    break
                for mode in MODES:
                    stand.measure(mode)
            yield from _found(label, stand)

    def _kernels(self, label: Label) -> Iterator[Line]:
        with contextlib.closing(self._stand(label)) as stand:
            stand.warm_up(self._options.seconds)
            failure = stand.series["train"].problem
            if failure is not None:
                yield Failed(label, failure)
                return
            found = kernels.profiled(lambda n: stand.work("train", n), self._options.device)
            yield Kernels(label, *found)

    def _stand(self, label: Label) -> Stand:
        options = replace(self._options, precision=label.precision)
        engine.allow_tf32(label.precision)  # torch.nn and the loop do not say it themselves
        return Stand(_candidate(label, options, self._folder), own_shape(label.shape))


def _guarded(label: Label, lines_of: Callable[[Label], Iterator[Line]]) -> Iterator[Line]:
    """Returns the lines of a subject; an exception costs its own line and no other."""
    try:
        yield from lines_of(label)
    except Exception as error:  # of any kind
        yield Failed(label, problem(error))


def _refusal(label: Label, options: Options) -> str | None:
    """Returns why the subject cannot be measured here, or None where it can."""
    if label.kind == "engine" and label.name != wanted.ANY_ENGINE:
        cell = cells.find(label.cell)
        return engine.get(label.name).refusal(cell, options.device, label.precision)
    if label.kind == "peer":
        return one_hot_refusal(own_shape(label.shape), _form(label), label.pack, label.precision)
    return None


def _candidate(label: Label, options: Options, folder: Path) -> Candidate:
    shape, cell = own_shape(label.shape), cells.find(label.cell)
    settings = settings_of(shape, options, write_text(shape, folder))
    if label.kind == "peer":
        return torch_nn(settings, cell, _form(label), label.pack)
    if label.kind == "loop":
        return published_loop(settings, cell, label.name)
    name = label.name
    if name == wanted.ANY_ENGINE:
        name, _ = engine.resolve([cell], options.device, label.precision)
    return trained(settings, cell, name, label.pack, options)


def _form(label: Label) -> str:
    """Returns the form of torch.nn's input."""
    return label.name.rpartition(" ")[2]


def _found(label: Label, stand: Stand) -> Iterator[Line]:
    """Returns what became of a subject that was warmed up."""
    series, notes = stand.series, tuple(stand.notes())
    failure = series["train"].problem
    if failure is not None:
        yield Failed(label, failure)
    elif not series["train"].seconds:
        yield LeftOut(label, NO_TIME)
    else:
        for mode in MODES:
            found = series[mode]
            yield Figure(label, mode, tuple(found.seconds), sum(found.busy), notes)
