"""Arms of several studies as those of one: its plan, their runs and their timings."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from harness.report import comparability
from harness.report.tried import num_trials, whole
from harness.results.comparands import Comparand
from harness.results.searched import acting
from harness.settings import Settings
from harness.study import Arm, Measure, Replicate, Study, Tune
from harness.study.units import Phase


def study_of(comparands: Sequence[Comparand], rows: Sequence[pd.DataFrame]) -> Study:
    """Returns the study whose arms the comparands would be.

    ``rows`` are their runs, as :func:`rows_of` returns them.
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
        arms=tuple(arms),
        tune=_tune(rows),
        replicate=_replicate(comparands, rows[0]),
        measure=Measure(
            objective=measure["objective"],
            margin=measure["margin"],
            threshold=measure["threshold"],
            runtime=None,
        ),
    )


def _tune(rows: Sequence[pd.DataFrame]) -> Tune | None:
    """Returns a search of as many trials as each of these arms had in each of its repeats."""
    num_repeats = _num_repeats(rows[0])
    least = min(map(num_trials, rows))
    if not least and num_repeats == 1:
        return None
    return Tune({}, least // num_repeats, 1, "random", "none", 0, num_repeats)


def _replicate(comparands: Sequence[Comparand], baseline_rows: pd.DataFrame) -> Replicate:
    """Returns the plan of seeds that the comparands have followed."""
    baseline = comparands[0]
    num_seeds = int(_replicates(baseline_rows).groupby("repeat").size().max())
    if baseline.stages is None or is_mixed(comparands):
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


def is_mixed(comparands: Sequence[Comparand]) -> bool:
    """Returns whether the numbers of seeds came by different rules.

    No one rule's test fits then.
    """
    return len({each.rule for each in comparands}) > 1


def rows_of(comparand: Comparand, common: list[str]) -> pd.DataFrame:
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


def by_trial(comparand: Comparand, rows: pd.DataFrame) -> pd.DataFrame:
    """Returns an arm's runs with one row a trial, however many seeds its study gave to each."""
    is_trial = rows["phase"] == Phase.TRIAL
    trials = whole(comparand.search.get("seeds", 1), rows[is_trial])
    return pd.concat([trials, rows[~is_trial]], ignore_index=True)


def timings_of(comparands: Sequence[Comparand]) -> pd.DataFrame:
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
