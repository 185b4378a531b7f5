import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data import DataError, evaluation_windows, training_windows
from harness.settings import Settings

FORMS = ("sequential", "sequential-2019", "random")
shapes = st.tuples(
    st.integers(1, 9), st.integers(1, 12), st.none() | st.integers(0, 20), st.integers(0, 200)
)
seeds = st.tuples(st.integers(0, 2**40)) | st.tuples(
    st.integers(0, 9), st.just("trial"), st.integers(0, 99)
)


def settings(form, batch_size, bptt_length, max_offset=None):
    return Settings(
        "lstm",
        "text",
        windows=form,
        batch_size=batch_size,
        bptt_length=bptt_length,
        max_offset=max_offset,
    )


def published_2019(tokens, batch_size, bptt_length, offset):
    """The consecutive iterator: a matrix of the text, minibatches of its columns."""
    num_columns = (len(tokens) - offset) // batch_size
    matrix = tokens[offset : offset + batch_size * num_columns].reshape(batch_size, num_columns)
    for i in range((num_columns - 1) // bptt_length):
        first = i * bptt_length
        yield matrix[:, first : first + bptt_length], matrix[:, first + 1 : first + bptt_length + 1]


def published_2022(tokens, batch_size, bptt_length, offset):
    """The sequential iterator: a matrix of inputs and one of targets, minibatches of their
    columns.
    """
    num_tokens = (len(tokens) - offset - 1) // batch_size * batch_size
    inputs = tokens[offset : offset + num_tokens].reshape(batch_size, -1)
    targets = tokens[offset + 1 : offset + 1 + num_tokens].reshape(batch_size, -1)
    for i in range(0, inputs.shape[1] // bptt_length * bptt_length, bptt_length):
        yield inputs[:, i : i + bptt_length], targets[:, i : i + bptt_length]


PUBLISHED = {"sequential": published_2022, "sequential-2019": published_2019}


def gather(tokens, starts, bptt_length):
    positions = starts[..., None] + np.arange(bptt_length)
    return tokens[positions], tokens[positions + 1]


def num_tokens_needed(form, batch_size, bptt_length, max_offset):
    if form == "sequential-2019":
        return max_offset + batch_size * (bptt_length + 1)
    return max_offset + batch_size * bptt_length + 1


def windows_of(form, shape):
    batch_size, bptt_length, max_offset, extra = shape
    largest = bptt_length - 1 if max_offset is None else max_offset
    num_tokens = num_tokens_needed(form, batch_size, bptt_length, largest) + extra
    return (
        training_windows(settings(form, batch_size, bptt_length, max_offset), num_tokens),
        num_tokens,
        largest,
    )


@given(st.sampled_from(sorted(PUBLISHED)), shapes, seeds, st.integers(0, 50))
def test_equals_the_published_iterators(form, shape, seed, epoch):
    w, num_tokens, max_offset = windows_of(form, shape)
    starts = w.starts(seed, epoch)
    offset = int(starts[0, 0])
    assert 0 <= offset <= max_offset
    tokens = np.arange(num_tokens) * 7 + 3
    inputs, targets = gather(tokens, starts, w.bptt_length)
    published = list(PUBLISHED[form](tokens, w.batch_size, w.bptt_length, offset))
    assert (
        len(list(PUBLISHED[form](tokens, w.batch_size, w.bptt_length, max_offset)))
        == w.updates_per_epoch
    )
    assert len(published) >= w.updates_per_epoch == len(starts) >= 1
    for i in range(w.updates_per_epoch):
        np.testing.assert_array_equal(inputs[i], published[i][0])
        np.testing.assert_array_equal(targets[i], published[i][1])


@given(st.sampled_from(FORMS), shapes, seeds, st.integers(0, 50))
def test_what_every_form_promises(form, shape, seed, epoch):
    w, num_tokens, max_offset = windows_of(form, shape)
    starts = w.starts(seed, epoch)
    assert starts.dtype == np.int64 and starts.shape == (w.updates_per_epoch, w.batch_size)
    assert (
        starts.min() >= 0 and starts.max() + w.bptt_length < num_tokens
    )  # the last target is there
    targets = (starts[..., None] + 1 + np.arange(w.bptt_length)).ravel()
    assert len(np.unique(targets)) == len(targets)  # none is learned twice in an epoch
    np.testing.assert_array_equal(starts, w.starts(seed, epoch))
    if w.carried:
        np.testing.assert_array_equal(
            np.diff(starts, axis=0), w.bptt_length
        )  # streams are contiguous


@given(shapes, seeds, st.integers(0, 50))
def test_random_windows_are_the_published_ones_in_another_order(shape, seed, epoch):
    w, num_tokens, _ = windows_of("random", (shape[0], shape[1], None, shape[3]))
    starts = w.starts(seed, epoch).ravel()
    offset = int(starts[0]) % w.bptt_length  # max_offset is below bptt_length here
    cut = range(
        offset, offset + (num_tokens - offset - 1) // w.bptt_length * w.bptt_length, w.bptt_length
    )
    assert set(starts.tolist()) <= set(cut)
    assert len(cut) // w.batch_size >= w.updates_per_epoch
    assert w.updates_per_epoch == (num_tokens - w.bptt_length) // w.bptt_length // w.batch_size
    assert not w.carried


@pytest.mark.parametrize("form", FORMS)
def test_offsets_reach_both_ends_and_differ_by_epoch_and_seed(form):
    w = training_windows(settings(form, 2, 5), 200)
    offsets = {int(w.starts((1000,), epoch).min()) % 5 for epoch in range(100)}
    assert offsets == {0, 1, 2, 3, 4}
    epochs = {w.starts((1000,), epoch).tobytes() for epoch in range(100)}
    assert len(epochs) == (100 if form == "random" else 5)
    seeds = {
        w.starts(seed, 0).tobytes()
        for seed in [(s,) for s in range(50)] + [(0, "trial", k) for k in range(50)]
    }
    assert len(seeds) > 1


@pytest.mark.parametrize("form", sorted(PUBLISHED))
def test_no_offset_makes_every_epoch_alike(form):
    w = training_windows(settings(form, 32, 35, max_offset=0), 10_000)
    assert len({w.starts((7,), epoch).tobytes() for epoch in range(20)}) == 1
    assert w.starts((7,), 0)[0, 0] == 0


@pytest.mark.parametrize(
    ("form", "max_offset"), [("sequential-2019", 34), ("sequential-2019", 0), ("sequential", 35)]
)
def test_the_published_systems_make_eight_updates_an_epoch(form, max_offset):
    w = training_windows(settings(form, 32, 35, max_offset), 10_000)
    assert w.updates_per_epoch == 8
    assert w.starts((0,), 0).shape == (8, 32)


@given(st.sampled_from(FORMS), shapes)
def test_too_short_by_one(form, shape):
    w, num_tokens, max_offset = windows_of(form, (*shape[:3], 0))
    assert w.updates_per_epoch >= 1
    short = num_tokens - 1
    rule = (
        f"text: must have at least {num_tokens} tokens for one update .*but got num_tokens={short}"
    )
    with pytest.raises(DataError, match=rule):
        training_windows(settings(form, *shape[:3]), short)
    if form in PUBLISHED:
        assert (
            list(PUBLISHED[form](np.arange(short), w.batch_size, w.bptt_length, max_offset)) == []
        )


@given(st.integers(2, 400), st.integers(1, 40), st.integers(1, 40))
def test_an_evaluation_scores_every_target_once(num_tokens, batch_size, bptt_length):
    starts, lengths = evaluation_windows(num_tokens, batch_size, bptt_length)
    assert starts.dtype == lengths.dtype == np.int64
    assert starts.shape == lengths.shape and starts.shape[1] == batch_size
    scored = np.zeros(num_tokens, int)
    for start, length in zip(starts.ravel(), lengths.ravel(), strict=True):
        scored[start + 1 : start + 1 + length] += 1
    assert scored[0] == 0 and (scored[1:] == 1).all()
    assert lengths.min() >= 0 and lengths.max() <= bptt_length
    assert starts.min() >= 0 and starts.max() <= num_tokens - 2


@given(st.integers(2, 400), st.integers(1, 40), st.integers(1, 40))
def test_an_evaluation_carries_along_streams_of_equal_length(num_tokens, batch_size, bptt_length):
    starts, lengths = evaluation_windows(num_tokens, batch_size, bptt_length)
    totals = lengths.sum(axis=0)
    assert totals.max() - totals.min() <= 1
    assert len(starts) == -(-int(totals.max()) // bptt_length)  # no window that scores nothing
    assert (
        lengths[:-1][lengths[1:] > 0] == bptt_length
    ).all()  # only a stream's last window is cut
    following = lengths[1:] > 0
    assert (starts[1:][following] == (starts[:-1] + bptt_length)[following]).all()


@pytest.mark.parametrize("num_tokens", [0, 1])
def test_nothing_to_evaluate(num_tokens):
    with pytest.raises(
        DataError, match=f"text: must have at least 2 tokens, but got num_tokens={num_tokens}"
    ):
        evaluation_windows(num_tokens, 32, 35)
