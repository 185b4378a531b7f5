"""Studies that differ in arms, conditions and numbers of runs are asked for by one file."""

import pytest

from harness.study import StudyError, loads
from harness.study.union import UnionError, joined

HEAD = """\
study: parts
version: 2
question: Which cell?
"""
REST = """
fix: {corpus: genesis, hidden_size: 8, budget: {updates: 8}}
measure: {runtime: none}
"""
CROSSED = "compare: {cross: {cell: [lstm, gru], biases: [1, 2]}, baseline: {cell: lstm, biases: 1}}"
NAMED = "compare: {arms: {lstm: {cell: lstm}, gru: {cell: gru}}, baseline: lstm}"
ACROSS = """
across:
  small.text: {hidden_size: 8}
tune: {trials: 2, learning_rate: {low: 0.1, high: 1.0}}
"""


def part(compare, *overrides, more=""):
    return loads(HEAD + compare + more + REST, overrides=overrides)


def keys(study):
    return [arm.key for arm in study.arms]


def identity_of(*parts):
    """The identity that has what all parts have."""
    arms = {key: values for each in parts for key, values in each.identity()["arms"].items()}
    tunes = {key: values for each in parts for key, values in each.identity()["tunes"].items()}
    return {**parts[0].identity(), "arms": arms, "tunes": tunes}


def test_the_part_that_has_all_arms_stays_as_it_is():
    whole = part(CROSSED, "fix.threads=1")
    parts = [part(CROSSED, "compare.cross.cell=[lstm]"), whole]
    assert joined(parts) == whole and joined([whole]) == whole


def test_crossed_values_are_joined_without_arms_that_nobody_has():
    parts = [
        part(CROSSED, "fix.threads=1", "compare.cross.cell=[gru, lstm]"),
        part(CROSSED, "compare.cross={cell: [lstm, mgu], biases: [1]}"),
        part(CROSSED, "compare.cross={cell: [lstm, rnn-tanh], biases: [2, 1]}"),
    ]
    study = joined(parts)
    assert study.overrides == (
        "fix.threads=1",
        "compare.cross.cell=[gru, lstm, mgu, rnn-tanh]",
        "compare.cross.exclude=[{cell: mgu, biases: 2}]",
    )
    assert set(keys(study)) == {key for each in parts for key in keys(each)}
    assert study.text == parts[0].text
    assert study.changes_since(identity_of(*parts)) == []


def test_named_arms_of_three_parts_are_joined():
    parts = [
        part(NAMED),
        part(NAMED, "compare.arms={lstm: {cell: lstm}, small: {cell: mgu, biases: 1}}"),
        part(NAMED, "compare.arms={'a=1': {cell: rnn-tanh}, lstm: {cell: lstm}}"),
    ]
    study = joined(parts)
    assert keys(study) == ["lstm", "gru", "small", "a=1"]
    assert study.changes_since(identity_of(*parts)) == []


def test_conditions_keep_what_their_own_file_fixed_and_searched():
    parts = [
        part(NAMED, more=ACROSS),
        part(
            NAMED,
            "across={wide: {biases: 1}}",
            "fix.hidden_size=32",
            "fix.optimizer=adam",
            "tune.learning_rate={low: 0.001, high: 0.1, log: true}",
            more=ACROSS,
        ),
    ]
    for first, second in (parts, parts[::-1]):
        study = joined([first, second])
        assert set(keys(study)) == {*keys(first), *keys(second)}
        assert study.changes_since(identity_of(first, second)) == []


@pytest.mark.parametrize(
    ("more", "overrides", "wanted"),
    [
        ("", ("replicate.seeds=3",), (3, None, None)),
        ("", ("replicate={first_seed: 1000}",), (5, None, None)),
        (
            "\nreplicate: {seeds: {until: 0.01, at_most: 8, first: 4}}",
            ("replicate.seeds.at_most=20",),
            (4, 20, None),
        ),
        (
            "\ntune: {trials: 4, learning_rate: {low: 0.1, high: 1.0}}",
            ("tune.trials=8", "tune.at_most=12", "tune.repeats=5"),
            (5, None, (8, 12, 5)),
        ),
    ],
)
def test_it_asks_for_as_many_runs_as_the_part_that_asks_for_most(more, overrides, wanted):
    least = () if more else ("replicate.seeds=2",)
    study = joined([part(NAMED, *least, more=more), part(NAMED, *overrides, more=more)])
    tune = study.tune and (study.tune.trials, study.tune.at_most, study.tune.repeats)
    assert (study.replicate.seeds, study.replicate.at_most, tune) == wanted


def test_files_of_cells_are_joined_and_not_run(tmp_path):
    files = [tmp_path / "first.py", tmp_path / "second.py"]
    path = tmp_path / "parts.yaml"
    parts = [
        loads(f"{HEAD}cells: [{file.name}]\n{NAMED}{REST}", path=path, without_cells=True)
        for file in files
    ]
    assert joined(parts).cell_files == tuple(map(str, files))


def test_what_no_file_can_ask_for_is_told():
    one = "compare: {cross: {cell: [lstm, mgu]}, baseline: {cell: lstm}}"
    with pytest.raises(UnionError, match="must name their arms, or all cross them, but both do"):
        joined([part(NAMED), part(one)])
    sizes = [list(range(start, start + 100)) for start in (1, 101, 201)]
    large = "compare: {{cross: {{cell: [lstm], embedding_size: {}}}, baseline: {}}}"
    with pytest.raises(StudyError, match="must make at most 256 arms, but got arms=300"):
        joined([part(large.format(of, f"{{cell: lstm, embedding_size: {of[0]}}}")) for of in sizes])
