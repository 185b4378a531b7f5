"""How runs ended: counts of every end, and how often arms diverged or lost runs."""

from collections.abc import Sequence

import pandas as pd

from harness.report.arm_results import ArmResult
from harness.report.tables import Section, p_cell
from harness.report.tried import ENDS, counted
from harness.training.messages import RunState


def ends(results: Sequence[ArmResult], unit: str) -> Section:
    """Returns how the trials, the finalists and the replicates of each arm ended.

    An end that no run came to has no column. Where ``unit`` is a repeat, it diverged where one of
    its replicates did.
    """
    whole = "Replicates" if unit == "seed" else f"{unit.capitalize()}s"
    rows = []
    for result in results:
        counts = _ends_of(result.trials, "Trials") | _ends_of(result.finalists, "Finalist runs")
        learned = result.num_finished - (result.num_not_learned if unit == "seed" else 0)
        counts |= {
            f"{whole} finished": learned,
            "Replicates not learned": result.num_not_learned,
            f"{whole} diverged": result.num_diverged,
            "Replicates failed": result.num_failed,
        }
        rows.append((result.name, counts))
    header = tuple(rows[0][1])
    texts = [(name, *(str(count or "") for count in counts.values())) for name, counts in rows]
    return Section("How the runs ended", ("Arm", *header), texts).without_empty(*header)


def _ends_of(runs: pd.DataFrame, what: str) -> dict[str, int]:
    """Returns how many of these runs ended how; one that did not learn did not just finish."""
    return {f"{what} {end}": n for end, n in counted(runs, (*ENDS, RunState.RUNNING)).items()}


def divergence(results: Sequence[ArmResult], unit: str) -> Section | None:
    """Returns how often every arm diverged beside the baseline, by ``unit``; None: none did."""
    rows = [
        (
            result.name,
            f"{each.num_arm} of {each.num_pairs}",
            f"{each.num_baseline} of {each.num_pairs}",
            str(each.num_only_arm),
            str(each.num_only_baseline),
            p_cell(each.adjusted_p) or "not comparable",
        )
        for result in results
        if (each := result.divergence) is not None
    ]
    header = (
        "Arm",
        f"{unit.capitalize()}s at which it diverged",
        "At which the baseline did",
        "It alone",
        "The baseline alone",
        "p (McNemar, exact, Holm)",
    )
    return Section("Divergence", header, rows) if rows else None


def lost_runs(results: Sequence[ArmResult]) -> Section | None:
    """Returns how many runs every arm's search lost beside the baseline's; None: none did."""
    rows = [
        (
            result.name,
            f"{each.num_arm} of {each.num_runs}",
            f"{each.num_baseline} of {each.num_runs}",
            f"{each.num_more} of {each.num_settings}",
            f"{each.num_fewer} of {each.num_settings}",
            p_cell(each.adjusted_p) or "not comparable",
        )
        for result in results
        if (each := result.lost_runs) is not None
    ]
    header = (
        "Arm",
        "Runs that its search lost",
        "That the baseline's lost",
        "Settings at which it lost more",
        "At which it lost fewer",
        "p (sign test, Holm)",
    )
    title = "Runs that diverged or learned nothing, at the settings that all arms tried"
    return Section(title, header, rows) if rows else None
