"""Which tuned fields told good trials from bad ones."""

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from harness.study import Study
from harness.training.messages import RunState
from harness.tuning.sampling import distribution

FEWEST_FOR_IMPORTANCES = 8
"""Trials with a final value: the better half of fewer is three or less, too few to tell fields
apart.
"""


def importances(study: Study, runs: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Returns the PED-ANOVA importances of every arm's tuned fields, which sum to 1.

    Source: Watanabe et al., IJCAI 2023.

    What told the best quarter of an arm's finished and diverged trials (at least five, at most half
    of them) from the rest. The shares describe these trials and are no test: fields without any
    effect share the 1 by chance. Empty for an arm with fewer than eight such trials, and where
    fewer than two fields are tuned.

    Args:
        study: Of one condition.
        runs: Those of that condition, columns ``arm``, ``phase``, ``state``, ``objective`` (nats)
            and ``params``; all repeats' trials count together.
    """
    space = study.tune.space if study.tune else {}
    distributions = {field: distribution(field, values) for field, values in space.items()}
    ended = runs[
        (runs["phase"] == "trial")
        & runs["state"].isin([state for state in RunState if state.has_objective])
        & runs["objective"].notna()
    ]
    shares = {}
    for arm in study.arms:
        rows = ended[ended["arm"] == arm.name]
        known = [
            optuna.trial.create_trial(  # an export leaves out a value that is none
                params={field: params.get(field) for field in space},
                distributions=distributions,
                value=float(nats),
            )
            for params, nats in zip(rows["params"], rows["objective"], strict=True)
        ]
        enough = len(space) > 1 and len(known) >= FEWEST_FOR_IMPORTANCES
        shares[arm.name] = _importances(known, list(space)) if enough else {}
    return shares


def _importances(trials: list[FrozenTrial], fields: list[str]) -> dict[str, float]:
    study = optuna.create_study()
    study.add_trials(trials)
    quantile = min(0.5, max(0.25, 5 / len(trials)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=fields)
    return {field: shares[field] for field in fields}
