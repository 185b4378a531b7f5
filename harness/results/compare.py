"""Runs and arms that are in the books already, beside one another: also those of different studies.

Where all read the same text, split alike, they are compared as the arms of a study are, by the same
code, over the seeds that all of them have. What else differs between them is listed: a verdict is
on all of it together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import report
from harness.metrics import perplexity
from harness.report import Report, arm_results, sentences
from harness.report.tables import Section
from harness.results.comparands import ComparisonError, Side, differences, side_of, text_of
from harness.results.names import Archive
from harness.settings import Settings, from_dict
from harness.store.locations import Places
from harness.study import Arm, Measure, Replicate, Study, Tune


@dataclass(frozen=True)
class Comparison:
    """What can be said of sides, the first of which is the baseline.

    Attributes:
        report: Of those that compare with the baseline, as a study would report them; None where
            none does.
        lines: Everything else that there is to say.
        differences: The settings in which the sides differ, a column each.
    """

    report: Report | None
    lines: list[str]
    differences: Section

    def terminal(self, console: Console) -> None:
        """Prints the report, the remarks, and what differs."""
        if self.report is not None:
            self.report.terminal(console)
        for line in self.lines:
            console.print(Text(line))
        if not self.differences.rows:
            console.print("No setting differs.")
            return
        table = Table(
            box=box.SIMPLE_HEAD, title=self.differences.title, title_justify="left", pad_edge=False
        )
        for column in self.differences.header:
            table.add_column(column, overflow="fold")
        for row in self.differences.rows:
            table.add_row(*map(Text, row))
        console.print(table)


def compare(texts: Sequence[str], places: Places) -> Comparison:
    """Returns how arms, or single runs, compare with the first of them.

    Args:
        texts: ``STUDY:ARM``, ``STUDY:CONDITION/ARM``, either with ``:SEED`` for a single run, or
            MLflow ids of runs.
        places: Where the books are.

    Raises:
        ValueError: Fewer than two, one of them twice, arms beside runs, or one that is not in the
            books.
    """
    archive = Archive(places)
    sides = [side_of(archive.find(text)) for text in texts]
    names = [side.name for side in sides]
    if len(sides) < 2 or len(set(names)) < len(names):
        raise ComparisonError(
            f"compare: must be given two or more, each once, but got {', '.join(names)}."
        )
    if len({side.found.is_run for side in sides}) > 1:
        kinds = ", ".join(
            f"{side.name} (a run)" if side.found.is_run else f"{side.name} (an arm)"
            for side in sides
        )
        raise ComparisonError(
            f"compare: must be given arms, or single runs, but got {kinds}. Give one kind."
        )
    empty = [side.name for side in sides if side.runs.empty]
    if empty:
        raise ComparisonError(
            f"compare: each must have an ended replicate, but {', '.join(empty)} has none. Run it."
        )
    same = [side for side in sides if side.text == sides[0].text]
    others = [_apart(side, sides[0]) for side in sides if side not in same]
    made, lines = None, []
    if sides[0].found.is_run:
        lines = _runs(same)
    elif len(same) > 1:
        made, lines = _arms(same)
    else:
        lines = [_level(sides[0])]
    differing = differences(sides)
    if len(differing.rows) > 1 and len(same) > 1:
        lines.append(
            "Several settings differ, listed below: what is said is said of all of them together."
        )
    return Comparison(made, [*lines, *others], differing)


# Arms


def _arms(sides: Sequence[Side]) -> tuple[Report | None, list[str]]:
    """Returns the report of arms that read one text, and which seeds it is over."""
    common = [seed for seed in sides[0].seeds if all(seed in side.seeds for side in sides)]
    if not common:
        levels = [_level(side) for side in sides]
        return None, [*levels, "No seed is common to them: there is nothing to pair, and no test."]
    lines = [f"Paired over the {len(common)} seeds that all of them have: {', '.join(common)}."]
    for side in sides:
        unused = [seed for seed in side.seeds if seed not in common]
        lines += (
            [f"{side.name}: not used, since another lacks them: seeds {', '.join(unused)}."]
            if unused
            else []
        )
    rows = [_rows(side, common) for side in sides]
    runs = pd.concat(rows, ignore_index=True)
    return report.build(
        _study(sides, rows), runs, pd.DataFrame(), _timings(sides), _warnings(sides)
    ), lines


def _study(sides: Sequence[Side], rows: Sequence[pd.DataFrame]) -> Study:
    """Returns the study whose arms the sides would be; ``rows`` are their runs, of
    :func:`_rows`.
    """
    replicates = rows[0][rows[0]["phase"] == "replicate"]
    num_repeats, seeds = (
        int(replicates["repeat"].nunique()),
        int(replicates.groupby("repeat").size().max()),
    )
    num_first, until, at_most = seeds, None, None
    if sides[0].stages is not None and not _is_mixed(sides):
        # The rule has been followed, maybe for the sake of arms that are not here: every seed that
        # there is counts.
        num_first, until, at_most = sides[0].stages[0], 0.0, max(2, seeds)
    replicate = Replicate(num_first, sides[0].first_seed, until, at_most)
    trials = min(
        int(((own["phase"] == "trial") & own["state"].isin(arm_results.TRIAL_ENDS)).sum())
        for own in rows
    )
    tune = (
        Tune({}, trials // num_repeats, 1, "random", "none", 0, num_repeats)
        if trials or num_repeats > 1
        else None
    )
    measure = sides[0].measure
    names = [side.name for side in sides]
    return Study(
        name=" beside ".join(names),
        version=1,
        question=f"How do {', '.join(names)} compare?",
        source="",
        path=None,
        text="",
        overrides=(),
        arms=tuple(
            Arm(side.name, _representative(side, sides[0]), side is sides[0]) for side in sides
        ),
        tune=tune,
        replicate=replicate,
        measure=Measure(margin=measure["margin"], threshold=measure["threshold"], runtime=None),
        cell_files=(),
        _resolved={},
    )


def _representative(side: Side, baseline: Side) -> Settings:
    """Returns a side's settings, the text under the one name that the baseline gives it."""
    values = {name: found[0] for name, found in side.settings.items() if name != "cell source"}
    values |= {name: baseline.settings[name][0] for name in ("corpus", "path")}
    return from_dict(values)


def _is_mixed(sides: Sequence[Side]) -> bool:
    """Returns whether the number of seeds came by different rules, so that no one rule's test
    fits.
    """
    return len({side.rule for side in sides}) > 1


def _rows(side: Side, common: list[str]) -> pd.DataFrame:
    """Returns a side's runs as those of an arm: replicates at common seeds, trials of their
    repeats, counted from 0.
    """
    kept, trials = (
        side.runs[side.runs["seed"].isin(common)],
        side.found.runs[side.found.runs["phase"] == "trial"],
    )
    kept = kept.assign(index=kept.groupby("repeat").cumcount())
    numbers = {repeat: number for number, repeat in enumerate(sorted(kept["repeat"].unique()))}
    rows = pd.concat([trials[trials["repeat"].isin(numbers)], kept], ignore_index=True)
    tuned = [{name: own.get(name) for name in side.tuned} for own in rows["params"]]
    params = pd.Series(tuned, index=rows.index, dtype=object)
    return rows.assign(
        arm=side.name, condition="", repeat=rows["repeat"].map(numbers), params=params
    )


def _timings(sides: Sequence[Side]) -> pd.DataFrame:
    """Returns the timings of arms that were timed in the same rounds as the baseline; nothing where
    none was.
    """
    together = [side for side in sides if side.place == sides[0].place and side.is_timed]
    if not sides[0].is_timed or len(together) < 2:
        return pd.DataFrame()
    timings = sides[0].found.tracker.timings()
    timings = timings[timings["condition"] == sides[0].place[1]]
    names = {side.found.unit.arm: side.name for side in together}
    timings = timings[timings["arm"].isin(names)]
    return timings.assign(arm=timings["arm"].map(names), condition="")


def _warnings(sides: Sequence[Side]) -> list[str]:
    found = []
    tuned = [side.name for side in sides if side.search]
    if tuned and len(tuned) < len(sides):
        found.append(f"{', '.join(tuned)}: tuned, the others not; such a comparison is not fair.")
    if len({side.search["trials"] for side in sides if side.search}) > 1:
        counts = ", ".join(f"{side.name} {side.search['trials']}" for side in sides if side.search)
        found.append(f"trials: they differ ({counts}); more of them find better settings.")
    if _is_mixed(sides):
        found.append(
            "seeds: some were added until an interval was narrow enough; the plain test of them is inexact."
        )
    if len({side.place for side in sides}) > 1:
        found.append(
            "speed: not compared between studies, whose rounds of timing were not the same."
        )
    untimed = [side.name for side in sides if not side.is_timed]
    if untimed:
        found.append(
            f"speed: not shown for {', '.join(untimed)}: arms are timed as their first search set them."
        )
    return found


# What does not compare, or is no arm


def _level(side: Side) -> str:
    """Returns a side's level alone."""
    if side.found.is_run:
        if math.isfinite(side.nats):
            return f"{side.name}: {side.measured} {sentences.number(perplexity(side.nats))}."
        return f"{side.name}: {side.runs['state'].iloc[0]}."
    rows = _rows(side, side.seeds)
    study = _study([side], [rows])
    losses = arm_results.losses(study, rows, side.name)
    level = arm_results.level(losses, arm_results.num_first(study, [losses]))
    if level["mean"] is None:
        return f"{side.name}: no replicate finished."
    text, interval = sentences.number(perplexity(level["mean"])), level["interval"]
    if interval is not None:
        low, high = (sentences.number(perplexity(end)) for end in (interval.low, interval.high))
        text += f" (95 % interval {low} to {high})"
    num_finished = sum(map(math.isfinite, losses.values()))
    diverged = f", {len(losses) - num_finished} diverged" if num_finished < len(losses) else ""
    return (
        f"{side.name}: {side.measured} {text}, {num_finished} {sentences.unit(study)}s{diverged}."
    )


def _apart(side: Side, baseline: Side) -> str:
    """Returns the level of a side that reads another text than the baseline, and why it is no more
    than that.
    """
    names = [
        name for name in arm_results.TEXT_FIELDS if side.settings[name] != baseline.settings[name]
    ]
    reasons = [
        f"{n} {text_of(side.settings[n])} and {text_of(baseline.settings[n])}"
        for n in names
        if n != "path"
    ]
    if set(side.runs["corpus_fingerprint"]) != set(baseline.runs["corpus_fingerprint"]):
        reasons.insert(0, "the texts differ")
    return f"{_level(side)} Its losses do not compare with those of {baseline.name}: {'; '.join(reasons)}."


def _runs(sides: Sequence[Side]) -> list[str]:
    """Returns what single runs of one text are beside the first of them."""
    lines = [_level(side) for side in sides]
    first = sides[0]
    for side in sides[1:]:
        if side.measured != first.measured:
            lines.append(
                f"{side.name} and {first.name} do not compare: {side.measured} and {first.measured}."
            )
            continue
        difference = side.nats - first.nats
        if math.isfinite(difference):
            ratio = sentences.number(perplexity(difference), decimals=3)
            lines.append(
                f"{side.name} has {ratio} times the perplexity of {first.name} ({difference:+.4f} nats)."
            )
    if len(sides) > 1:
        lines.append("These are single runs: no test, and the difference may be their seeds'.")
    return lines
