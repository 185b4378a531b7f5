"""The sources' systems reproduce: the first three epochs, where seeds hardly differ, within 1.5 %.

The numbers are the published ones or those of independent implementations, as recorded with the
sources.
"""

import pytest
from wire import kind_of

from harness.data import corpora, published
from harness.settings import Budget, Settings
from harness.training.plan import Plan, Run
from harness.training.steps import train

EDITION_2019 = {
    "corpus": "time-machine-2019",
    "windows": "sequential-2019",
    "learning_rate": 100.0,
    "clip_norm": 0.01,
    "initialization": "normal",
}
LYRICS_2019 = {**EDITION_2019, "corpus": "lyrics-2019", "max_offset": 0}
EDITION_2022 = {
    "corpus": "time-machine-2022",
    "max_offset": 35,
    "learning_rate": 1.0,
    "clip_norm": 1.0,
    "initialization": "normal",
}
TWO_BIASES = {"biases": 2, "engine": "native"}
SYSTEMS = {
    "S1 scratch": ({"cell": "lstm", **EDITION_2019}, (27.23, 20.76, 20.41)),
    "S1 framework": ({"cell": "lstm", **EDITION_2019, **TWO_BIASES}, (27.07, 21.07, 20.76)),
    "S2": ({"cell": "rnn-relu", **EDITION_2019, **TWO_BIASES}, (27.26, 21.44, 19.54)),
    "S3 scratch": ({"cell": "lstm-no-output-tanh", **LYRICS_2019}, (658.0, 386.9, 348.3)),
    "S3 framework": ({"cell": "lstm", **LYRICS_2019, **TWO_BIASES}, (650.9, 386.9, 347.0)),
    "S4, S5 scratch": ({"cell": "lstm", **EDITION_2022}, (25.01, 21.18, 19.72)),
    "S5 framework": (
        {"cell": "lstm", **EDITION_2022, **TWO_BIASES, "initialization": "uniform"},
        (23.8, 19.1, 17.95),
    ),
}
UNPUBLISHED = {
    # Their first epochs were never published; what is, says that they learn at the pace of their
    # neighbours above.
    "S4 keras": ({"cell": "lstm", **EDITION_2022, "initialization": "keras"}, 28, 19.72),
    "GRU 2019, one bias": ({"cell": "gru-reset-before", **EDITION_2019}, 43, 20.41),
    "GRU 2019, two biases": ({"cell": "gru", **EDITION_2019, **TWO_BIASES}, 43, 20.76),
}


def perplexities(**changes):
    """Returns the training perplexities of the first three epochs, and how often their updates were
    clipped.

    Where the lyrics are not to be had the test is skipped: they may not be shipped.
    """
    lyrics = published.data_folder() / corpora.LYRICS.name
    if changes["corpus"] == "lyrics-2019" and not lyrics.exists():
        pytest.skip("the lyrics are not on this machine (HARNESS_DATA)")
    fixed = {
        "split": "none",
        "hidden_size": 256,
        "budget": Budget(epochs=3),
        "evaluations": "epoch",
        "device": "cpu",
    }
    run = Run("run", (1000,), Settings(**{**fixed, **changes}))
    records = [r for records in train(Plan((run,), objective="train/perplexity")) for r in records]
    points = [r for r in records if kind_of(r) == "evaluation"]
    assert [r.update for r in points] == [8, 16, 24] and points[-1].metrics["tokens"] == 3 * 8960
    return [r.metrics["train/perplexity"] for r in points], [
        r.metrics["train/clipped_fraction"] for r in points
    ]


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_first_three_epochs_of_a_source(system):
    settings, expected = SYSTEMS[system]
    found, clipped = perplexities(**settings)
    assert found == pytest.approx(expected, rel=0.015)
    if settings["clip_norm"] == 0.01:
        assert clipped == [1.0, 1.0, 1.0]  # normalised-gradient descent, in truth
    else:
        assert max(clipped) < 0.5


@pytest.mark.parametrize("system", UNPUBLISHED)
def test_systems_without_published_first_epochs_are_plausible(system):
    """Below guessing at once, falling, and by the third epoch within a fifth of their neighbour or
    better.
    """
    settings, vocabulary, neighbour = UNPUBLISHED[system]
    found, _ = perplexities(**settings)
    assert vocabulary > found[0] > found[1] > found[2] > 5
    assert found[2] < 1.2 * neighbour
