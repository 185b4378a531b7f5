"""By what the arms of a study are compared, and what that is called."""

from harness.study import Study
from harness.tasks.objective import objective_of


def is_held_out(study: Study) -> bool:
    """Says whether the decision is on test loss.

    Without a split it is on the objective, a training loss.
    """
    return study.baseline.settings.split == "holdout"


def curve_metric(study: Study) -> str:
    """Returns the column of the curves that the report reads, a loss."""
    return "validation/loss" if is_held_out(study) else "train/loss"


def split_of(study: Study) -> str:
    """Returns which split the report's numbers are of: ``test`` or ``training``."""
    return "test" if is_held_out(study) else "training"


def measured(study: Study) -> str:
    """Returns what the number that arms are compared by is called in a sentence."""
    name = objective_of(study.measure.objective).name
    return f"test {name}" if is_held_out(study) else f"running training {name}"


def titled(study: Study) -> str:
    """Returns what that number is called over a column, with its unit.

    A series is scaled for training, and what is learned of it is judged so: its errors are not in
    the series' own unit, which the table of forecasts has.
    """
    objective = objective_of(study.measure.objective)
    unit = f", {objective.unit}" if objective.unit else ""
    if study.baseline.settings.task == "forecasting":
        unit += ", of scaled values"
    return f"{objective.title} ({'test' if is_held_out(study) else 'training, running'}{unit})"


def unit(study: Study) -> str:
    """Returns what one pair is: a ``seed`` or a ``repeat``."""
    return "repeat" if study.is_repeated else "seed"


def without_search(study: Study) -> str:
    """Returns the clause of intervals that leave the search's own spread out, or nothing.

    Repeats hold that spread already.
    """
    is_left_out = study.tune is not None and not study.is_repeated
    return ", without the spread of the search" if is_left_out else ""
