"""How far a study has come: how many runs of each arm have ended, and how."""

import pandas as pd
from rich import box
from rich.table import Table

from harness.results.open import open_study
from harness.store.locations import Locations
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


def status_table(study: str, overrides: tuple[str, ...], locations: Locations) -> Table:
    """Returns how many runs of each arm and phase have ended, and how.

    Args:
        study: Its YAML file, or its name in the store.
        overrides: As ``harness run`` was given them.
        locations: Where it is stored.

    Raises:
        ValueError: As :func:`harness.results.open.open_study`.
    """
    loaded, reader = open_study(study, overrides, locations)
    runs = reader.runs()
    has_conditions = any(loaded.conditions)
    table = _table(loaded.name, has_conditions)
    num_repeats = loaded.tune.repeats if loaded.tune else 1
    for arm in loaded.arms:
        condition_runs = runs[runs["condition"] == arm.condition]
        arm_runs = condition_runs[condition_runs["arm"] == arm.name]
        wanted = {
            Phase.TRIAL: loaded.tune.num_trials * loaded.tune.seeds if loaded.tune else 0,
            **_num_finalists(loaded),
            Phase.REPLICATE: _num_seeds(loaded.under(arm.condition), condition_runs, reader),
        }
        for phase, count in wanted.items():
            counts = arm_runs.loc[arm_runs["phase"] == phase, "state"].value_counts()
            numbers = [int(counts.get(str(state), 0)) for state in STATES]
            texts = [str(number) if number else "" for number in numbers]
            condition = [arm.condition] if has_conditions else []
            table.add_row(*condition, arm.name, phase, str(num_repeats * count), *texts)
    return table


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


def _table(title: str, has_conditions: bool) -> Table:
    """Returns the table without rows."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in [*(["condition"] if has_conditions else []), "arm", "phase"]:
        table.add_column(column)
    for column in ["wanted", *STATES.values()]:
        table.add_column(column, justify="right")
    return table
