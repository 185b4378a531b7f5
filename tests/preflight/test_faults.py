"""What would fail every run is told before anything trains, all at once, without a traceback."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness import engine, study
from harness.engine.persistent.persistent import Persistent
from harness.preflight import check, faults
from harness.preflight.faults import RunFault, check_runs
from harness.preflight.resolve import resolve
from harness.runner import launch
from harness.store.locations import Locations
from harness.store.reader import StudyReader

pytestmark = pytest.mark.usefixtures("without_report_files")

CELLS = Path(__file__).with_name("faulty_cells.py")
STUDY = """\
study: faulty
version: 1
question: Does it train?
cells: [mine.py]
compare:
  cross: {{cell: [lstm, {cells}]}}
  baseline: {{cell: lstm}}
fix:
  corpus: time-machine
  hidden_size: 8
  batch_size: 4
  bptt_length: 8
  budget: {{updates: 4}}
  evaluations: 2
replicate: {{seeds: 6}}
measure: {{runtime: none, samples: {{prefixes: {prefixes}, length: 3}}}}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a study of cells of one's own, in the working directory, and returns its path."""
    monkeypatch.chdir(tmp_path)

    def write(*cells, prefixes='["the "]', changes=()):
        shutil.copy(CELLS, tmp_path / "mine.py")
        text = STUDY.format(cells=", ".join(cells), prefixes=prefixes)
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        (tmp_path / "faulty.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "faulty.yaml"

    return write


def said_of(path):
    """Returns what is told of a study, a line each."""
    loaded = study.load(path)
    with pytest.raises(RunFault) as caught:
        check_runs(loaded, resolve(loaded)[0])
    return str(caught.value).split("\n")


def line_of(words):
    """Returns the number of the line of the cells' file that holds the words."""
    lines = CELLS.read_text(encoding="utf-8").split("\n")
    return next(number for number, line in enumerate(lines, 1) if words in line)


def test_sound_runs_have_texts_and_nothing_is_said(write):
    loaded = study.load(write("sound"))
    texts = check_runs(loaded, resolve(loaded)[0])
    assert list(texts) == ["lstm", "sound"] and texts["lstm"] is texts["sound"]


REMEDY = r" Correct the cell: `harness cells test mine\.py` says more\. \[cell-step\]"


@pytest.mark.parametrize(
    ("cell", "words", "said"),
    [
        (
            "misspelt",
            "p.R(h).gate",
            r"a step of misspelt must run, but raised AttributeError: there is no gate 'gate' "
            r"among g\.",
        ),
        # A batch of four trains; a text is continued in a batch of one.
        (
            "of-one-batch-size",
            "a batch must have",
            r"a step of of-one-batch-size must run, but raised "
            r"ValueError: a batch must have 4 rows,\.",
        ),
        (
            "without-gradient",
            '"its gradient"',
            r"a step of without-gradient must run, but raised NotImplementedError: its gradient\.",
        ),
    ],
)
def test_a_cell_that_raises_is_told_with_its_file_and_line(write, cell, words, said):
    (line,) = said_of(write(cell))
    assert re.fullmatch(rf"{cell}: mine\.py:{line_of(words)}: {said}{REMEDY}", line)


def test_a_cell_whose_states_are_no_states_is_told_with_its_file(write):
    (line,) = said_of(write("of-twice-the-width"))
    assert re.fullmatch(
        r"of-twice-the-width: mine\.py: training of of-twice-the-width must run, but raised "
        rf"RuntimeError: .*{REMEDY}",
        line,
    )


def test_all_faults_of_all_arms_are_told_at_once(write):
    lines = said_of(write("misspelt", "sound", "of-one-batch-size", prefixes='["The Time", "ß"]'))
    at = "faulty.yaml:16:47: measure.samples.prefixes[0]: time-machine: samples: 'The Time': "
    assert lines[0].startswith(at) and "'T' at position=0" in lines[0]
    assert (
        "prefixes[1]: time-machine: samples: 'ß': text: every character must be among" in lines[1]
    )
    assert lines[2].startswith("misspelt: mine.py:")
    assert [line.rpartition(" [")[2] for line in lines] == ["prefix]", "prefix]", "cell-step]"]
    # Neither prefix can be continued, so nothing is said of a cell that can do no batch of one.


def test_a_prefix_is_told_once_a_text_that_cannot_read_it(write, tmp_path):
    (tmp_path / "own.txt").write_text("The Time Traveller\n" * 200)
    across = "across:\n  book: {corpus: time-machine}\n  own: {corpus: text, path: own.txt}\nfix:"
    path = write(
        "sound", prefixes='["The", "x"]', changes=[("fix:\n  corpus: time-machine", across)]
    )
    lines = said_of(path)
    assert [line.split(": text:")[0] for line in lines] == [
        "faulty.yaml:18:47: measure.samples.prefixes[0] (of book/lstm, book/sound): time-machine: "
        "samples: 'The'",
        "faulty.yaml:18:54: measure.samples.prefixes[1] (of own/lstm, own/sound): own.txt: "
        "samples: 'x'",
    ]


OWN_TEXT = ("corpus: time-machine", "corpus: text\n  path: own.txt")
MISSING = "faulty.yaml:10:9: fix.path: must be a readable file, but got path="


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("change", "place"),
    [
        (("seeds: 6", "seeds: 2"), "faulty.yaml:16:20: replicate.seeds: "),
        (("hidden_size: 8", "hidden_size: 8\n  device: cuda"), "device: must be on this machine"),
        (("hidden_size: 8", "hidden_size: 0"), "faulty.yaml:11:16: fix.hidden_size: "),
    ],
    ids=["design", "machine", "file"],
)
def test_a_text_that_is_not_there_is_told_with_whatever_else_is_wrong(
    write, tmp_path, monkeypatch, command, change, place
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    path, where = write("sound", changes=[OWN_TEXT, change]), Locations(tmp_path)
    with pytest.raises(ValueError, match="must") as caught:
        if command == "run":
            launch.run(path, locations=where, console=Console(quiet=True))
        else:
            check.check(
                str(path),
                (),
                locations=where,
                trains=False,
                force=False,
                console=Console(quiet=True),
            )
    lines = str(caught.value).split("\n")
    assert len(lines) == 2
    assert all(any(each in line for line in lines) for each in (MISSING, place)), lines


def test_a_text_that_is_too_short_is_told_once(write, tmp_path):
    (tmp_path / "own.txt").write_text("the time traveller\n" * 20)
    changes = [OWN_TEXT, ("bptt_length: 8", "bptt_length: 300")]
    (line,) = said_of(write("sound", changes=changes))
    assert line.startswith("faulty.yaml:10:9: fix.path: train text: must have at least")
    assert line.endswith("[text-too-short]")


def test_a_text_that_cannot_be_read_is_told_where_its_condition_names_it(write):
    across = "across:\n  a: {corpus: text, path: absent.txt}\n  b: {corpus: time-machine}\nfix:"
    path = write("sound", changes=[("fix:\n  corpus: time-machine", across)])
    (line,) = said_of(path)
    assert line.startswith(
        "faulty.yaml:9:27: across.a.path (of a/lstm, a/sound): must be a readable file, but got"
    )
    assert line.endswith("[text]")


def test_the_arms_are_told_that_a_fault_concerns(write, tmp_path):
    (tmp_path / "own.txt").write_text("the time traveller\n" * 20)
    changes = [
        OWN_TEXT,
        ("[lstm, sound]", "[lstm, sound], bptt_length: [8, 300]"),
        ("baseline: {cell: lstm}", "baseline: {cell: lstm, bptt_length: 8}"),
        ("  bptt_length: 8\n", ""),
    ]
    (line,) = said_of(write("sound", changes=changes))
    assert line.startswith(
        "faulty.yaml:10:9: fix.path (of cell=lstm,bptt_length=300, cell=sound,bptt_length=300): "
        "train text: must have at least"
    )


def test_a_file_that_holds_all_splits_is_missed_once(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "none"))
    named = ("corpus: time-machine", "corpus: wikitext-2\n  token: word")
    (line,) = said_of(write("sound", changes=[named]))
    assert "fix.corpus: " in line and "wikitext-2-v1.zip: must be there" in line


def test_plans_that_cannot_be_built_are_told_for_every_arm(write):
    lines = said_of(write("sound", changes=[("hidden_size: 8", "num_parameters: 40")]))
    arms = [f"faulty.yaml:10:19: fix.num_parameters (of {arm}): " for arm in ("lstm", "sound")]
    assert all(line.startswith(arm) for line, arm in zip(lines, arms, strict=True))
    assert all("num_parameters=40" in line and line.endswith("[no-run]") for line in lines)


@pytest.mark.parametrize(
    ("space", "tried"),
    [
        ("hidden_size: {choices: [8, 4, 16]}", [8, 4, 16]),
        ("hidden_size: {low: 4, high: 16, step: 4}", [4, 16]),
    ],
    ids=["choices", "a range"],
)
def test_an_engine_is_asked_for_each_size_that_a_search_may_take(write, monkeypatch, space, tried):
    asked = []

    def refused(layer, code, device):
        asked.append(layer.hidden_size)
        return "its kernels are wrong" if layer.hidden_size > 8 else None

    ours = Persistent(("cpu",), tried=refused)
    monkeypatch.setattr(engine, "ENGINES", (ours, engine.get("reference")))
    changes = [
        ("fix:\n  corpus", f"tune:\n  {space}\n  trials: 2\nfix:\n  engine: persistent\n  corpus"),
        ("  hidden_size: 8\n", ""),
    ]
    (line,) = said_of(write("sound", changes=changes))
    assert "engine: must run the layer, but got engine='persistent': its kernels are" in line
    assert asked == tried + tried  # of two arms


def test_memory_that_does_not_suffice_for_one_run(write, monkeypatch):
    def train_once(*arguments):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(faults, "_train_once", train_once)
    (line,) = said_of(write("sound"))
    place = "faulty.yaml:10:16: fix.hidden_size: "
    assert line.startswith(
        f"{place}memory must suffice for one run, but got RuntimeError: [enforce"
    )
    assert line.endswith("[memory]")


def test_a_fault_of_the_bench_itself_is_no_fault_of_the_study(write, monkeypatch):
    def train_once(*arguments):
        raise KeyError("of the bench")

    monkeypatch.setattr(faults, "_train_once", train_once)
    loaded = study.load(write("gru"))
    with pytest.raises(KeyError, match="of the bench"):
        check_runs(loaded, resolve(loaded)[0])


def test_run_says_the_same_and_leaves_no_store(write, tmp_path):
    path = write("misspelt", prefixes='["The"]')
    said = said_of(path)
    before = sorted(p.name for p in tmp_path.iterdir())
    for new in (False, True):
        printed = io.StringIO()
        with pytest.raises(RunFault) as caught:
            launch.run(path, locations=Locations(tmp_path), new=new, console=Console(file=printed))
        assert printed.getvalue() == "trying: 2 arms, with one update each\n"
        assert str(caught.value).split("\n") == said
        stores = [p.name for p in tmp_path.iterdir() if p.name.endswith((".db", "artifacts"))]
        assert stores == [] and set(before) <= {p.name for p in tmp_path.iterdir()}


def test_run_says_the_same_of_a_study_that_goes_on(write, tmp_path, monkeypatch):
    def launched(path):
        console = Console(file=io.StringIO())
        return launch.run(path, locations=Locations(tmp_path), console=console)

    assert not launched(write("sound")).missing

    def train_once(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(faults, "_train_once", train_once)
    assert not launched(tmp_path / "faulty.yaml").missing  # nothing is to be trained
    path = write("sound", changes=[("seeds: 6", "seeds: 7")])
    with pytest.raises(RunFault, match="memory must suffice for one run"):
        launched(path)
    runs = StudyReader(Locations(tmp_path).tracking_uri, "faulty").runs()
    assert len(runs) == 12 and set(runs["state"]) == {"finished"}


def test_check_tells_faults_and_design_together(write, tmp_path):
    path = write("misspelt", changes=[("seeds: 6", "seeds: 3")])
    for force, count in ((False, 2), (True, 1)):
        with pytest.raises(RunFault) as caught:
            check.check(
                str(path),
                (),
                locations=Locations(tmp_path),
                trains=False,
                force=force,
                console=Console(file=io.StringIO()),
            )
        lines = str(caught.value).split("\n")
        assert len(lines) == count and lines[0].startswith("misspelt: mine.py:")
        assert ["replicate.seeds: " in line for line in lines[1:]] == [True] * (count - 1)


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_person_sees_no_traceback(write, command):
    path = write("misspelt")
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", command, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.split("\n")[:-1] == said_of(path)
