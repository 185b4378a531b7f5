"""The words of the command: what they stand for, and what is said of wrong ones."""

import re
import subprocess
import sys

import pytest

import cells
from harness.bench.options import PRESETS, QUICK, checked
from harness.bench.record import BenchError, Shape
from harness.bench.subjects import candidates, settings_of
from harness.bench.words import parse


def test_all_wrong_words_are_said_at_once(tmp_path):
    words = [
        "--cells",
        "lsmt,gru",
        "--engines",
        "natve",
        "--packs",
        "1,x",
        "--shapes",
        "sorces",
        "--shape",
        "B3,T2",
    ]
    words += [
        "--rounds",
        "0",
        "--seconds",
        "nan",
        "--threads",
        "-1",
        "--device",
        "gpu",
        "--precision",
        "float23",
    ]
    words += ["--file", str(tmp_path / "absent.py"), "--json", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "bench", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stdout == ""
    lines = done.stderr.splitlines()
    expected = (
        "cell file: must exist, but got path=",
        "shapes: must be among sources, small, wide, words, but got shapes='sorces'. Did you mean"
        " sources?",
        "but got cell='lsmt'. Did you mean lstm",
        "engine: must be one of",
        "packs: must be a whole number from 1 on, but got packs='x'.",
        "shape: must be B streams, T time steps, H units and V tokens (2 to 1048576), but got"
        " shape='B3,T2'.",
        "rounds: must be a whole number from 1 on, but got rounds='0'.",
        "seconds: must be a number over 0, up to 3600, but got seconds='nan'.",
        "threads: must be a whole number from 1 on, but got threads='-1'.",
        "device: must be one of auto, cpu, cuda, but got device='gpu'.",
        "json: must be a file that can be written, but got json=",
        "precision: must be one of float32, float64, tf32, bf16, but got precision='float23'. Did"
        " you mean float32?",
    )
    assert len(lines) == len(expected)
    for line, rule in zip(lines, expected, strict=True):
        assert rule in line


@pytest.mark.parametrize(
    "words, rule",
    [
        (
            ["--cels", "lstm"],
            "bench: every word must be known, but got '--cels lstm'. Did you mean --cells?",
        ),
        (["lstm"], "bench: every word must be known, but got 'lstm'."),
        (
            ["--rounds"],
            "bench: the words must be as --help has them, but got an error: argument --rounds",
        ),
        (["--from", "a.json", "--quick"], "bench: --from and --plot must stand alone, but got"),
        (
            ["--from", "a.json", "--plot", "a.json"],
            "bench: --from and --plot must stand alone, but got",
        ),
    ],
)
def test_strange_words_are_an_error(words, rule):
    with pytest.raises(BenchError, match=re.escape(rule)):
        parse(words)


def test_lists_must_hold_something():
    with pytest.raises(
        BenchError, match=r"packs: must name one at least, but got none\.\nshapes: must name one"
    ):
        checked(parse(["--packs", ",", "--shapes", ""]))


def test_the_defaults_are_all_cells_and_the_shape_of_the_sources():
    options = checked(parse([]))
    assert options.cells == tuple(cells.names()) and options.engines == ()
    assert (options.packs, options.shapes, options.rounds) == ((1, 4), (PRESETS["sources"],), 11)
    assert checked(parse(["--shape", "B1,T2,H3,V4"])).shapes == (Shape("B1,T2,H3,V4", 1, 2, 3, 4),)
    both = checked(parse(["--shape", "B1,T2,H3,V4", "--shapes", "words"]))
    assert [shape.name for shape in both.shapes] == ["words", "B1,T2,H3,V4"]


def test_quick_gives_way_to_what_is_said():
    options = checked(parse(["--quick", "--rounds", "9"]))
    assert options.cells == tuple(QUICK["cells"].split(",")) and options.rounds == 9


def test_quick_measures_each_named_cell_on_one_engine_beside_its_class(tmp_path):
    options = checked(parse(["--quick", "--cells", "gru,gru-reset-before", "--device", "cpu"]))
    settings = settings_of(options.shapes[0], options, tmp_path / "text.txt")
    timed, _ = candidates(options.shapes[0], settings, options)
    engines = [(each.cell.name, each.pack) for each in timed if each.kind == "engine"]
    assert engines == [(name, pack) for name in ("gru", "gru-reset-before") for pack in (1, 2)]
    peers = {each.name.split()[0] for each in timed if each.kind == "peer"}
    assert peers == {"nn.LSTM", "nn.GRU"}
