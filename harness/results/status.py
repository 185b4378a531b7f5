"""How far a study has come: how many runs of each arm have ended, and how."""

from collections.abc import Iterator, Sequence

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from harness.results.open import open_study
from harness.store.kept import told_of_cells
from harness.store.locations import Locations
from harness.store.lock import holder_of
from harness.store.reader import StudyReader
from harness.study import Study
from harness.study.units import Phase
from harness.training.messages import RunState

STATES = {
    RunState.FINISHED: "finished",
    RunState.DIVERGED: "diverged",
    RunState.PRUNED: "pruned",
    RunState.FAILED: "failed",
    RunState.RUNNING: "unfinished",
}
"""The states that are counted, with the titles of their columns."""
ALWAYS = (RunState.FINISHED, RunState.RUNNING)
"""The states that have a column although no run is in them."""


def status_table(study: str, overrides: tuple[str, ...], locations: Locations) -> Table:
    """Returns how many runs of each arm and phase have ended, and how; below it, what goes on.

    Args:
        study: Its YAML file, or its name in the store.
        overrides: As ``harness run`` was given them.
        locations: Where it is stored.

    Raises:
        ValueError: As :func:`harness.results.open.open_study`.
    """
    loaded, reader = open_study(study, overrides, locations)
    runs = reader.runs()
    # A run that was killed goes on another time.
    runs["state"] = runs["state"].replace(str(RunState.KILLED), str(RunState.RUNNING))
    has_conditions = any(loaded.conditions)
    states = [state for state in STATES if state in ALWAYS or (runs["state"] == state).any()]
    table = _table(loaded.name, has_conditions, states)
    num_repeats = loaded.tune.repeats if loaded.tune else 1
    num_wanted = 0
    asked = pd.Series(False, index=runs.index)
    for arm in loaded.arms:
        condition_runs = runs[runs["condition"] == arm.condition]
        is_arm = (runs["condition"] == arm.condition) & (runs["arm"] == arm.name)
        is_arm &= runs["repeat"] < num_repeats
        wanted = {
            Phase.TRIAL: loaded.tune.num_trials * loaded.tune.seeds if loaded.tune else 0,
            **_num_finalists(loaded),
            Phase.REPLICATE: _num_seeds(loaded.under(arm.condition), condition_runs, reader),
        }
        for phase, count in wanted.items():
            is_asked = is_arm & (runs["phase"] == phase)
            if phase == Phase.REPLICATE:
                is_asked &= runs["index"] < count
            asked |= is_asked
            counts = runs.loc[is_asked, "state"].value_counts()
            numbers = [int(counts.get(str(state), 0)) for state in states]
            texts = [Text(str(number), style="" if number else "dim") for number in numbers]
            condition = [arm.condition] if has_conditions else []
            table.add_row(*condition, arm.name, phase, str(num_repeats * count), *texts)
            num_wanted += num_repeats * count
    least = "at least " if loaded.tune and loaded.tune.at_most else ""
    sentences = [*_standing(runs[asked], f"{least}{num_wanted:,}", reader, locations)]
    sentences += _left(runs[~asked & runs["phase"].isin(list(Phase))])
    told = told_of_cells(loaded)
    table.caption = " ".join(sentences) + (f"\n{told}" if told else "")
    return table


def _standing(
    runs: pd.DataFrame, wanted: str, reader: StudyReader, locations: Locations
) -> Iterator[str]:
    """Yields sentences on how much has ended, where the rest stands, and who trains it."""
    unfinished = set(runs.loc[runs["state"] == str(RunState.RUNNING), "run_id"])
    num_unfinished = len(unfinished)
    num_ended = len(runs) - num_unfinished
    yield f"{num_ended:,} of {wanted} runs have ended."
    if num_unfinished:
        begun = [run for run in reader.search() if run.run_id in unfinished]
        updates = [point.update for run in begun for point in reader.points(run)]
        where = f"; the furthest stands at update {max(updates):,}" if updates else ""
        verb = "is" if num_unfinished == 1 else "are"
        yield f"{num_unfinished:,} {verb} unfinished{where}."
    if holder := holder_of(reader.study_name, locations):
        yield f"{holder[:1].upper()}{holder[1:]} runs the study."
    elif num_unfinished:
        them = (
            "it from its last checkpoint"
            if num_unfinished == 1
            else ("them from their last checkpoints")
        )
        yield f"`harness run` goes on with {them}."
    elif num_ended == 0:
        yield (
            "Nothing is under way. A run is stored from its first evaluation on: what was "
            "interrupted before is trained again."
        )


def _left(runs: pd.DataFrame) -> Iterator[str]:
    """Yields a sentence on runs that the study, which has fewer seeds or repeats now, asks for no
    more.
    """
    if len(runs):
        noun = "run is" if len(runs) == 1 else "runs are"
        yield f"{len(runs):,} {noun} stored that the study asks for no more."


def _num_finalists(study: Study) -> dict[Phase, int]:
    """Returns how many runs the best settings of a search get, where any run again."""
    tune = study.tune
    if tune is None or tune.finalists == 1:
        return {}
    return {Phase.FINALIST: tune.finalists * tune.finalist_seeds}


def _num_seeds(part: Study, runs: pd.DataFrame, reader: StudyReader) -> int:
    """Returns how many seeds a condition takes; ``runs`` are those of the condition."""
    if part.replicate.until is None:
        return part.replicate.seeds
    # They load SciPy, for what a first stage asks for.
    from harness.report import arm_results, evidence

    curves = reader.curves()
    curves = curves[curves["condition"] == part.condition]
    return arm_results.num_seeds(part, runs, evidence.open_arms(part, runs, curves))


def _table(title: str, has_conditions: bool, states: Sequence[RunState]) -> Table:
    """Returns the table without rows."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        caption_justify="left",
        caption_style="",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in [*(["condition"] if has_conditions else []), "arm", "phase"]:
        table.add_column(column, overflow="fold")
    for column in ["wanted", *(STATES[state] for state in states)]:
        table.add_column(column, justify="right")
    return table
