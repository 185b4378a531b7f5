"""The committed tables of studies under ten search seeds keep what is claimed of them."""

import pandas as pd
import pytest
import search_stability

CLAIMS = {
    "quickstart": {"rnn-tanh": "worse", "lstm-no-forget-gate": "worse"},
    "gates": {"rnn-tanh": "worse", "ugrnn": "worse"},
}
"""Study -> arm -> the verdict that nine of ten searches give at least."""


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_no_search_contradicts_another_and_the_claims_hold(name):
    rows = pd.read_csv(search_stability.FOLDER / f"{name}.csv")
    assert sorted(rows["search_seed"].unique()) == list(search_stability.SEEDS)
    assert search_stability.contradictions(rows) == []
    for arm, verdict in CLAIMS[name].items():
        assert (rows.loc[rows["arm"] == arm, "verdict"] == verdict).sum() >= 9, arm


def test_a_contradiction_is_seen():
    rows = pd.DataFrame({"arm": ["a", "a", "b"], "verdict": ["better", "worse", "worse"]})
    assert search_stability.contradictions(rows) == ["a"]
