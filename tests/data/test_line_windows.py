"""Lines as windows: each is read once an epoch and once by an evaluation, to its own end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data import DataError
from harness.data.line_windows import (
    LineWindows,
    evaluation_lines,
    lines_to_read,
    require_lines,
)

sizes = st.lists(st.integers(0, 6), min_size=1, max_size=30).filter(any)
"""Tokens of each line before its end."""


def ends_of(sizes):
    return np.cumsum(np.array(sizes) + 1) - 1


def lines_of(sizes):
    """The position of each line's first token and its number of targets, one by one."""
    lines, position = [], 0
    for size in sizes:
        if size:
            lines.append((position, size))
        position += size + 1
    return lines


@given(sizes, st.integers(1, 7), st.integers(0, 9))
def test_an_epoch_reads_every_line_once(sizes, batch_size, epoch):
    windows, lines = LineWindows(ends_of(sizes), batch_size), lines_of(sizes)
    starts = windows.starts((7,), epoch)
    assert starts.dtype == np.int64
    assert starts.shape == (windows.updates_per_epoch, batch_size)
    assert windows.updates_per_epoch == -(-len(lines) // batch_size) and not windows.carried
    total = windows.targets_per_update * windows.updates_per_epoch
    assert total == pytest.approx(sum(length for _, length in lines))
    lengths = windows.lengths(starts)
    assert (lengths.sum(1) > 0).all()  # no minibatch without a target
    read = zip(starts.ravel().tolist(), lengths.ravel().tolist(), strict=True)
    assert sorted(each for each in read if each[1]) == lines
    assert np.array_equal(starts, windows.starts((7,), epoch))


@given(sizes, st.integers(1, 7))
def test_an_evaluation_reads_the_lines_in_their_order(sizes, batch_size):
    starts, lengths = evaluation_lines(ends_of(sizes), batch_size)
    assert starts.dtype == lengths.dtype == np.int64
    assert starts.shape == lengths.shape and starts.shape[1] == batch_size
    read = list(zip(starts.ravel().tolist(), lengths.ravel().tolist(), strict=True))
    lines = lines_of(sizes)
    assert read[: len(lines)] == lines and not any(length for _, length in read[len(lines) :])
    assert starts.max() < sum(sizes) + len(sizes)


def test_the_order_is_random():
    windows = LineWindows(ends_of([1] * 12), 4)
    orders = {windows.starts((seed,), epoch).tobytes() for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_lines_without_a_target():
    assert [part.tolist() for part in lines_to_read(ends_of([0, 2, 0, 1]))] == [[1, 5], [2, 1]]
    assert [len(part) for part in lines_to_read(np.empty(0, np.int64))] == [0, 0]


@pytest.mark.parametrize(("in_one_text", "number"), [(True, 6), (False, 3)])
def test_a_line_that_is_too_long_is_named(in_one_text, number):
    ends = {"train": ends_of([0, 4, 1]), "test": ends_of([0, 5, 9, 2]), "validation": ends_of([0])}
    with pytest.raises(DataError) as caught:
        require_lines(ends, 4, in_one_text=in_one_text)
    assert str(caught.value).splitlines() == [
        "test lines: must have at most bptt_length=4 tokens after the first, their end among them, "
        f"but got 2 of 3 that have more: line {number}, the longest, has 9. "
        "Write bptt_length: 9, or cut such lines.",
        "validation lines: must have one that is not empty, but got num_lines=1, all empty. "
        "Use a longer text.",
    ]
    require_lines({name: ends[name] for name in ("train", "test")}, 9, in_one_text=in_one_text)
