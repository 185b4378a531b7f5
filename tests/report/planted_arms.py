"""Results of arms that were never trained, with the numbers that a test gives them."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd

from harness.report.arm_results import ArmResult
from harness.report.timings import ALONE
from harness.settings import Settings
from harness.statistics.decisions import Decision, SpeedDecision
from harness.statistics.inference import Interval
from harness.tasks.objective import PERPLEXITY

HERE = "engine cpu on device cpu, float32, threads: 2"


def arm(
    name, mean, seconds=10.0, parameters=1000, *, verdict=None, speed=None, diverged=0, **changes
):
    """A result of ten replicates at perplexity ``mean``; ``verdict`` None: the baseline."""
    is_timed = seconds is not None
    decision = (
        None
        if verdict is None
        else Decision(verdict, 10, 10 - diverged, 0.1, Interval(0.0, 0.2), 0.01, 0.01)
    )
    nats = math.log(mean)
    values = {
        **{
            "name": name,
            "is_baseline": verdict is None,
            "objective": PERPLEXITY,
            "readings": {},
            "num_failed": 0,
            "num_planned": 10,
        },
        **{
            "losses": {str(1000 + j): math.inf if j < diverged else nats for j in range(10)},
            "mean": nats,
        },
        **{
            "interval": None if diverged else Interval(nats - 0.01, nats + 0.01),
            "differences": np.zeros(10),
        },
        **{
            "decision": decision,
            "seeds_to_decide": None,
            "incomparable": "",
            "num_states": 2,
            "hidden_size": 16,
        },
        **{"speeds": {ALONE: SpeedDecision(speed, 20, 1.25, Interval(1.0, 1.5))} if speed else {}},
        **{
            "tokens_per_second": {ALONE: 1e6 / seconds} if is_timed else {},
            "conditions": {ALONE: HERE},
        },
        **{
            "num_parameters": parameters,
            "flops_per_token": 10,
            "tokens": 10_000,
            "training_seconds": seconds,
        },
        **{"trials": pd.DataFrame(), "finalists": pd.DataFrame(), "params": {}, "samples": []},
        **{
            "is_open": False,
            "open": [],
            "excuses": [],
            "search_spread": None,
            "shares_search": True,
            "fall": None,
            "divergence": None,
            "lost_runs": None,
        },
        **{"num_not_learned": 0, "searched_updates": 0, "replicate_updates": ()},
    }
    return ArmResult(**{**values, **changes})


def study(target=None, split="holdout"):
    baseline = SimpleNamespace(
        name="lstm", settings=Settings(cell="lstm", corpus="time-machine", split=split)
    )
    measure = SimpleNamespace(objective="validation/perplexity", margin=0.01, target=target)
    return SimpleNamespace(baseline=baseline, measure=measure)
