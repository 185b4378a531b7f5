"""How many runs of an arm's search are lost, at the settings that all arms tried alike.

Replicates run at a setting that was chosen because its seeds trained well. How much of what was
searched can be trained at all is another question: the answer to it does not hang on the choice.
"""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from harness.statistics import inference
from harness.study import Tune
from harness.tuning import design
from harness.tuning.tried import TriedSetting


@dataclass(frozen=True)
class LostRuns:
    """One arm beside the baseline, over the settings that both tried with the same seeds.

    A run is lost where it diverged or never did better than guessing.

    Attributes:
        num_settings: Settings, of all repeats.
        num_runs: Their runs, of one arm.
        num_arm: Runs that the arm lost.
        num_baseline: Runs that the baseline lost.
        num_more: Settings at which the arm lost more of its seeds than the baseline.
        num_fewer: Settings at which it lost fewer.
        p: Of the exact sign test over the settings at which the two differ: the seeds of a setting
            are not independent. None: the two do not compare.
        adjusted_p: ``p`` after Holm over the arms.
    """

    num_settings: int
    num_runs: int
    num_arm: int
    num_baseline: int
    num_more: int
    num_fewer: int
    p: float | None
    adjusted_p: float | None = None


def lost_runs(
    tune: Tune,
    tried: Mapping[str, list[list[TriedSetting]]],
    baseline: str,
    apart: Collection[str],
) -> dict[str, LostRuns]:
    """Returns how the losses of every arm compare; nothing where no run was lost.

    Args:
        tune: How every arm was searched.
        tried: Arm -> repeat -> its ended trials.
        baseline: The arm that the others are compared with.
        apart: Arms that differ from it in more than the comparison says.
    """
    is_grid = tune.sampler == "grid"
    num_shared = tune.num_trials if is_grid else design.num_start_up(tune)
    shared = {
        arm: {
            (repeat, each.number): each
            for repeat, settings in enumerate(repeats)
            for each in settings
            if each.number < num_shared and each.end != "pruned"
        }
        for arm, repeats in tried.items()
    }
    if not any(each.num_lost for settings in shared.values() for each in settings.values()):
        return {}
    found = {
        arm: _beside(shared[arm], shared[baseline], arm not in apart)
        for arm in shared
        if arm != baseline
    }
    adjusted = inference.holm([each.p for each in found.values()])
    return {
        arm: dataclasses.replace(each, adjusted_p=p)
        for (arm, each), p in zip(found.items(), adjusted, strict=True)
    }


Shared = Mapping[tuple[int, int], TriedSetting]
"""The settings of one arm by their repeat and number."""


def _beside(arm: Shared, baseline: Shared, compares: bool) -> LostRuns:
    keys = [key for key in arm if key in baseline]
    ours = np.array([arm[key].num_lost for key in keys], dtype=int)
    theirs = np.array([baseline[key].num_lost for key in keys], dtype=int)
    signs = np.sign(ours - theirs).astype(np.float64)
    return LostRuns(
        num_settings=len(keys),
        num_runs=sum(len(arm[key].seed_nats) for key in keys),
        num_arm=int(ours.sum()),
        num_baseline=int(theirs.sum()),
        num_more=int((signs > 0).sum()),
        num_fewer=int((signs < 0).sum()),
        p=inference.sign_test(signs) if compares and keys else None,
    )
