"""How often an arm's runs diverge beside the baseline's: a comparison of its own.

A verdict on perplexity counts a diverged replicate as a loss. How stable an arm is, whatever it
comes to where it trains, is another question.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.statistics import inference


@dataclass(frozen=True)
class Divergence:
    """One arm beside the baseline, over the pairs that ended in both.

    Attributes:
        num_pairs: Seeds; where the whole is repeated, repeats.
        num_arm: Pairs at which the arm diverged.
        num_baseline: Pairs at which the baseline did.
        num_only_arm: Pairs at which the arm alone did.
        num_only_baseline: Pairs at which the baseline alone did.
        p: Of McNemar's exact test: the pairs at which one alone diverged are either's with equal
            probability. None: the two do not compare.
        adjusted_p: ``p`` after Holm over the arms.
    """

    num_pairs: int
    num_arm: int
    num_baseline: int
    num_only_arm: int
    num_only_baseline: int
    p: float | None
    adjusted_p: float | None = None


def divergences(
    losses: Mapping[str, Mapping[str, float]], baseline: str, apart: Sequence[str]
) -> dict[str, Divergence]:
    """Returns how every arm's divergence compares; nothing where no run diverged.

    Args:
        losses: Arm -> pair -> nats, infinite where it diverged.
        baseline: The arm that the others are compared with.
        apart: Arms that do not compare with it.
    """
    if all(np.isfinite(nats) for of_arm in losses.values() for nats in of_arm.values()):
        return {}
    found = {
        name: _divergence(losses[name], losses[baseline], name not in apart)
        for name in losses
        if name != baseline
    }
    adjusted = inference.holm([each.p for each in found.values()])
    return {
        name: dataclasses.replace(each, adjusted_p=p)
        for (name, each), p in zip(found.items(), adjusted, strict=True)
    }


def _divergence(
    arm: Mapping[str, float], baseline: Mapping[str, float], compares: bool
) -> Divergence:
    pairs = [pair for pair in arm if pair in baseline]
    ours = np.array([np.isinf(arm[pair]) for pair in pairs], dtype=bool)
    theirs = np.array([np.isinf(baseline[pair]) for pair in pairs], dtype=bool)
    signs = ours.astype(np.float64) - theirs.astype(np.float64)
    return Divergence(
        num_pairs=len(pairs),
        num_arm=int(ours.sum()),
        num_baseline=int(theirs.sum()),
        num_only_arm=int((ours & ~theirs).sum()),
        num_only_baseline=int((theirs & ~ours).sum()),
        p=inference.sign_test(signs) if compares and pairs else None,
    )
