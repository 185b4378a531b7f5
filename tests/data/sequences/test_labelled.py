"""Sequences with labels: read from a table, padded, split by class, and every wrong table."""

import numpy as np
import pytest
from pyarrow import csv, parquet

from harness.data import DataError
from harness.data.sequences.labelled import balanced_weights, read_labelled, split

TABLE = """sequence,step,x,y,label
b,1,4.0,40,no
a,2,2.0,20,yes
a,1,1.0,10,yes
b,2,5.0,50,no
a,3,3.0,30,yes
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def many(write):
    """Sequences of 1 to 4 steps: 20 of class p, 7 of q, 3 of r; a label a step says the step."""
    rows = ["sequence,step,x,label,place"]
    for number in range(30):
        label = "p" if number < 20 else "q" if number < 27 else "r"
        rows += [f"s{number},{step},{number},{label},{step}" for step in range(1 + number % 4)]
    return write("\n".join(rows))


def test_rows_are_ordered_and_padded(write):
    data = read_labelled(write(TABLE), length=4)
    assert (data.names, data.classes, data.columns) == (("a", "b"), ("no", "yes"), ("x", "y"))
    assert data.lengths.tolist() == [3, 2]
    sequences = data.sequences
    assert sequences.inputs[..., 0].tolist() == [[1, 2, 3, 0], [4, 5, 0, 0]]
    assert sequences.inputs[..., 1].tolist() == [[10, 20, 30, 0], [40, 50, 0, 0]]
    assert sequences.weights.tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]
    assert sequences.targets.tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]
    assert data.class_counts().tolist() == [1, 1]


def test_a_label_a_step(write):
    text = TABLE.replace("a,2,2.0,20,yes", "a,2,2.0,20,no")
    data = read_labelled(write(text), columns=["y"], label_of="step")
    assert data.sequences.inputs.shape == (2, 3, 1)
    assert data.sequences.targets.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert data.sequences.weights.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert data.class_counts().tolist() == [3, 2]


def test_parquet_is_read_alike(write, tmp_path):
    path = write(TABLE)
    parquet.write_table(csv.read_csv(path), tmp_path / "table.parquet")
    first, second = read_labelled(path), read_labelled(str(tmp_path / "table.parquet"))
    assert np.array_equal(first.sequences.inputs, second.sequences.inputs)
    assert (first.names, first.classes) == (second.names, second.classes)


def test_every_class_is_split_by_itself(many):
    data = read_labelled(many)
    parts = split(data, ("seed", 1))
    counts = {name: part.class_counts().tolist() for name, part in parts.items()}
    assert counts == {"train": [16, 5, 1], "validation": [2, 1, 1], "test": [2, 1, 1]}
    names = [name for part in parts.values() for name in part.names]
    assert sorted(names) == sorted(data.names)
    for part in parts.values():  # sequences stay what they were
        numbers = [int(name[1:]) for name in part.names]
        assert part.sequences.inputs[:, 0, 0].tolist() == numbers
        assert part.lengths.tolist() == [1 + number % 4 for number in numbers]
    assert split(data, ["seed", 1])["test"].names == parts["test"].names
    assert split(data, ["seed", 2])["test"].names != parts["test"].names


def test_a_label_a_step_is_split_by_sequence(many):
    data = read_labelled(many, label="place", columns=["x"], label_of="step")
    parts = split(data, ("seed",), validation_fraction=0.2, test_fraction=0.3)
    assert [len(part) for part in parts.values()] == [15, 6, 9]
    assert parts["train"].class_counts().sum() == parts["train"].lengths.sum()


def test_classes_that_are_balanced_count_alike():
    counts = np.array([6, 3, 1])
    weights = balanced_weights(counts)
    assert weights * counts == pytest.approx(np.full(3, 10 / 3))


def test_a_class_that_is_too_small_to_split_is_told(write):
    with pytest.raises(DataError) as error:
        split(read_labelled(write(TABLE)), ("a",))
    first, second = str(error.value).splitlines()
    assert first.startswith("class 'no': must have at least 3 sequences, so that training,")
    assert "but got 1." in first and second.startswith("class 'yes'")


@pytest.mark.parametrize("label_of", ["sequence", "step"])
def test_a_measured_number_is_told_to_be_no_class(write, label_of):
    rows = [f"s{number},1,0,{number / 7}" for number in range(40)]
    text = "\n".join(["sequence,step,x,label", *rows])
    with pytest.raises(DataError) as error:
        split(read_labelled(write(text), label_of=label_of), ("a",))
    (line,) = str(error.value).splitlines()
    assert "but got 40 different numbers such as 0.0. No task predicts a number" in line


def test_of_many_classes_that_are_too_small_some_are_named(write):
    rows = [f"s{number},1,0,{number}" for number in range(40)]
    with pytest.raises(DataError) as error:
        split(read_labelled(write("\n".join(["sequence,step,x,label", *rows]))), ("a",))
    lines = str(error.value).splitlines()
    assert len(lines) == 6 and "but got 35 more of 40 that have too few" in lines[-1]


def test_a_label_of_a_step_that_training_lacks_is_told(write):
    rows = [f"s{number},1,0,{'rare' if number == 3 else 'usual'}" for number in range(10)]
    data = read_labelled(write("\n".join(["sequence,step,x,label", *rows])), label_of="step")
    held = [seed for seed in range(20) if _lacks_rare(data, seed)]
    assert 0 < len(held) < 20


def _lacks_rare(data, seed):
    try:
        split(data, (seed,))
    except DataError as error:
        assert "train: must have every class, but got none of ['rare']" in str(error)
        return True
    return False


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("a,1,1.0", "a,1,", "column 'x' must have an entry in every row, but got none, or NaN, in"),
        ("a,1,1.0", "a,1,nan", "column 'x' must have an entry in every row, .* row 3. Fill it in"),
        ("a,1,1.0", "a,1,one", "column 'x' must hold finite numbers, .* got 'one' in row 3"),
        ("a,1,1.0", "a,2,1.0", "'step' must differ within a sequence, .* there before in row 3"),
        ("a,1,1.0", "a,,1.0", "'step' must have an entry in every row, .* in row 3"),
        ("a,1,1.0", ",1,1.0", "'sequence' must have an entry in every row, .* in row 3"),
        ("a,1,1.0,10,yes", "a,1,1.0,10,", "'label' must have an entry in every row, .* row 3"),
        ("a,1,1.0,10,yes", "a,1,1.0,10,no", "the same in all rows of a sequence, .* 'a'. Correct"),
        ("yes", "no", r"'label' must have two different labels or more, but got \['no'\]"),
        ("b,1,4.0,40,no\n", "c,,1,1,no\nb,1,4.0,40,no\n", "sequences 'c', whose length is then 0"),
        ("step,", "time,", "step must be one of the columns sequence, time, .* got step='step'"),
    ],
)
def test_a_wrong_table_is_told_once(write, old, new, message):
    with pytest.raises(DataError, match=message) as error:
        read_labelled(write(TABLE.replace(old, new)))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "wanted, message",
    [
        ({"length": 2}, "at most bptt_length=2 rows, but got up to 3 in sequences 'a'. Set bptt"),
        ({"columns": ["z"]}, r"columns must be among its own, .* but got \['z'\]"),
        ({"columns": ["x", "label"]}, r"must be different columns, but got \['label'\] more than"),
        ({"label": "kind"}, "label must be one of the columns .* but got label='kind'"),
    ],
)
def test_a_wrong_wish_is_told(write, wanted, message):
    with pytest.raises(DataError, match=message):
        read_labelled(write(TABLE), **wanted)


def test_a_table_without_a_feature_is_told(write):
    with pytest.raises(DataError, match="must have a column of numbers beside sequence, step, la"):
        read_labelled(write("sequence,step,label\na,1,no\nb,1,yes\n"))


def test_all_that_is_wrong_is_told_at_once(write):
    text = (
        TABLE.replace("4.0", "").replace("50", "fifty").replace("a,3", "a,2").replace("a,1", ",1")
    )
    with pytest.raises(DataError) as error:
        read_labelled(write(text), length=1)
    told = str(error.value)
    for part in ("'x' must have", "'y' must hold", "'step' must d", "'sequence' must h", "at most"):
        assert part in told
