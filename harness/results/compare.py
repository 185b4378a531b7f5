"""Stored runs and arms beside one another, also those of different studies.

Where all read the same text, split alike, they are compared as the arms of a study are, by the same
code, over the seeds that all of them have. What else differs between them is listed: a verdict is
on all of it together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
from rich.console import Console
from rich.text import Text

from harness import report
from harness.report import Report, comparability, forms, replicates, sentences, stages
from harness.report.number_texts import difference_texts, number
from harness.report.tables import Section
from harness.report.tried import ENDS, whole
from harness.results.comparands import (
    CELL_SOURCE,
    Comparand,
    ComparisonError,
    comparand_of,
    differences,
    text_of,
)
from harness.results.names import Archive
from harness.results.searched import acting, searches_of
from harness.settings import Settings
from harness.store.locations import Locations
from harness.study import Arm, Measure, Replicate, Study, Tune
from harness.study.units import Phase


@dataclass(frozen=True)
class Comparison:
    """What can be said of comparands, the first of which is the baseline.

    Attributes:
        report: Of those that compare with the baseline, as a study would report them; None where
            none does.
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
    return Comparison(arms_report, [*lines, *apart], differing)


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
    rows = [_rows(each, common) for each in comparands]
    study = _study(comparands, rows)
    searches = searches_of(
        comparands,
        {arm.name: arm.settings for arm in study.arms},
        {each.name: own for each, own in zip(comparands, rows, strict=True)},
    )
    arms_report = report.build(
        study,
        pd.concat(map(_by_trial, comparands, rows), ignore_index=True),
        pd.DataFrame(),
        _timings(comparands),
        _warnings(comparands),
        searches={"": searches},
    )
    return arms_report, lines


def _by_trial(comparand: Comparand, rows: pd.DataFrame) -> pd.DataFrame:
    """Returns an arm's runs with one row a trial, however many seeds its study gave to each."""
    is_trial = rows["phase"] == Phase.TRIAL
    trials = whole(comparand.search.get("seeds", 1), rows[is_trial])
    return pd.concat([trials, rows[~is_trial]], ignore_index=True)


def _study(comparands: Sequence[Comparand], rows: Sequence[pd.DataFrame]) -> Study:
    """Returns the study whose arms the comparands would be.

    ``rows`` are their runs, as :func:`_rows` returns them.
    """
    baseline = comparands[0]
    arms = []
    for each in comparands:
        settings = _representative(each, baseline)
        searched = acting(each, settings)
        arms.append(Arm(each.name, settings, each is baseline, searched=searched))
    names = [each.name for each in comparands]
    measure = baseline.measure
    return Study(
        name=" beside ".join(names),
        version=max(each.version for each in comparands),
        question=f"How do {', '.join(names)} compare?",
        source="",
        path=None,
        text="",
        overrides=(),
        arms=tuple(arms),
        tune=_tune(rows),
        replicate=_replicate(comparands, rows[0]),
        measure=Measure(
            objective=measure["objective"],
            margin=measure["margin"],
            threshold=measure["threshold"],
            runtime=None,
        ),
        cell_files=(),
        _resolved={},
    )


def _tune(rows: Sequence[pd.DataFrame]) -> Tune | None:
    """Returns a search of as many trials as each of these arms had in each of its repeats."""
    num_repeats = _num_repeats(rows[0])
    num_trials = min(map(_num_trials, rows))
    if not num_trials and num_repeats == 1:
        return None
    return Tune({}, num_trials // num_repeats, 1, "random", "none", 0, num_repeats)


def _num_trials(rows: pd.DataFrame) -> int:
    trials = rows[(rows["phase"] == Phase.TRIAL) & rows["state"].isin(ENDS)]
    return len(trials.drop_duplicates(["repeat", "index"]))


def _replicate(comparands: Sequence[Comparand], baseline_rows: pd.DataFrame) -> Replicate:
    """Returns the plan of seeds that the comparands have followed."""
    baseline = comparands[0]
    num_seeds = int(_replicates(baseline_rows).groupby("repeat").size().max())
    if baseline.stages is None or _is_mixed(comparands):
        return Replicate(num_seeds, baseline.first_seed)
    # The rule has been followed, maybe for the sake of arms that are not here: every seed that
    # there is counts.
    return Replicate(baseline.stages[0], baseline.first_seed, 0.0, max(2, num_seeds))


def _num_repeats(rows: pd.DataFrame) -> int:
    return int(_replicates(rows)["repeat"].nunique())


def _replicates(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["phase"] == Phase.REPLICATE]


def _representative(comparand: Comparand, baseline: Comparand) -> Settings:
    """Returns a comparand's settings, with the text under the baseline's name for it."""
    names = {name: getattr(baseline.first_settings, name) for name in comparability.TEXT_NAMES}
    return replace(comparand.first_settings, **names)


def _is_mixed(comparands: Sequence[Comparand]) -> bool:
    """Returns whether the numbers of seeds came by different rules.

    No one rule's test fits then.
    """
    return len({each.rule for each in comparands}) > 1


def _rows(comparand: Comparand, common: list[str]) -> pd.DataFrame:
    """Returns a comparand's runs as those of an arm.

    They are the replicates at common seeds, and the trials of their repeats, which are counted
    from 0.
    """
    shared = comparand.runs[comparand.runs["seed"].isin(common)]
    shared = shared.assign(index=shared.groupby("repeat").cumcount())
    numbers = {repeat: i for i, repeat in enumerate(sorted(shared["repeat"].unique()))}
    runs = comparand.selection.runs
    searched = runs["phase"].isin([Phase.TRIAL, Phase.FINALIST]) & runs["repeat"].isin(numbers)
    rows = pd.concat([runs[searched], shared], ignore_index=True)
    tuned = [{name: params.get(name) for name in comparand.tuned} for params in rows["params"]]
    return rows.assign(
        arm=comparand.name,
        condition="",
        repeat=rows["repeat"].map(numbers),
        repeat_stored=rows["repeat"],
        params=pd.Series(tuned, index=rows.index, dtype=object),
    )


def _timings(comparands: Sequence[Comparand]) -> pd.DataFrame:
    """Returns the timings of arms that were timed in the same rounds as the baseline.

    There are none where no other arm was.
    """
    baseline = comparands[0]
    together = [
        each for each in comparands if each.is_timed and each.timing_group == baseline.timing_group
    ]
    if not baseline.is_timed or len(together) < 2:
        return pd.DataFrame()
    timings = baseline.selection.reader.timings()
    names = {each.selection.unit.arm: each.name for each in together}
    is_of_them = (timings["condition"] == baseline.selection.unit.condition) & timings["arm"].isin(
        names
    )
    timings = timings[is_of_them]
    return timings.assign(arm=timings["arm"].map(names), condition="")


def _warnings(comparands: Sequence[Comparand]) -> list[str]:
    warnings = []
    tuned = [each for each in comparands if each.search]
    if tuned and len(tuned) < len(comparands):
        names = ", ".join(each.name for each in tuned)
        warnings.append(f"{names}: tuned, the others not; such a comparison is not fair.")
    if len({each.search["trials"] for each in tuned}) > 1:
        counts = ", ".join(f"{each.name} {each.search['trials']}" for each in tuned)
        warnings.append(f"trials: they differ ({counts}); more of them find better settings.")
    if _is_mixed(comparands):
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
    rows = _rows(comparand, comparand.seeds)
    study = _study([comparand], [rows])
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
    return f"{name}: {measured} {text}, {num_finished} {sentences.unit(study)}s{diverged}."


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
