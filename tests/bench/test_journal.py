"""The lines of a bench with a budget: written, read, and printed."""

import json
import re

import pytest

from harness.bench import command, journal, journal_tables
from harness.bench.journal import Failed, Figure, Kernels, Label, LeftOut, Recorder
from harness.bench.record import BenchError

SHAPE = "B32,T35,H256,V28"
WORDS = "B32,T35,H256,V10000"
MADE = {
    "date": "2026-01-01",
    "command": "harness bench --budget 9",
    "git_commit": "abc",
    "git_dirty": "false",
    "device": "cpu",
    "cores": "2",
    "processor": "planted",
    "precision": "tf32",
    "threads": "2",
    "rounds": "6",
    "seconds": "0.05",
    "load_average": "0",
    "system": "planted",
    "version_torch": "2.9",
    "budget": "9.0",
}
NOISE = (0.9, 0.95, 1.0, 1.0, 1.05, 1.1)


def label(kind, name, cell="lstm", shape=SHAPE, pack=1):
    return Label(kind, name, cell, shape, "tf32", pack)


def figures(own, train, forward):
    """Returns a subject's figures, in milliseconds of the whole pack, with six repeats each."""
    modes = (("train", train), ("forward", forward))
    return [Figure(own, mode, tuple(1e-3 * ms * f for f in NOISE), 1) for mode, ms in modes]


PLANTED = [
    *figures(label("peer", "nn.LSTM one-hot"), 8, 2),
    *figures(label("engine", "gpu"), 4, 1),
    *figures(label("engine", "gpu", pack=16), 8, 2),
    *figures(label("engine", "gpu", cell="lstm-layer-norm"), 16, 4),
    *figures(label("peer", "nn.LSTM embedding", shape=WORDS), 10, 3),
    *figures(label("peer", "nn.LSTM one-hot", shape=WORDS), 40, 12),
    *figures(label("engine", "gpu", shape=WORDS), 5, 3),
    Kernels(label("engine", "gpu"), 192.0, 812.0, (("gemm", 70.0, 400.0), ("sigmoid", 35.0, 99.5))),
    LeftOut(label("engine", "gpu", cell="nas"), "the budget was spent"),
    Failed(label("loop", "loop"), "OutOfMemoryError: of the device"),
]


@pytest.fixture
def file(tmp_path):
    """The planted lines as a file, come to its end."""
    path = tmp_path / "new" / "bench.jsonl"
    recorder = Recorder(path, MADE)
    for line in PLANTED:
        recorder.add(line)
    recorder.end(7.5)
    recorder.close()
    return path


def values(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_journal_comes_back_whole(file):
    found = command.read(file)
    assert (found.made, found.lines, found.seconds) == (MADE, PLANTED, 7.5)


def test_every_line_is_an_object_that_says_what_it_is(file):
    lines = values(file)
    assert [line["line"] for line in lines] == [
        "machine",
        *["figure"] * 14,
        "kernels",
        "left out",
        "failed",
        "end",
    ]
    assert lines[0] == {"line": "machine", "version": 1, **MADE}
    ours = lines[5]  # 16 runs that take 8 ms, beside one that takes 8
    assert {key: ours[key] for key in ("cell", "name", "pack", "mode")} == {
        "cell": "lstm",
        "name": "gpu",
        "pack": 16,
        "mode": "train",
    }
    assert [ours["low"], ours["median"], ours["high"]] == pytest.approx([7.2e-3, 8e-3, 8.8e-3])
    ratio = ours["ratios"]["nn.LSTM one-hot"]
    low, high = 16 * 0.9 / 1.1, 16 * 1.1 / 0.9
    assert [ratio["low"], ratio["median"], ratio["high"]] == pytest.approx([low, 16, high])


def test_a_ratio_to_each_form_of_torch_nn_is_written(file):
    ours = next(line for line in values(file) if line.get("shape") == WORDS and "gpu" in str(line))
    found = {name: ratio["median"] for name, ratio in ours["ratios"].items()}
    assert found == pytest.approx({"nn.LSTM embedding": 2.0, "nn.LSTM one-hot": 8.0})


def test_fewer_than_six_repeats_have_no_interval():
    peer = Figure(label("peer", "nn.LSTM one-hot"), "train", (2.0,) * 6)
    ours = Figure(label("engine", "gpu"), "train", (1.0,) * 5)
    ratio = ours.speed_over(peer)
    assert (ratio.median, ratio.low, ratio.high) == (2.0, None, None)


def test_each_line_is_in_the_file_at_once(tmp_path):
    recorder = Recorder(tmp_path / "a.jsonl", MADE)
    for count, line in enumerate(PLANTED, start=2):
        recorder.add(line)
        assert len(values(tmp_path / "a.jsonl")) == count
    recorder.close()


def test_the_tables_fit_80_columns_and_say_what_was_found(file):
    printed = journal_tables.text(command.read(file))
    assert max(map(len, printed.splitlines())) <= 80
    for row in (
        r"^B32,T35,H256,V28, tf32, cells by engine gpu$",
        r"^nn.LSTM one-hot +1 +8 +2$",
        r"^lstm +1 +4 +2.00 \(1.64-2.44\) +1 +2.00 \(1.64-2.44\)$",
        r"^lstm +16 +0.5 +16.0 \(13.1-19.6\) +0.125 +16.0",
        r"^lstm-layer-norm +1 +16 +0.50 \(0.41-0.61\)\* +4 +0.50 \(0.41-0.61\)\*$",
        # The first of two forms is the one that users take.
        r"^nn.LSTM one-hot +1 +40 +0.25 \(0.20-0.31\) +12 +0.25",
        r"^lstm +1 +5 +2.00 .* +3 +1.00",
        r"^lstm gpu, pack 1, B32.*: 192 kernels and copies",
        r"^ +400.0 us in +70  gemm$",
        r"^Failed: OutOfMemoryError: of the device\n  lstm loop, pack 1, B32",
        r"^Left out: the budget was spent\n  nas gpu, pack 1, B32",
        r"^It took 8 s of a budget of 9 s.$",
        r"^Warning: other processes kept the processor busy in 14 of 84 repeats.",
        r"^embedding: nn.Embedding\(V, H\) before a layer of H inputs",
    ):
        assert re.search(row, printed, re.M), row


def test_several_engines_are_named_in_their_rows():
    lines = [*PLANTED[:4], *figures(label("engine", "reference"), 40, 10)]
    printed = journal_tables.text(journal.Journal(MADE, lines))
    assert re.search(r"^lstm gpu +1 +4 ", printed, re.M)
    assert re.search(r"^lstm reference +1 +40 ", printed, re.M)
    assert "cells by" not in printed


def test_the_widest_table_of_the_list_fits_80_columns():
    lines = [
        *figures(label("peer", "nn.LSTM one-hot"), 8, 2),
        *figures(label("engine", "gpu", cell="gru-reset-before", pack=16), 1.234, 0.1234),
        *figures(label("loop", "loop", cell="gru-reset-before"), 123.4, 12.34),
    ]
    printed = journal_tables.text(journal.Journal(MADE, lines))
    assert max(map(len, printed.splitlines())) <= 80


def test_no_word_of_an_embedding_where_there_is_none():
    found = journal.Journal(MADE, [*PLANTED[:4]])
    assert "nn.Embedding" not in journal_tables.text(found)


@pytest.mark.parametrize("missing", [1, 20])
def test_a_last_line_that_was_not_finished_is_passed_over(file, missing):
    file.write_text(file.read_text()[:-missing])
    found = command.read(file)
    assert found.lines == PLANTED and found.seconds is None
    assert "The bench was stopped before its end" in journal_tables.text(found)


def test_a_file_with_the_machine_alone_prints(file, capsys):
    file.write_text(file.read_text().partition("\n")[0] + "\n")
    assert command.main(["--from", str(file)]) == 0
    assert "The bench was stopped before its end" in capsys.readouterr().out


def changed(text, **new):
    return json.dumps({**json.loads(text), **new})


@pytest.mark.parametrize(
    "number, change, rule",
    [
        (0, lambda line: changed(line, version=0), "bench: version must be 1, but got version=0."),
        (3, lambda line: changed(line, line="x"), "bench: line 4 must be what `harness bench"),
        (3, lambda line: changed(line, strange=1), "bench: line 4 must be what `harness bench"),
        (3, lambda line: line[:-9], "bench: line 4 must be what `harness bench --budget` wrote"),
        (5, lambda line: "3", "bench: line 6 must be what `harness bench --budget` wrote, but got"),
    ],
)
def test_a_line_that_is_none_is_an_error(file, capsys, number, change, rule):
    lines = file.read_text().splitlines(keepends=True)
    lines[number] = change(lines[number].rstrip("\n")) + "\n"
    file.write_text("".join(lines))
    assert command.main(["--from", str(file)]) == 2
    assert rule in capsys.readouterr().err


def test_a_journal_is_not_drawn(file, capsys):
    assert command.main(["--plot", str(file)]) == 2
    rule = "bench: --plot must have a file of whole rounds, but"
    assert rule in capsys.readouterr().err


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(OSError):
        Recorder(tmp_path, MADE)


def test_the_reason_names_no_version_of_another_kind(file):
    """A file of rounds is told apart by its first line."""
    assert journal.is_journal(file.read_text())
    for text in ("", "{", "3", "[]", '{"version": 2}', '{"line": "figure"}'):
        assert not journal.is_journal(text)
    with pytest.raises(BenchError, match="version must be 1, but got version=None"):
        journal.from_text('{"line": "machine"}\n')
