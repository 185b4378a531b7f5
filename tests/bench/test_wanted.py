"""The list of what is wanted, and how it is narrowed."""

import pytest

import cells
from harness.bench.options import checked, own_shape
from harness.bench.wanted import BASE, LONG, NARROW, PACKS, WANTED, WIDE, WORDS, labels
from harness.bench.words import parse

TINY = own_shape("B2,T3,H4,V5")


def listed(*words):
    """Returns the subjects of a command with a budget."""
    return labels(checked(parse(["--budget", "9", "--device", "cpu", *words])))


def rows(found):
    """Returns cell, shape and precision of the subjects, each once, in their order."""
    return list(dict.fromkeys((label.cell, label.shape, label.precision) for label in found))


def test_every_row_is_there_once_and_its_cell_exists():
    assert len(set(WANTED)) == len(WANTED)
    assert {row.cell for row in WANTED} <= set(cells.names())
    assert rows(listed()) == [(row.cell, row.shape.name, row.precision) for row in WANTED]


def test_torch_nn_comes_before_the_cell_and_the_loops_come_last():
    found = listed("--cells", "lstm", "--precision", "float32", "--shape", BASE.name)
    assert [(label.kind, label.name, label.pack) for label in found] == [
        ("peer", "nn.LSTM one-hot", 1),
        ("engine", "auto", 1),
        ("engine", "auto", 16),
        ("loop", "loop", 1),
    ]
    kinds = [label.kind for label in listed()]
    assert kinds.index("loop") == len(kinds) - kinds.count("loop")


def test_the_most_wanted_is_the_lstm_in_three_precisions():
    found = [row for row in rows(listed()) if row[1] == BASE.name][:5]
    assert found == [
        ("lstm", BASE.name, "float32"),
        ("lstm", BASE.name, "tf32"),
        ("lstm", BASE.name, "bf16"),
        ("gru", BASE.name, "tf32"),
        ("rnn-tanh", BASE.name, "tf32"),
    ]


def test_a_large_vocabulary_has_an_embedding_first():
    found = [label for label in listed("--kinds", "peer") if label.shape == WORDS.name]
    names = [(label.name, label.precision) for label in found]
    forms = ("nn.LSTM embedding", "nn.LSTM one-hot")
    assert names == [(form, precision) for precision in ("tf32", "float32") for form in forms]


def test_a_cell_without_a_class_of_torch_nn_has_no_peer():
    assert {label.kind for label in listed("--cells", "nas")} == {"engine", "loop"}


@pytest.mark.parametrize(
    "words, expected",
    [
        (
            ["--cells", "gru"],
            [("gru", BASE.name, "tf32"), ("gru", NARROW.name, "tf32")],
        ),
        (
            ["--cells", "lstm,gru", "--precision", "float32"],
            [("lstm", BASE.name, "float32"), ("gru", BASE.name, "float32")]
            + [("gru", NARROW.name, "float32")]
            + [("lstm", shape.name, "float32") for shape in (WIDE, WORDS, LONG)],
        ),
        (
            ["--cells", "lstm,nas", "--shape", TINY.name],
            [("lstm", TINY.name, precision) for precision in ("float32", "tf32", "bf16")]
            + [("nas", TINY.name, "tf32")],
        ),
        (
            ["--cells", "nas", "--shapes", "sources", "--shape", TINY.name],
            [("nas", BASE.name, "tf32"), ("nas", TINY.name, "tf32")],
        ),
        # A cell that the list lacks takes the place of every row's.
        (
            ["--cells", "nas,lstm-peephole", "--precision", "tf32"],
            [("nas", BASE.name, "tf32")]
            + [
                ("lstm-peephole", shape.name, "tf32") for shape in (BASE, NARROW, WIDE, WORDS, LONG)
            ],
        ),
    ],
)
def test_the_list_is_what_is_named_of_it(words, expected):
    assert rows(listed(*words)) == expected


def test_packs_and_engines_and_kinds_are_those_named():
    words = ["--cells", "nas", "--kinds", "engine"]
    assert [label.pack for label in listed(*words)] == list(PACKS)
    found = listed(*words, "--packs", "4,2", "--engines", "reference,cpu")
    assert [(label.pack, label.name) for label in found] == [
        (2, "reference"),
        (2, "cpu"),
        (4, "reference"),
        (4, "cpu"),
    ]
