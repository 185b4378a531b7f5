"""What would decide an arm that is undecided, or make one comparable that is not."""

from harness.report import unknown_search
from harness.report.arm_results import ArmResult
from harness.report.measure import unit
from harness.statistics.decisions import SEARCH_FACTOR, Decision
from harness.statistics.power import MAX_SEEDS
from harness.study import Study

AS_SEEN = "if effect and spread stay as observed"


def of(study: Study, result: ArmResult) -> list[str]:
    """Returns what would decide an arm that is undecided or not comparable."""
    decision = result.decision
    assert decision is not None
    if decision.verdict == "not comparable":
        return [of_open(study)]
    if decision.verdict != "undecided":
        return []
    if decision.interval is None:
        is_conditional = decision.num_finished < decision.num_pairs
        is_unknown = is_conditional and unknown_search.is_unknown(study, result)
        return [unknown_search.outlook(result)] if is_unknown else []
    if result.seeds_to_decide is not None:
        more = result.seeds_to_decide - decision.num_pairs
        pairs = f"{unit(study)}{'s' if more != 1 else ''}"
        text = f"About {more} more {pairs} should decide it, {AS_SEEN}"
        return [f"{text}{_more_of_stages(study, result)}"]
    if _is_the_searchs(decision):
        return [
            f"More seeds should not decide it: a difference must exceed {SEARCH_FACTOR:g} times "
            "the search's own spread, and this one does not. More trials may"
        ]
    if unknown_search.is_unknown(study, result):
        return [unknown_search.outlook(result)]
    return [f"Not even {MAX_SEEDS} {unit(study)}s should decide it, {AS_SEEN}"]


def _is_the_searchs(decision: Decision) -> bool:
    """Returns whether another search alone might have made the difference seen."""
    assert decision.mean is not None
    return decision.spread is not None and SEARCH_FACTOR * decision.spread >= abs(decision.mean)


def of_open(study: Study) -> str:
    """Returns what would make an arm comparable whose best value lies at an end of those tried."""
    if study.tune is not None and study.tune.sampler == "grid":  # at_most does not extend it
        return "More values beyond the ends of the grid would tell"
    return "A wider range, or more trials (at_most), would tell"


def _more_of_stages(study: Study, result: ArmResult) -> str:
    """Returns how a design in stages takes more seeds, once it has all that it takes by itself."""
    plan, decision = study.replicate, result.decision
    assert decision is not None
    if plan.until is None or plan.at_most is None or decision.num_pairs < result.num_planned:
        return ""
    if result.num_planned >= plan.at_most:
        return "; a higher at_most allows them"
    return "; a narrower until asks for them, which is another study"
