"""What is said of an arm of which nobody knows how far its difference hangs on the search."""

from harness.report.arm_results import ArmResult
from harness.study import Study


def asks_search(study: Study, result: ArmResult) -> bool:
    """Says whether a verdict rests on the search's own spread too."""
    is_open = result.decision is not None and result.decision.verdict == "not comparable"
    return study.version > 1 and study.tune is not None and not is_open


def is_unknown(study: Study, result: ArmResult) -> bool:
    """Says whether a verdict rests on the search's own spread, and nobody knows that.

    Repeats hold that spread already.
    """
    is_asked = asks_search(study, result) and not study.is_repeated
    return is_asked and result.search_spread is None


def grounds(study: Study, result: ArmResult) -> list[str]:
    """Returns what that says of the verdict, without its full stop; nothing where it is known."""
    ground = "How far this hangs on the settings that were tried is not known"
    return [ground] if is_unknown(study, result) else []


def outlook(result: ArmResult) -> str:
    """Returns what would decide an arm that is undecided for that reason, without its full stop."""
    if not result.shares_search:
        return (
            "Its search and the baseline's drew their settings apart, so more trials do not tell"
            " either: a study that has both as arms tries them at the same settings"
        )
    if result.learned_nothing:
        return "It is not called worse, since more trials may find a setting at which it learns"
    return "More trials may decide it"
