"""What tests of a model have in common: a seed, settings, initial numbers."""

from harness.model.architecture import architecture
from harness.model.initialization import initial_parameters
from harness.settings import Settings

SEED = (1000,)


def settings(**changes):
    return Settings(**{"cell": "lstm", "corpus": "text", "hidden_size": 24, **changes})


def initial(run, seed=SEED, vocabulary=11):
    return initial_parameters(architecture(run, vocabulary, vocabulary), run, seed)
