"""The memory tasks: every target by a slow second way, chance levels as they are measured."""

import dataclasses
import math

import numpy as np
import pytest

from harness.data import DataError
from harness.data.sequences import memory
from harness.data.sequences.draws import distinct, integers
from harness.data.sequences.memory import BY_NAME, make

LENGTHS = {
    "adding": 11,
    "copy": 26,
    "selective-copy": 25,
    "parity": 9,
    "dyck": 40,
    "counting": 30,
    "recall": 20,
    "pixels": 70,
    "markov": 12,
}
"""Some length of each task with its usual options; MNIST has tests of its own."""
LEAST = {
    "adding": 2,
    "copy": 21,
    "selective-copy": 20,
    "parity": 1,
    "dyck": 3,
    "counting": 9,
    "recall": 12,
    "pixels": 64,
    "markov": 2,
}
COUNT = 4_000


@pytest.fixture(scope="module")
def drawn():
    return {name: make(name).draw(("test", 1), COUNT, length) for name, length in LENGTHS.items()}


def adding(task, inputs):
    marked = [step for step in range(len(inputs)) if inputs[step, 1] == 1.0]
    assert len(marked) == 2 and marked[0] < len(inputs) // 2 <= marked[1]
    assert all(mark in (0.0, 1.0) for mark in inputs[:, 1])
    return {len(inputs) - 1: inputs[marked[0], 0] + inputs[marked[1], 0]}


def copy(task, inputs):
    blank, delimiter = task.symbols, task.symbols + 1
    items, rest = inputs[: task.items], inputs[task.items :]
    assert max(items) < blank and rest.count(delimiter) == 1
    assert rest.count(blank) == len(rest) - 1 and rest[-task.items - 1] == delimiter
    return dict(enumerate([blank] * (len(inputs) - task.items) + items))


def selective_copy(task, inputs):
    items = [token for token in inputs if token < task.symbols]
    first = len(inputs) - task.items
    assert inputs[first:] == [task.symbols + 1] * task.items == [max(inputs)] * len(items)
    return {first + place: item for place, item in enumerate(items)}


def parity(task, inputs):
    return {step: sum(inputs[: step + 1]) % 2 for step in range(len(inputs))}


def dyck(task, inputs):
    stack, targets = [], {}
    for step, token in enumerate(inputs):
        if token < task.symbols:
            stack.append(token)
        else:
            assert stack.pop() == token - task.symbols
            if stack:
                targets[step] = stack[-1]
        assert len(stack) <= task.depth
    return targets


def counting(task, inputs):
    number = inputs.count(0)
    word = [0] * number + [1] * number + [2] * number
    assert inputs == (word + [3] * len(inputs))[: len(inputs)]
    following = [*word[1:], 3]
    return {step: following[step] - 1 for step in range(number, 3 * number)}


def recall(task, inputs):
    known, targets, blank = {}, {}, 2 * task.symbols
    for place in range(0, 2 * task.items, 2):
        assert inputs[place] < task.symbols <= inputs[place + 1] < blank
        known[inputs[place]] = inputs[place + 1] - task.symbols
    assert len(known) == task.items
    for step in range(2 * task.items, len(inputs)):
        if inputs[step] != blank:
            targets[step] = known.pop(inputs[step])
    assert not known
    return targets


def markov(task, inputs):
    return {step: inputs[step + 1] for step in range(task.order - 1, len(inputs) - 1)}


SECOND_WAYS = {
    "adding": adding,
    "copy": copy,
    "selective-copy": selective_copy,
    "parity": parity,
    "dyck": dyck,
    "counting": counting,
    "recall": recall,
    "markov": markov,
}


@pytest.mark.parametrize("name", SECOND_WAYS)
def test_every_target_follows_from_the_inputs(drawn, name):
    task, sequences = make(name), drawn[name]
    for inputs, targets, weights in zip(
        sequences.inputs[:200], sequences.targets[:200], sequences.weights[:200], strict=True
    ):
        expected = SECOND_WAYS[name](task, inputs if inputs.ndim == 2 else inputs.tolist())
        counted = np.flatnonzero(weights).tolist()
        if name == "markov":  # what follows the last input is nowhere else
            assert counted.pop() == len(inputs) - 1
        assert counted == list(expected) and set(weights) <= {0.0, 1.0}
        found = targets[counted].reshape(len(counted))
        assert found.tolist() == list(expected.values())


@pytest.mark.parametrize("name", LENGTHS)
def test_shapes_and_kinds_are_those_that_are_told(drawn, name):
    task, sequences, shape = make(name), drawn[name], (COUNT, LENGTHS[name])
    assert len(sequences) == COUNT and sequences.weights.dtype == np.float64
    inputs, targets = sequences.inputs, sequences.targets
    assert inputs.shape == (shape if task.reads_tokens else (*shape, task.num_inputs))
    assert inputs.dtype == (np.int64 if task.reads_tokens else np.float64)
    assert targets.shape == (shape if task.predicts_classes else (*shape, task.num_outputs))
    assert targets.dtype == (np.int64 if task.predicts_classes else np.float64)
    if task.reads_tokens:
        assert np.unique(inputs).tolist() == list(range(task.num_inputs))
    if task.predicts_classes:
        counted = targets[sequences.weights > 0.0]
        assert np.unique(counted).tolist() == list(range(task.num_outputs))
        assert targets.min() >= 0 and targets.max() < task.num_outputs


@pytest.mark.parametrize("name", LENGTHS)
def test_chance_is_what_guessing_by_the_step_scores(drawn, name):
    """A guess that is learned of other sequences scores the exact level to within some percent."""
    task, sequences = make(name), drawn[name]
    exact = task.chance(LENGTHS[name])
    if not task.predicts_classes:
        errors = (sequences.targets[..., 0] - 1.0) ** 2
        measured = np.average(errors, weights=sequences.weights)
        assert measured == pytest.approx(exact.loss, rel=0.05) and exact.accuracy is None
        return
    others = task.draw(("test", 2), COUNT, LENGTHS[name])
    seen, told = (
        (np.eye(task.num_outputs)[each.targets] * each.weights[..., None]).sum(axis=0)
        for each in (sequences, others)
    )
    shares = told / np.maximum(told.sum(axis=1, keepdims=True), 1.0)
    loss = -(seen * np.log(shares, where=seen > 0.0, out=np.zeros_like(seen))).sum() / seen.sum()
    right = seen[np.arange(len(seen)), told.argmax(axis=1)].sum() / seen.sum()
    assert loss == pytest.approx(exact.loss, rel=0.02)
    assert right == pytest.approx(exact.accuracy, rel=0.05)


def test_chance_in_closed_form():
    assert make("adding").chance(100).loss == 1 / 6
    for delay in (1, 100, 300):  # as the unitary network's authors write it
        assert make("copy").chance(delay + 20).loss == pytest.approx(
            10 * math.log(8) / (delay + 20)
        )
    assert make("copy").chance(40).accuracy == pytest.approx((30 + 10 / 8) / 40)


def test_chance_of_counting_by_hand():
    """n is 2 or 3. Steps of n = 2: b c c end, from 2 on; of n = 3: b b c c c end, from 3 on."""
    words = [dict(enumerate("bcc$", 2)), dict(enumerate("bbccc$", 3))]
    loss, right = 0.0, 0.0
    for step in range(9):
        there = [word[step] for word in words if step in word]
        for letter in there:
            loss -= math.log(there.count(letter) / len(there))
        right += max(map(there.count, there), default=0)
    level = make("counting").chance(9)
    assert (level.loss, level.accuracy) == pytest.approx((loss / 10, right / 10))


@pytest.mark.parametrize("name", LENGTHS)
def test_the_same_names_draw_the_same(name):
    task = make(name)
    first, again, other = (
        task.draw(seed, 20, LENGTHS[name]) for seed in (("a", 1), ["a", 1], ("a", 2))
    )
    for field in ("inputs", "targets", "weights"):
        assert np.array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(first.inputs, other.inputs)


@pytest.mark.parametrize("name", LEAST)
def test_the_least_length_draws_and_one_less_is_refused(name):
    task, least = make(name), LEAST[name]
    sequences = task.draw(("a",), 3, least)
    assert sequences.weights.shape == (3, least)
    rule = f"{name}: length >= {least} must hold, since .*, but got length={least - 1}. Set bptt"
    for call in (task.chance, task.floor, lambda length: task.draw(("a",), 3, length)):
        with pytest.raises(DataError, match=rule):
            call(least - 1)


@pytest.mark.parametrize("name", LEAST)
def test_no_sequence_is_a_set_too(name):
    assert len(make(name).draw(("a",), 0, LEAST[name])) == 0


@pytest.mark.parametrize("name, blank", [("copy", 8), ("selective-copy", 8), ("recall", 32)])
def test_a_longer_sequence_holds_as_much_among_more_blanks(name, blank):
    counts = [
        (make(name).draw(("a",), 50, scale * LENGTHS[name]).inputs != blank).sum(axis=1)
        for scale in (1, 8)
    ]
    assert (np.concatenate(counts) == counts[0][0]).all()


def test_all_counts_of_twice_the_length_are_new():
    def counts(length):
        inputs = make("counting").draw(("a",), 500, length).inputs
        return set((inputs == 0).sum(axis=1).tolist())

    assert counts(30) == set(range(6, 11)) and counts(60) == set(range(11, 21))
    assert counts(31) == counts(30)


def test_draws_are_uniform():
    numbers = integers("a", below=7, shape=(7_000,))
    assert np.bincount(numbers) == pytest.approx(1_000, rel=0.15)
    chosen = distinct("b", below=6, shape=(6_000, 3))
    assert all(len(set(row)) == 3 for row in chosen.tolist())
    for place in range(3):  # at each place every number is as frequent: the order is random
        assert np.bincount(chosen[:, place]) == pytest.approx(1_000, rel=0.15)
    assert np.sort(distinct("c", below=4, shape=(5, 4)), axis=1).tolist() == [[0, 1, 2, 3]] * 5


def test_marks_and_symbols_are_everywhere_they_may_be(drawn):
    marks = drawn["adding"].inputs[..., 1].mean(axis=0)
    assert marks[:5] == pytest.approx(1 / 5, rel=0.15)
    assert marks[5:] == pytest.approx(1 / 6, rel=0.15)
    places = (drawn["selective-copy"].inputs < 8).mean(axis=0)
    assert places[:15] == pytest.approx(10 / 15, rel=0.15)
    questions = drawn["recall"].weights.mean(axis=0)
    assert questions[8:] == pytest.approx(4 / 12, rel=0.15)


def test_every_task_says_what_it_is_and_whose():
    for name, kind in BY_NAME.items():
        assert kind.name == name and "Source: " in kind.__doc__ and len(kind.description) < 80
        fields = dataclasses.fields(kind)
        assert all("doc" in field.metadata for field in fields if field.name != "split")


@pytest.mark.parametrize(
    "name, options, messages",
    [
        ("coppy", {}, ["corpus: must be one of adding, copy, .*, but got name='coppy'. Take one."]),
        ("adding", {"items": 3}, ["adding.items: must be left out, since adding has no option"]),
        (
            "copy",
            {"symbols": 1, "items": True, "depth": 2},
            [
                "copy.depth: must be left out, since copy has the options symbols, items, but got "
                "depth=2. Remove it.",
                "copy.symbols: 2 <= symbols <= 10,000 must hold, but got symbols=1. Write "
                "symbols: 8, for example",
                "copy.items: must be an integer, but got items=True",
            ],
        ),
        ("dyck", {"depth": 1}, ["dyck.depth: 2 <= depth <= 1,000 must hold, but got depth=1"]),
        ("pixels", {"permuted": 1}, ["pixels.permuted: must be true or false, .* permuted: false"]),
        ("pixels", {"classes": 9}, ["pixels.classes: 2 <= classes <= 8 must hold"]),
        ("recall", {"items": 17}, ["recall.items: items <= symbols .* items=17, symbols=16"]),
        ("markov", {"symbols": 8, "order": 4}, [r"markov.order: symbols\^order <= 1,024 must"]),
        ("mnist", {"permuted": 0}, ["mnist.path: must be given, but is missing", "mnist.permuted"]),
        ("mnist", {"path": None}, ["mnist.path: must be text, but got path=None"]),
    ],
)
def test_a_wrong_option_is_told_with_all_others(name, options, messages):
    with pytest.raises(DataError) as error:
        make(name, options)
    lines = str(error.value).splitlines()
    assert len(lines) == len(messages)
    for message in messages:
        with pytest.raises(DataError, match=message):
            make(name, options)


def test_a_task_that_is_made_directly_is_checked_too():
    with pytest.raises(DataError, match="copy.symbols: 2 <= symbols"):
        memory.Copy(symbols=0)


def test_options_reach_the_task():
    task = make("copy", {"symbols": 3, "items": 2})
    assert (task.num_inputs, task.num_outputs) == (5, 4)
    assert task.draw(("a",), 2, 5).inputs[:, 2].tolist() == [4, 4]
