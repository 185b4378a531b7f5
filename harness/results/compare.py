"""Stored runs and arms beside one another, also those of different studies.

Where all read the same text, split alike, they are compared as the arms of a study are, by the same
code, over the seeds that all of them have. What else differs between them is listed: a verdict is
on all of it together.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from harness import report
from harness.report import Report, comparability, forms, measure, replicates, stages
from harness.report.number_texts import difference_texts, number
from harness.report.tables import Section
from harness.results.as_study import by_trial, is_mixed, rows_of, study_of, timings_of
from harness.results.comparands import (
    CELL_SOURCE,
    Comparand,
    ComparisonError,
    comparand_of,
    differences,
    text_of,
)
from harness.results.names import Archive
from harness.results.reports import write
from harness.results.searched import searches_of
from harness.store.folders import take_files
from harness.store.locations import Locations


@dataclass(frozen=True)
class Comparison:
    """What can be said of comparands, the first of which is the baseline.

    Attributes:
        report: Of those that compare with the baseline, as a study would report them, with the
            lines and the differences; None where none does.
        lines: Everything else that there is to say.
        differences: The settings in which they differ, a column each.
    """

    report: Report | None
    lines: list[str]
    differences: Section

    def terminal(self, console: Console, verbose: bool = False) -> None:
        """Prints what differs, the remarks and the report, whole where ``verbose`` says so."""
        if self.differences.rows:
            console.print(Text(self.differences.title, style="bold"))
            console.print(forms.terminal_section(self.differences, console.width))
        else:
            console.print("No setting differs.")
        for line in self.lines:
            console.print(Text(line))
        if self.report is not None:
            console.print()
            self.report.terminal(console, verbose)


def compare(texts: Sequence[str], locations: Locations) -> Comparison:
    """Returns how arms, or single runs, compare with the first of them.

    Args:
        texts: ``STUDY:ARM``, ``STUDY:CONDITION/ARM``, either with ``:SEED`` for a single run, or
            MLflow ids of runs.
        locations: Where their studies are stored.

    Raises:
        ValueError: There are fewer than two, one of them twice, arms beside runs, or one that is
            not in the store.
    """
    archive = Archive(locations)
    comparands = [comparand_of(archive.find(text)) for text in texts]
    _check(comparands)
    baseline = comparands[0]
    alike = [each for each in comparands if each.text == baseline.text]
    apart = [_apart(each, baseline) for each in comparands if each.text != baseline.text]
    arms_report = None
    if baseline.is_run:
        lines = _compare_runs(alike)
    elif len(alike) > 1:
        arms_report, lines = _compare_arms(alike)
    else:
        lines = [_level(baseline)]
    differing = differences(comparands)
    names = {row[0] for row in differing.rows}
    if "cell" in names:  # another cell has another source
        names.discard(CELL_SOURCE)
    if len(names) > 1 and len(alike) > 1:
        lines.append(
            "Several settings differ, as listed above: the comparison is of all of them together."
        )
    lines += apart
    if arms_report is not None:
        command = shlex.join(["harness", "compare", *texts]) + locations.reading_options
        rows = differing.rows or [("none", *[""] * len(comparands))]
        section = replace(differing, rows=rows, note=" ".join(lines))
        arms_report = replace(arms_report, differing=section, commands=[command])
    return Comparison(arms_report, lines, differing)


def print_comparison(
    texts: Sequence[str],
    locations: Locations,
    out: Path | None,
    console: Console,
    verbose: bool = False,
) -> None:
    """Prints how arms, or single runs, compare, and writes the report where a folder is given.

    Args:
        texts: As :func:`compare` takes them; so are the locations.
        locations: Where their studies are stored.
        out: The folder of the files, made where it is not there; None: nothing is written.
        console: Where the comparison is printed, and where its files are.
        verbose: Print the whole report, not the verdicts alone, and the path of every file.

    Raises:
        FolderError: No file can be made in ``out``.
        ValueError: As :func:`compare`; or there is no report to be written.
    """
    found = compare(texts, locations)
    if out is not None:
        if found.report is None:
            raise ComparisonError(
                "out: must stand beside arms that can be paired, of which there is a report, but "
                f"got out={str(out)!r} beside {', '.join(texts)}. Leave it out to see what can be "
                "said of them."
            )
        take_files(out, "out", "Name another with --out.")
        write(found.report, out, console, verbose)
    found.terminal(console, verbose)


def _check(comparands: Sequence[Comparand]) -> None:
    """Raises ComparisonError where these cannot be compared."""
    names = [each.name for each in comparands]
    if len(comparands) < 2 or len(set(names)) < len(names):
        raise ComparisonError(
            "compare: must be given two or more arms or runs, each once, but got "
            f"{', '.join(names)}. Name them STUDY:ARM, or STUDY:ARM:SEED."
        )
    if len({each.is_run for each in comparands}) > 1:
        kinds = ", ".join(
            f"{each.name} ({'a run' if each.is_run else 'an arm'})" for each in comparands
        )
        raise ComparisonError(
            f"compare: must be given arms, or single runs, but got {kinds}. Give one kind."
        )
    empty = [each.name for each in comparands if each.runs.empty]
    if empty:
        raise ComparisonError(
            f"compare: each must have an ended replicate, but {', '.join(empty)} has none. Run it."
        )


# Arms


def _compare_arms(comparands: Sequence[Comparand]) -> tuple[Report | None, list[str]]:
    """Returns the report of arms that read one text, and which seeds it is over."""
    common = [
        seed for seed in comparands[0].seeds if all(seed in each.seeds for each in comparands)
    ]
    if not common:
        levels = [_level(each) for each in comparands]
        return None, [*levels, "No seed is common to them: there is nothing to pair, and no test."]
    lines = [f"Paired over the {len(common)} seeds that all of them have: {', '.join(common)}."]
    for each in comparands:
        unused = [seed for seed in each.seeds if seed not in common]
        if unused:
            lines.append(
                f"{each.name}: not used, since another lacks them: seeds {', '.join(unused)}."
            )
    rows = [rows_of(each, common) for each in comparands]
    study = study_of(comparands, rows)
    searches = searches_of(
        comparands,
        {arm.name: arm.settings for arm in study.arms},
        {each.name: own for each, own in zip(comparands, rows, strict=True)},
    )
    arms_report = report.build(
        study,
        pd.concat(map(by_trial, comparands, rows), ignore_index=True),
        pd.DataFrame(),
        timings_of(comparands),
        _warnings(comparands),
        searches={"": searches},
    )
    return arms_report, lines


def _warnings(comparands: Sequence[Comparand]) -> list[str]:
    warnings = []
    tuned = [each for each in comparands if each.search]
    if tuned and len(tuned) < len(comparands):
        names = ", ".join(each.name for each in tuned)
        warnings.append(f"{names}: tuned, the others not; such a comparison is not fair.")
    if len({each.search["trials"] for each in tuned}) > 1:
        counts = ", ".join(f"{each.name} {each.search['trials']}" for each in tuned)
        warnings.append(f"trials: they differ ({counts}); more of them find better settings.")
    if is_mixed(comparands):
        warnings.append(
            "seeds: some were added until an interval was narrow enough; "
            "the plain test of them is inexact."
        )
    if len({each.timing_group for each in comparands}) > 1:
        warnings.append(
            "speed: not compared between studies, whose rounds of timing were not the same."
        )
    untimed = [each.name for each in comparands if not each.is_timed]
    if untimed:
        warnings.append(
            f"speed: not shown for {', '.join(untimed)}: "
            "arms are timed as their first search set them."
        )
    return warnings


# What does not compare, or is no arm


def _level(comparand: Comparand) -> str:
    """Returns a comparand's level alone."""
    name, measured = comparand.name, comparand.measured
    if comparand.is_run:
        if math.isfinite(comparand.nats):
            return f"{name}: {measured} {number(comparand.objective.level(comparand.nats))}."
        return f"{name}: {comparand.runs['state'].iloc[0]}."
    rows = rows_of(comparand, comparand.seeds)
    study = study_of([comparand], [rows])
    losses = replicates.losses(study, rows, name)
    level = replicates.level(losses, stages.num_first(study, [losses]))
    if level["mean"] is None:
        return f"{name}: no replicate finished."
    objective, interval = comparand.objective, level["interval"]
    text = number(objective.level(level["mean"]))
    if interval is not None:
        low, high = map(number, objective.level_ends(interval.low, interval.high))
        text += f" (95 % interval {low} to {high})"
    num_finished = sum(map(math.isfinite, losses.values()))
    diverged = f", {len(losses) - num_finished} diverged" if num_finished < len(losses) else ""
    return f"{name}: {measured} {text}, {num_finished} {measure.unit(study)}s{diverged}."


def _apart(comparand: Comparand, baseline: Comparand) -> str:
    """Returns the level of a comparand that reads another text than the baseline.

    The line also says why it is no more than that.
    """
    reasons, ours = [], comparand.first_settings
    if set(comparand.runs["corpus_fingerprint"]) != set(baseline.runs["corpus_fingerprint"]):
        reasons.append(f"the {'texts' if ours.is_of_language else 'sequences'} differ")
    if comparand.objective != baseline.objective:
        reasons.append(f"judged by {comparand.objective.name} and {baseline.objective.name}")
    found = comparability.text_differences(ours, baseline.first_settings)
    reasons += [
        f"{name} {text_of(value)} and {text_of(other)}"
        for name, (value, other) in found.items()
        if name not in ("path", "paths")
    ]
    return (
        f"{_level(comparand)} Its losses do not compare with those of {baseline.name}: "
        f"{'; '.join(reasons)}."
    )


def _compare_runs(comparands: Sequence[Comparand]) -> list[str]:
    """Returns what single runs of one text are beside the first of them."""
    lines = [_level(each) for each in comparands]
    first = comparands[0]
    for each in comparands[1:]:
        if each.measured != first.measured:
            lines.append(
                f"{each.name} and {first.name} do not compare: "
                f"{each.measured} and {first.measured}."
            )
            continue
        difference = each.nats - first.nats
        if math.isfinite(difference):
            objective = first.objective
            shown, _, _ = difference_texts(objective, difference, None)
            clause = f"{each.name} has {shown} times the {objective.name} of {first.name}"
            if not objective.is_ratio:
                clause = f"{each.name} differs in {objective.name} from {first.name} by {shown}"
            unit = f" {objective.loss_unit}" if objective.loss_unit else ""
            lines.append(f"{clause} ({difference:+.4f}{unit}).")
    if len(comparands) > 1:
        lines.append("These are single runs: no test, and the difference may be their seeds'.")
    return lines
