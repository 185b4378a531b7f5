"""The medians decide as Optuna's own pruner does where it is given all trials at every point."""

import math
import random

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from harness.tuning.pruning import Medians

NUM_POINTS = 8


def trials(draw, count=40):
    """Returns ended trials: some pruned early, some with values that are no numbers."""
    made = []
    for number in range(count):
        state = draw.choice([TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED])
        last = NUM_POINTS if state == TrialState.COMPLETE else draw.randint(1, NUM_POINTS)
        odd = draw.choice([math.nan, math.inf, None, None, None])
        values = {step: draw.uniform(1, 2) for step in range(1, last + 1)}
        if odd is not None:
            values[draw.randint(1, last)] = odd
        trial = create_trial(state=state, value=1.0, intermediate_values=values)
        trial.number = number
        made.append(trial)
    return made


@pytest.mark.parametrize("seed", range(5))
def test_decisions_are_those_of_optunas_pruner(seed):
    draw, ours, decided = random.Random(seed), Medians(NUM_POINTS), []
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=NUM_POINTS // 4)
    theirs = optuna.create_study(pruner=pruner)
    ended = trials(draw)
    for stop in range(0, len(ended), 3):
        theirs.add_trials(ended[len(theirs.trials) : stop])
        ours.take(ended[:stop])
        nats = []
        for step in range(1, NUM_POINTS + 1):
            # Values of others too: to be exactly the median is not to be worse.
            others = [t.intermediate_values.get(step, 1.5) for t in ended]
            nats.append(draw.choice([draw.uniform(1, 2), *others[:2]]))
            running = create_trial(
                state=TrialState.RUNNING, intermediate_values=dict(enumerate(nats, start=1))
            )
            if all(map(math.isnan, nats)):
                continue  # Optuna warns of it
            decided.append((ours.is_worse(nats), pruner.prune(theirs, running)))
    assert all(own == other for own, other in decided)
    assert {own for own, _ in decided} == {True, False}
