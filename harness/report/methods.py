"""How the numbers of a report were computed, in words."""

from harness.report.measure import unit
from harness.statistics.decisions import SEARCH_FACTOR
from harness.study import Study
from harness.tasks.objective import objective_of
from harness.tuning.spread import MOST


def method(study: Study, *, is_timed: bool) -> str:
    """Returns how the numbers were computed, for a reader who checks them.

    Args:
        study: The whole study.
        is_timed: Whether speeds are among the numbers.
    """
    pairs = "Pairs are replicates of one seed."
    if unit(study) == "repeat":
        pairs = (
            "A pair is one repeat of the whole search: the mean over the arm's replicates of that"
            " repeat, minus the baseline's."
        )
    interval = "intervals are Student's, 95 %, unadjusted"
    if study.replicate.until is not None:
        interval = (
            "intervals are those of Stein's two-stage rule (1945), 95 %, unadjusted: the spread of"
            f" the first {study.replicate.seeds} seeds says how many seeds there are, and enters"
            " interval and test with their degrees of freedom"
        )
    family = (
        "over the arms"
        if len(study.conditions) == 1
        else "over the arms of a condition, not over conditions"
    )
    return (
        f"{pairs} {_method_of_scale(study)}; {interval}; p (Holm) is the"
        f" paired Student test after Holm's correction {family} (a sign test where a replicate"
        " diverged); p (sign-flip) is exact unless it says Monte Carlo, and unadjusted."
        f"{_method_of_search(study)}{_METHOD_OF_SPEED if is_timed else ''}"
    )


_METHOD_OF_SPEED = (
    " Speeds are medians over rounds of paired ratios with order-statistic intervals; the p (Holm)"
    " of a speed is a sign test's over rounds, corrected over the arms, for each way of running by"
    " itself."
)


def _method_of_scale(study: Study) -> str:
    objective = objective_of(study.measure.objective)
    if not objective.is_ratio:
        return f"Differences are the mean paired difference of the {objective.name}"
    unit = f" in {objective.loss_unit}" if objective.loss_unit else " of the logarithms"
    return f"Ratios are exp of the mean paired difference{unit}"


def _method_of_search(study: Study) -> str:
    if study.version == 1 or study.tune is None:
        return ""
    size = f", of {MOST} settings at most," if study.tune.num_trials > MOST else ""
    spread = (
        " The spread of the search is the standard deviation of an arm's difference from the"
        f" baseline over searches of the same size{size} that try other points"
    )
    if unit(study) == "repeat":
        return f"{spread}; the repeats hold it already."
    objective = objective_of(study.measure.objective)
    return (
        f"{spread}; the interval that holds it too is sqrt(half^2 + (k S)^2) to each side, with"
        f" k = {SEARCH_FACTOR:g}, and a verdict needs it to leave {objective.no_difference:g} out,"
        f" or to lie within the margin of {objective.margin_text(study.measure.margin)}."
    )
