"""How far a study has come: how many runs of each arm have ended, and how."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from harness.results.open import open_study
from harness.results.standing import standing
from harness.store.kept import told_of_cells
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.study import Study
from harness.study.demand import demand
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


@dataclass(frozen=True)
class Asked:
    """What a study asks for of one arm in one phase, and what is stored of it.

    Attributes:
        arm: Its name.
        condition: Its condition's; empty where there are none.
        phase: Of the runs.
        num_wanted: How many the study asks for.
        runs: Those of them that are stored: rows of :meth:`StudyReader.runs`.
    """

    arm: str
    condition: str
    phase: Phase
    num_wanted: int
    runs: pd.DataFrame


def asked_runs(study: Study, reader: StudyReader, runs: pd.DataFrame) -> Iterator[Asked]:
    """Yields what a study asks for, arm by arm and phase by phase.

    Args:
        study: The study.
        reader: Of what is stored of it.
        runs: All of its stored runs.
    """
    for arm in study.arms:
        condition_runs = runs[runs["condition"] == arm.condition]
        arm_runs = condition_runs[
            (condition_runs["arm"] == arm.name) & (condition_runs["repeat"] < study.num_repeats)
        ]
        wanted = {
            Phase.TRIAL: study.tune.num_trials * study.tune.seeds if study.tune else 0,
            **_num_finalists(study),
            Phase.REPLICATE: _num_seeds(study.under(arm.condition), condition_runs, reader),
        }
        for phase, count in wanted.items():
            is_asked = arm_runs["phase"] == phase
            if phase == Phase.REPLICATE:
                is_asked &= arm_runs["index"] < count
            yield Asked(
                arm.name, arm.condition, phase, study.num_repeats * count, arm_runs[is_asked]
            )


def stored_runs(reader: StudyReader) -> pd.DataFrame:
    """Returns the runs of a study; one that was killed is not finished, it goes on another time."""
    runs = reader.runs()
    runs["state"] = runs["state"].replace(str(RunState.KILLED), str(RunState.RUNNING))
    return runs


def shown_total(study: Study, num_wanted: int, num_stored: int, is_complete: bool) -> str:
    """Returns how many runs a study asks for; a search that may be extended asks for no fewer.

    Args:
        study: Its searches are asked.
        num_wanted: Without extensions.
        num_stored: So many of them there are, with extensions.
        is_complete: Whether a launch found nothing left to do.
    """
    may_be_extended = study.tune is not None and study.tune.at_most is not None
    if may_be_extended and not is_complete:
        return f"at least {num_wanted:,}"
    return f"{max(num_wanted, num_stored):,}"


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
    runs = stored_runs(reader)
    has_conditions = any(loaded.conditions)
    states = [state for state in STATES if state in ALWAYS or (runs["state"] == state).any()]
    table = _table(loaded.name, has_conditions, states)
    asked = list(asked_runs(loaded, reader, runs))
    for each in asked:
        counts = each.runs["state"].value_counts()
        numbers = [int(counts.get(str(state), 0)) for state in states]
        texts = [Text(str(number), style="" if number else "dim") for number in numbers]
        condition = [each.condition] if has_conditions else []
        table.add_row(*condition, each.arm, each.phase, str(each.num_wanted), *texts)
    is_asked = runs.index.isin([row for each in asked for row in each.runs.index])
    num_wanted = sum(each.num_wanted for each in asked)
    # Fewer runs may be all, which the launch that found nothing left to do has noted.
    is_complete = reader.notes().complete == demand(loaded)
    has_all = is_complete or is_asked.sum() >= num_wanted
    wanted = shown_total(loaded, num_wanted, int(is_asked.sum()), is_complete)
    sentences = [*_standing(runs[is_asked], wanted, has_all, study, reader, locations)]
    sentences += _left(runs[~is_asked & runs["phase"].isin(list(Phase))])
    table.caption = "\n".join([" ".join(sentences), *told_of_cells(loaded)])
    return table


def _standing(
    runs: pd.DataFrame,
    wanted: str,
    has_all: bool,
    study: str,
    reader: StudyReader,
    locations: Locations,
) -> Iterator[str]:
    """Yields sentences on how much has ended, where the rest stands, and who trains it.

    ``has_all`` says whether all runs that are wanted are there, ended or not.
    """
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
    is_running, told = standing(reader, locations)
    if is_running:
        yield told
        return
    if told and (num_unfinished or not has_all):
        yield told
    if num_unfinished:
        them = (
            "it from its last checkpoint"
            if num_unfinished == 1
            else ("them from their last checkpoints")
        )
        again = f"harness run {shlex.quote(study)}{locations.options}"
        yield f"`{again}` goes on with {them}."
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
    from harness.report import evidence, stages

    curves = reader.curves()
    curves = curves[curves["condition"] == part.condition]
    return stages.num_seeds(part, runs, evidence.open_arms(part, runs, curves))


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
