"""How the arms of a condition compare with its baseline: differences, decisions, doubts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.report import evidence
from harness.report.comparability import why_incomparable
from harness.report.divergence import Divergence, divergences
from harness.report.evidence import Evidence
from harness.report.lost_runs import LostRuns, lost_runs
from harness.report.replicates import level, losses
from harness.report.stages import num_first
from harness.statistics import decisions, inference, power
from harness.statistics.decisions import Decision
from harness.study import Study
from harness.tasks.objective import objective_of


@dataclass(frozen=True)
class Comparison:
    """How the arms of a condition compare with its baseline, by their names.

    Attributes:
        base: The baseline.
        losses: As of an :class:`harness.report.arm_results.ArmResult`, by arm.
        first: What :func:`harness.report.stages.num_first` returns.
        pairs: The differences of every arm but the baseline.
        incomparable: Likewise.
        searches: What the searches show, of arms that were searched.
        spreads: The search's own spreads that are known.
        decided: Every arm that reads the baseline's text.
        seeds_to_decide: Of arms that are undecided, where it is known.
        diverged: How often, where any run did.
        lost: How many runs every arm's search lost, where any was.
    """

    base: str
    losses: Mapping[str, dict[str, float]]
    first: int | None
    pairs: Mapping[str, np.ndarray]
    incomparable: Mapping[str, str]
    searches: Mapping[str, Evidence]
    spreads: Mapping[str, float]
    decided: Mapping[str, Decision]
    seeds_to_decide: Mapping[str, int | None]
    diverged: Mapping[str, Divergence]
    lost: Mapping[str, LostRuns]

    def of(self, arm: str) -> dict[str, Any]:
        """Returns what an arm's ``ArmResult`` holds of this."""
        pair = _of_pair(self.searches, arm, self.base)
        return {
            "losses": self.losses[arm],
            **level(self.losses[arm], self.first),
            "differences": self.pairs.get(arm, np.zeros(0)),
            "decision": self.decided.get(arm),
            "seeds_to_decide": self.seeds_to_decide.get(arm),
            "incomparable": self.incomparable[arm],
            "is_open": arm in self.searches and self.searches[arm].is_open,
            "open": [clause for each in pair for clause in each.why_open],
            "excuses": [clause for each in pair for clause in each.excuses],
            "search_spread": self.spreads.get(arm),
            "shares_search": len(pair) < 2 or evidence.share_points(*pair),
            "divergence": self.diverged.get(arm),
            "lost_runs": self.lost.get(arm),
        }


def _of_pair(searches: Mapping[str, Evidence], arm: str, base: str) -> list[Evidence]:
    """Returns what the searches show of an arm and of the baseline; nothing for the latter."""
    return [searches[name] for name in (arm, base) if arm != base and name in searches]


def compare(study: Study, runs: pd.DataFrame, searches: Mapping[str, Evidence]) -> Comparison:
    """Returns how the arms of a condition compare; arguments as of ``arm_results.gather``."""
    spreads = evidence.spreads(study, searches, runs)
    nats = {arm.name: losses(study, runs, arm.name) for arm in study.arms}
    base = study.baseline.name
    reasons = {arm.name: why_incomparable(arm, study.baseline) for arm in study.arms}
    pairs = {
        name: inference.paired_differences(nats[name], nats[base]) for name in nats if name != base
    }
    family = {name: pairs[name] for name in pairs if not reasons[name]}
    first = num_first(study, [nats[name] for name in (base, *family)])
    open_arms = [
        name for name in pairs if any(each.is_open for each in _of_pair(searches, name, base))
    ]
    # The repeats of a search hold its spread already.
    known = spreads if searches and not study.is_repeated else None
    decided = _decide(study, family, first, known, open_arms)
    return Comparison(
        base=base,
        losses=nats,
        first=first,
        pairs=pairs,
        incomparable=reasons,
        searches=searches,
        spreads=spreads,
        decided=decided,
        seeds_to_decide=_seeds_to_decide(study, family, first, decided, known),
        lost=_lost(study, searches, reasons),
        diverged=divergences(nats, base, [*open_arms, *(n for n in pairs if reasons[n])]),
    )


def _lost(
    study: Study, searches: Mapping[str, Evidence], reasons: Mapping[str, str]
) -> dict[str, LostRuns]:
    if study.tune is None or not searches:
        return {}
    tried = {name: [search.tried for search in each.searches] for name, each in searches.items()}
    apart = [name for name in tried if reasons[name]]
    return lost_runs(study.tune, tried, study.baseline.name, apart)


def _decide(
    study: Study,
    family: Mapping[str, np.ndarray],
    first: int | None,
    spreads: Mapping[str, float] | None,
    open_arms: Sequence[str],
) -> dict[str, Decision]:
    """Decides the arms of a family; ``spreads`` are None where no search adds any."""
    decided = decisions.decide(
        list(family.values()),
        margin_loss=objective_of(study.measure.objective).within(study.measure.margin),
        threshold=study.measure.threshold,
        first=first,
        spreads=() if spreads is None else [spreads.get(name) for name in family],
        incomparable=[name in open_arms for name in family],
    )
    if first is None:  # a number of seeds that depends on the data is not invariant under flips
        decided = decisions.with_sign_flips(decided, list(family.values()))
    return dict(zip(family, decided, strict=True))


def _seeds_to_decide(
    study: Study,
    family: Mapping[str, np.ndarray],
    first: int | None,
    decided: Mapping[str, Decision],
    spreads: Mapping[str, float] | None,
) -> dict[str, int | None]:
    return {
        name: power.seeds_to_decide(
            family[name],
            margin_loss=objective_of(study.measure.objective).within(study.measure.margin),
            num_comparisons=len(family),
            threshold=study.measure.threshold,
            added=decisions.SEARCH_FACTOR * (spreads[name] if spreads else 0.0),
            first=first,
        )
        for name, decision in decided.items()
        if decision.verdict == "undecided" and (spreads is None or name in spreads)
    }
