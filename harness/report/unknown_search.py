"""What is said of an arm of which nobody knows how far its difference hangs on the search."""

from harness.report.arm_results import ArmResult

GROUND = "How far this hangs on the settings that were tried is not known"


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
