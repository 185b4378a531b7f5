"""What is timed at a shape, and what is left out of it."""

from dataclasses import replace

import pytest

import cells
from harness.bench.options import checked, own_shape
from harness.bench.record import EMBEDDING, KINDS, ONE_HOT, PREBUILT, BenchError
from harness.bench.subjects import candidates, input_forms, settings_of, torch_nn, write_text
from harness.bench.words import parse

SMALL = own_shape("B2,T3,H4,V5")
WORDS = own_shape("B32,T35,H256,V10000")


def timed_at(shape, folder, *words):
    """Returns the candidates at a shape and what is said of the others; none of them is created."""
    given = ["--device", "cpu", "--cells", "lstm,gru-reset-before", "--engines", "reference"]
    options = checked(parse([*given, "--shape", shape.name, *words]))
    text = write_text(replace(shape, num_tokens=5), folder)
    return candidates(shape, settings_of(shape, options, text), options)


@pytest.mark.parametrize(
    "words", ["engine", "peer", "loop", "engine,peer", "peer,loop", "engine,peer,loop"]
)
def test_only_the_kinds_that_are_named_are_timed(tmp_path, words):
    timed, _ = timed_at(SMALL, tmp_path, "--kinds", words)
    assert {candidate.kind for candidate in timed} == set(words.split(","))


def test_all_kinds_are_timed_where_none_is_named(tmp_path):
    timed, _ = timed_at(SMALL, tmp_path)
    assert {candidate.kind for candidate in timed} == set(KINDS)


def test_no_note_of_an_engine_where_no_engine_is_timed(tmp_path):
    words = ("--engines", "native", "--kinds")
    assert timed_at(SMALL, tmp_path, *words, "engine")[1] != []
    assert timed_at(SMALL, tmp_path, *words, "peer,loop")[1] == []


@pytest.mark.parametrize(
    "text, rule",
    [
        ("peers", "kinds: must be one of engine, peer, loop, but got kinds='peers'. Did you mean"),
        (",", "kinds: must name one at least, but got none."),
    ],
)
def test_kinds_that_are_none_are_an_error(text, rule):
    with pytest.raises(BenchError, match=rule):
        checked(parse(["--kinds", text]))


def test_an_embedding_comes_first_from_a_thousand_tokens_on():
    assert input_forms(own_shape("B2,T3,H4,V999")) == (ONE_HOT, PREBUILT)
    assert input_forms(own_shape("B2,T3,H4,V1000")) == (EMBEDDING, ONE_HOT, PREBUILT)


def test_one_hot_rows_that_do_not_fit_are_left_out(tmp_path):
    timed, notes = timed_at(WORDS, tmp_path, "--kinds", "peer", "--packs", "1,4")
    found = {(candidate.name, candidate.pack) for candidate in timed if "LSTM" in candidate.name}
    forms = {(EMBEDDING, 1), (EMBEDDING, 4), (ONE_HOT, 1), (ONE_HOT, 4), (PREBUILT, 1)}
    assert found == {(f"nn.LSTM {form}", pack) for form, pack in forms}
    gib = 4 * 8 * 32 * 35 * 10_000 * 4 / 2**30
    rule = f"nn.LSTM prebuilt, pack 4: not timed, its one-hot rows take {gib:.1f} GiB at once"
    assert notes[0] == rule and len(notes) == 3


def test_the_products_of_an_embedding_are_counted(tmp_path):
    """The layer multiplies H inputs by four gates, which a lookup spares."""
    settings = settings_of(SMALL, checked(parse([])), write_text(SMALL, tmp_path))
    lookup, embedded = (
        torch_nn(settings, cells.find("lstm"), form, 1).series(SMALL, "train")
        for form in (ONE_HOT, EMBEDDING)
    )
    extra = 2 * SMALL.hidden_size * 4 * SMALL.hidden_size
    assert embedded.flops - lookup.flops == embedded.cell_flops - lookup.cell_flops == extra
