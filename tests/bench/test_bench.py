"""The command from words to tables; no test asserts a time."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import cells
from harness.bench import brief, command, figure, measure, tables
from harness.bench.judge import Results
from harness.bench.options import PRESETS
from harness.bench.record import MODES, Bench, BenchError, Peak, Series
from harness.bench.subjects import Candidate
from harness.bench.ticker import Ticker

TINY = [
    "--shape",
    "B2,T3,H4,V5",
    "--cells",
    "lstm,gru-reset-before",
    "--packs",
    "2,1",
    "--rounds",
    "2",
]
TINY += ["--seconds", "0.001", "--threads", "2", "--device", "cpu", "--engines", "native,reference"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """One tiny bench, run as a person runs it: its file, and what it printed."""
    path = tmp_path_factory.mktemp("bench") / "new" / "tiny.json"
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "bench", *TINY, "--json", str(path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return path, done.stdout


def test_every_subject_is_measured_in_every_round(bench):
    found = command.read(bench[0])
    assert [shape.name for shape in found.shapes] == ["B2,T3,H4,V5"]
    subjects = {(s.kind, s.name, s.cell, s.pack, s.mode) for s in found.series}
    engines = [("native", "lstm"), ("reference", "lstm"), ("reference", "gru-reset-before")]
    peers = [("LSTM", "lstm"), ("GRU", "gru"), ("RNN", "rnn-tanh")]
    forms = ("one-hot", "prebuilt")
    assert subjects == {
        *(
            ("engine", name, cell, pack, mode)
            for name, cell in engines
            for pack in (1, 2)
            for mode in MODES
        ),
        *(
            ("peer", f"nn.{n} {f}", c, p, m)
            for n, c in peers
            for f in forms
            for p in (1, 2)
            for m in MODES
        ),
        *(
            ("loop", "loop", cell, 1, mode)
            for cell in ("lstm", "gru-reset-before")
            for mode in MODES
        ),
    }
    for series in found.series:
        assert series.problem is None and len(series.seconds) == len(series.busy) == 2
        assert min(series.seconds) > 0 and series.updates >= 1
    rounds = int(found.made["rounds"])
    assert str(found.peaks[0]) == "multiply-adds among registers on 2 threads"
    assert str(found.peaks[1]) == "one product on 2 threads of 512 x 512"
    assert len(found.peaks) == 7 and all(
        len(p.gflops) == rounds and min(p.gflops) > 0 for p in found.peaks
    )
    assert found.notes == ["engine native: not timed, torch.nn has no gru-reset-before"]
    native = {s.is_default for s in found.series if s.name in ("native", "loop", "nn.LSTM one-hot")}
    assert native == {False}  # the generated engine is what training takes
    expected = {
        "date",
        "command",
        "git_commit",
        "git_dirty",
        "processor",
        "cores",
        "load_average",
        "version_torch",
    }
    assert expected <= found.made.keys() and found.made["threads"] == "2"


def test_a_bench_prints_its_tables_and_what_is_inside_the_clock(bench):
    path, printed = bench
    for words in (
        "One whole training update",
        "Forward only",
        "Inside the clock",
        "Peak of the machine: ",
    ):
        assert words in printed
    assert (
        f"harness bench {' '.join(TINY)} --json" in printed
        and "engine native: not timed" in printed
    )
    assert max(map(len, printed.splitlines())) < 160 or "Others:" in printed
    assert tables.text(command.read(path)).rstrip() == printed.rstrip()


def test_a_file_prints_again(bench, capsys):
    path, printed = bench
    assert command.main(["--from", str(path)]) == 0
    assert capsys.readouterr().out.rstrip() == printed.rstrip()


def test_a_file_is_drawn(bench, capsys):
    path, _ = bench
    assert command.main(["--plot", str(path)]) == 0
    drawn = [path.with_name(f"tiny-B2-T3-H4-V5{ending}") for ending in (".svg", ".png")]
    assert capsys.readouterr().out.split() == list(map(str, drawn))
    svg = drawn[0].read_text()
    for text in (
        "gru-reset-before",
        "reference, pack of 2",
        "nn.LSTM one-hot",
        "peak of the machine",
        "GFLOP/s",
    ):
        assert text in svg
    assert drawn[1].read_bytes().startswith(b"\x89PNG")


def test_json_comes_back_whole(bench):
    found = command.read(bench[0])
    assert Bench.from_json(found.to_json()) == found
    assert list(json.loads(found.to_json())) == [
        "version",
        "made",
        "shapes",
        "series",
        "peaks",
        "notes",
    ]


@pytest.mark.parametrize(
    "change, rule",
    [
        (
            lambda v: v.update(version=0),
            "bench: version must be 2, but got version=0. Measure again.",
        ),
        (lambda v: v.pop("made"), "bench: must be what `harness bench --json` wrote, but got"),
        (
            lambda v: v["series"][0].update(strange=1),
            "bench: must be what `harness bench --json` wrote, but got",
        ),
        (
            lambda v: v["series"][0]["seconds"].pop(),
            "bench: every series must have a repeat a round, but some have",
        ),
    ],
)
def test_a_file_that_is_no_bench_is_an_error(bench, change, rule):
    values = json.loads(bench[0].read_text())
    change(values)
    with pytest.raises(BenchError, match=re.escape(rule)):
        Bench.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["[]", "{", "3"])
def test_a_text_that_is_no_bench_is_an_error(text):
    with pytest.raises(
        BenchError, match="bench: must be what `harness bench --json` wrote, but got"
    ):
        Bench.from_json(text)


def test_a_file_that_is_no_text_is_an_error(tmp_path, capsys):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    assert command.main(["--from", str(tmp_path / "a.json")]) == 2
    assert "a.json must be UTF-8, but got byte=0xff." in capsys.readouterr().err


def test_a_bench_without_a_measured_cell_is_not_drawn(tmp_path):
    with pytest.raises(BenchError, match="bench: must hold a cell that was measured, but"):
        figure.draw(Bench({}, [], [], []), tmp_path / "a.json")


@pytest.mark.parametrize("arguments", [["--from", "absent.json"], ["--plot", "absent.json"]])
def test_a_file_that_is_not_there_exits_2(arguments, capsys):
    assert command.main(arguments) == 2
    assert "absent.json" in capsys.readouterr().err


def test_a_quick_bench_is_printed_within_80_columns():
    path = Path(__file__).resolve().parents[2] / "studies" / "bench" / "sources.json"
    bench = Bench.from_json(path.read_text(encoding="utf-8"))
    said = brief.text(bench)
    assert max(map(len, said.splitlines())) <= 80
    whole = tables.text(bench)
    for title in ("One whole training update: sources", "Forward only: sources"):
        assert title in said and title in whole
    (row,) = re.findall(r"^lstm +nn.LSTM one-hot +1 .*$", said.split("Forward only")[0], re.M)
    series = next(s for s in bench.series if (s.name, s.pack) == ("nn.LSTM one-hot", 1))
    assert row.split()[:4] == ["lstm", "nn.LSTM", "one-hot", "1"] and series.cell == "lstm"
    assert "x LSTM" in said and "targets" not in said


def test_a_quick_bench_wraps_what_failed():
    path = Path(__file__).resolve().parents[2] / "studies" / "bench" / "sources.json"
    bench = Bench.from_json(path.read_text(encoding="utf-8"))
    bench.series[0].problem = "MemoryError: " + "no room " * 20
    said = brief.text(bench)
    assert "MemoryError: no room" in said and max(map(len, said.splitlines())) <= 80


class Quick:
    """Stands for what the machine reaches, which takes seconds to measure."""

    def __init__(self, shape, *where):
        self.peaks = [Peak(shape, "one product", 8)]

    def measure(self, seconds):
        self.peaks[0].gflops.append(1.0)

    def close(self):
        pass


@pytest.mark.parametrize("num_whole", [0, 2])
def test_an_interrupted_bench_prints_the_rounds_that_are_whole(
    num_whole, tmp_path, monkeypatch, capsys
):
    measured, left = measure.Stand.measure, 2 * num_whole + 1  # two modes a round

    def interrupted(stand, mode):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        measured(stand, mode)

    monkeypatch.setattr(measure.Stand, "measure", interrupted)
    monkeypatch.setattr(measure, "Yardsticks", Quick)
    path = tmp_path / "bench.json"
    words = [*TINY, "--kinds", "loop", "--cells", "gru", "--rounds", "7", "--json", str(path)]
    assert command.main(words) == command.INTERRUPTED
    printed = capsys.readouterr()
    assert "interrupted; rounds that were whole" in printed.err
    assert path.exists() == bool(num_whole)
    if num_whole:
        assert f"interrupted after {num_whole} of 7 rounds." in printed.out
        assert re.search(r"^gru +a +loop +1 ", printed.out, re.M)
        assert {len(s.seconds) for s in command.read(path).series} == {num_whole}
    else:
        assert printed.out == ""


def test_a_users_own_cells_are_measured_too(tmp_path, capsys):
    own = Path(__file__).resolve().parent.parent / "user_cells.py"
    words = [
        "--file",
        str(own),
        "--cells",
        "my-indrnn",
        "--engines",
        "reference",
        "--rounds",
        "1",
        "--packs",
        "1",
    ]
    assert command.main([*TINY, *words]) == 0
    printed = capsys.readouterr().out
    for subject in ("reference", "loop"):
        assert re.search(rf"^my-indrnn +e +{subject} +1 ", printed, re.M)


class Failing:
    """Trains a few times and then no more."""

    closed = False

    def __init__(self, times):
        self._left = times

    def train(self, count):
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("out of\nsomething")

    forward = train

    def close(self):
        self.closed = True


@pytest.mark.parametrize("times", [0, 3, 7])
def test_a_subject_that_fails_loses_its_row_and_no_other(times):
    shape, failing = PRESETS["sources"], Failing(times)
    stand = measure.Stand(
        Candidate("loop", "compiled loop", cells.find("lstm"), 1, lambda: failing), shape
    )
    stand.warm_up(1e-9)
    for _ in range(3):
        stand.measure("train")
    assert failing.closed
    assert [s.problem for s in stand.series.values()] == ["RuntimeError: out of something"] * 2
    made = Bench({"device": "cpu", "threads": "1"}, [shape], [*stand.series.values()])
    told = tables.table(Results(made, shape, "train"))
    assert told.endswith("lstm, compiled loop, pack 1: RuntimeError: out of something")


def test_disturbed_repeats_are_told():
    series = Series(
        "sources",
        "engine",
        "cpu",
        "lstm",
        "a",
        4,
        True,
        1,
        "train",
        1,
        1,
        1,
        [1.0, 1.0],
        [True, False],
    )
    made = Bench({}, [], [series])
    assert tables.disturbance(made).startswith(
        "Warning: other processes kept the processor busy in 1 of 2 repeats."
    )
    assert tables.disturbance(replace(made, series=[])) == ""


class Stream:
    """Keeps what is written; a terminal where it says so."""

    def __init__(self, terminal):
        self.text, self._terminal = "", terminal

    def isatty(self):
        return self._terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_the_ticker_says_at_once_what_a_stage_takes():
    stream = Stream(False)
    Ticker(stream).begin(10.0, "sources: 18 subjects in 6 rounds, about 40 s")
    assert stream.text == "sources: 18 subjects in 6 rounds, about 40 s\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_the_ticker_says_how_long_it_takes(monkeypatch, terminal):
    now = 0.0
    monkeypatch.setattr("harness.bench.ticker.time.monotonic", lambda: now)
    stream = Stream(terminal)
    ticker = Ticker(stream)
    ticker.say("too early")
    ticker.begin(10.0)
    assert stream.text == ""
    now = 30.0
    ticker.advance(2.5, "round 1 of 4")
    ticker.say("again, at once")
    ticker.close()
    line = "round 1 of 4, 90 s left"
    assert stream.text == (f"\r{line}\r{' ' * len(line)}\r" if terminal else f"{line}\n")
