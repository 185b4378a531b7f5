"""What was expected of a GPU, beside what a folder of figures holds."""

import json

import gpu_expected
from gpu_expected import EXPECTED, NOT_MEASURED

from harness.bench.journal import Figure, Label, Recorder
from harness.bench.wanted import BASE, LONG, WANTED, Row

MADE = {"budget": "120", "device": "cuda"}


def label(kind, name, cell="lstm", precision="tf32", pack=1):
    return Label(kind, name, cell, BASE.name, precision, pack)


def figure(of, milliseconds, mode="train"):
    return Figure(of, mode, (milliseconds / 1e3,) * 6)


def written(path, lines):
    recorder = Recorder(path, MADE)
    for line in lines:
        recorder.add(line)
    recorder.close()  # no last line: the machine was taken away


def rows(told):
    """By subject and quantity, what stands last in a row of the table."""
    lines = told.partition("\n\n")[0].splitlines()[1:]
    parts = [[part for part in line.split("  ") if part] for line in lines]
    return {(first, second.strip()): rest[-1].strip() for first, second, *rest in parts}


def test_all_that_is_expected_is_measured_there():
    shapes = {row.shape.name: row.shape for row in WANTED}
    for expected in EXPECTED:
        assert Row(expected.cell, shapes[expected.shape], expected.precision) in WANTED


def test_nothing_is_measured_before_it_is(tmp_path):
    told = rows(gpu_expected.text(tmp_path))
    assert len(told) == len(EXPECTED)
    assert set(told.values()) == {NOT_MEASURED}


def test_each_figure_stands_in_its_row(tmp_path, monkeypatch):
    of_engine = {"engine": "gpu", "shape": BASE.name, "precision": "float32"}
    counted = [{"cell": "lstm", "all": 200}, {"cell": "lstm-layer-norm", "all": 300}]
    launches = tmp_path / "launches.json"
    launches.write_text(json.dumps({"updates": [row | of_engine for row in counted]}))
    monkeypatch.setattr(gpu_expected, "LAUNCHES", launches)
    ours, peer = label("engine", "gpu"), label("peer", "nn.LSTM one-hot")
    normalized = label("engine", "gpu", "lstm-layer-norm")
    lines = [
        figure(peer, 0.8),
        figure(ours, 0.5),
        figure(label("engine", "gpu", pack=16), 1.0),
        figure(normalized, 1.5),
        figure(label("engine", "gpu", "gru"), 0.5),  # there is no nn.GRU beside it
    ]
    written(tmp_path / "bench.jsonl", lines)
    one = [figure(peer, 0.8), figure(label("engine", "persistent", pack=16), 0.4)]
    written(tmp_path / "persistent.jsonl", one)
    text = gpu_expected.text(tmp_path)
    assert f"At {LONG.name} FlashRNN's authors published" in text
    assert max(map(len, text.splitlines())) <= 80
    told = {key: value for key, value in rows(text).items() if value != NOT_MEASURED}
    assert told == {
        ("lstm gpu H256, tf32", "x nn"): "1.60",
        ("16 lstm gpu H256, tf32", "x nn"): "12.80",
        ("lstm-layer-norm gpu H256, tf32", "x lstm"): "2.00",
        ("16 lstm persistent H256, tf32", "ms"): "0.4",
        ("16 lstm persistent H256, tf32", "x nn"): "32.00",
    }
