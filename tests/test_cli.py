import subprocess
import sys
import textwrap
import time
from importlib.metadata import version
from typing import get_args

import pytest
import small_study
from forking import NOTHING, Forking
from typer.main import get_command

from harness import cli, study
from harness.cli import running
from harness.results import clean

COMMANDS = [
    [],
    ["init"],
    ["run"],
    ["check"],
    ["resolve"],
    ["plan"],
    ["ingest"],
    ["merge"],
    ["status"],
    ["report"],
    ["compare"],
    ["export"],
    ["export-model"],
    ["sample"],
    ["clean"],
    ["doctor"],
    ["ui"],
    ["cells"],
    ["cells", "show"],
    ["cells", "test"],
    ["bench"],
    ["cost"],
    ["schema"],
]
HEAVY = ("torch", "mlflow", "optuna", "pandas", "matplotlib")
TELL = f"""
import atexit
import sys

heavy = {set(HEAVY)!r}
atexit.register(lambda: print("loaded:", *sorted(heavy & set(sys.modules)), file=sys.stderr))
"""


@pytest.fixture(scope="module")
def harness_and_what_it_loads():
    """Runs a command; the last line of its standard error names the heavy libraries it loaded.

    Those that importing the command line alone would load are among them.
    """

    def run(*words, cwd):
        done = light.run(*words, cwd=cwd, COLUMNS="80")
        text, _, loaded = done.stderr.rpartition("loaded:")
        return done.returncode, done.stdout, text, loaded.split()

    with Forking(NOTHING + TELL) as light:
        yield run


@pytest.fixture(scope="module")
def harness():
    with Forking() as server:
        yield server.run


@pytest.mark.parametrize("words", COMMANDS)
def test_help_loads_neither_torch_nor_mlflow_nor_optuna(harness_and_what_it_loads, words, tmp_path):
    option = "--help" if len(words) % 2 else "-h"  # both for some commands
    code, text, errors, loaded = harness_and_what_it_loads(*words, option, cwd=tmp_path)
    assert (code, loaded) == (0, []), errors
    assert "usage" in text.lower()
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.partition("  -h, --help")[2]  # each command's sentence fits its line


def test_help_groups_all_commands(harness, tmp_path):
    text = harness("--help", cwd=tmp_path).stdout
    sections = text.partition("-h, --help")[2].split("\n\n")[1:]
    headings = [section.splitlines()[0] for section in sections]
    assert headings == ["Write a study:", "Run it:", "Look at what came out:", "Share it:"]
    listed = [line.split()[0] for section in sections for line in section.splitlines()[1:]]
    assert sorted(listed) == sorted({words[0] for words in COMMANDS if words})


def test_short_help_and_version_load_nothing_heavy(harness_and_what_it_loads, tmp_path):
    words = {"-h": "Usage: harness", "--version": f"recurrent-bench {version('recurrent-bench')}"}
    for word, start in words.items():
        code, text, _, loaded = harness_and_what_it_loads(word, cwd=tmp_path)
        assert (code, loaded) == (0, []) and text.startswith(start)


def test_names_of_commands_and_options_are_read_without_regard_to_case(
    harness_and_what_it_loads, harness, tmp_path
):
    code, text, errors, loaded = harness_and_what_it_loads("Cells", "SHOW", "--HELP", cwd=tmp_path)
    assert code == 0 and "equations" in text and loaded == [], errors
    done = harness("check", "--Fodler", ".", cwd=tmp_path)
    assert done.returncode == 2 and "No such option: --fodler" in done.stderr
    assert "--folder" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "Missing argument 'STUDY'"),
        (["run", "small.yaml", "--bogus"], "No such option: --bogus"),
        (["status", "--json"], "--json. `harness export STUDY FOLDER` writes"),
        (["compare", "a:b", "a:c", "--json"], "`harness export STUDY FOLDER` writes"),
        (["export", "small.yaml", "out", "--format", "xlsx"], "'xlsx' is not one of"),
        (["run", "absent.yaml"], "absent.yaml"),
        (["run", "small.yaml", "--set", "fix.cell=lsmt"], "Did you mean lstm"),
        (["check", "small.yaml", "--set", "fix.hiden_size=3"], "Did you mean hidden_size?"),
        (["resolve", "small.yaml", "--set", "fix.hiden_size=3"], "Did you mean hidden_size?"),
        (["plan", "small.yaml", "plan.json", "--set", "fix.hiden_size=3"], "hidden_size?"),
        (["ingest", "small.yaml", "records", "--set", "fix.hiden_size=3"], "hidden_size?"),
        (["export", "small.yaml", "out", "--set", "fix.hiden_size=3"], "hidden_size?"),
        (["status", "small.yaml", "--set", "fix.hiden_size=3"], "Did you mean hidden_size?"),
        (["report", "small.yaml", "--set", "fix.hiden_size=3"], "Did you mean hidden_size?"),
    ],
)
def test_a_mistake_is_reported_without_them_too(
    harness_and_what_it_loads, words, message, tmp_path
):
    small_study.write(tmp_path)
    code, _, errors, loaded = harness_and_what_it_loads(*words, cwd=tmp_path)
    assert code == 2 and message in errors and loaded == []


def parameters():
    """Returns every command's arguments and options, but for those that a command ends with."""
    groups = [("harness", get_command(cli.app))]
    for name, command in groups:
        for child, subcommand in getattr(command, "commands", {}).items():
            groups.append((f"{name} {child}", subcommand))
    shared = {"version", "help", "install_completion", "show_completion"}
    params = [(name, each) for name, command in groups for each in command.params]
    return [(name, each) for name, each in params if each.help and each.name not in shared]


def test_every_help_text_is_a_sentence_that_states_the_default():
    assert len(parameters()) > 60
    for name, each in parameters():
        where = f"{name} {each.name}"
        sentence, _, default = each.help.partition(" (default: ")
        assert sentence[0].isupper() and sentence.endswith("."), where
        is_part = name == "harness clean" and each.name in get_args(clean.Kind)  # flags in a row
        if each.required or is_part:
            assert not default, where
        elif isinstance(each.default, int | str) and not isinstance(each.default, bool):
            assert default == f"{each.default})", where
        else:
            assert default.endswith(")"), where


def test_a_launch_counts_its_seconds_from_the_begin_of_its_process():
    code = (
        "import time; from harness.cli import running; print(time.monotonic() - running._began())"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    age, seconds = float(done.stdout), time.monotonic() - begun
    assert 0.01 < age < seconds + 0.02  # the kernel counts in hundredths


def test_a_pause_between_two_clocks_makes_no_process_older(monkeypatch):
    began, read, pauses = running._began(), time.clock_gettime, [0.3]

    def paused(clock):
        if pauses:
            time.sleep(pauses.pop())
        return read(clock)

    monkeypatch.setattr(running.time, "clock_gettime", paused)
    assert running._began() == pytest.approx(began, abs=0.1)
    assert not pauses


def test_importing_harness_loads_nothing_heavy():
    code = "import sys, harness\nassert not {'torch', 'mlflow', 'optuna'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_wrong_study_ends_with_2_every_problem_and_an_untouched_folder(harness, tmp_path):
    path = small_study.write(tmp_path)
    path.write_text(
        path.read_text()
        .replace("cell: lstm", "cell: lsmt")
        .replace("batch_size: 4", "batch_sice: 4")
    )
    before = sorted(p.name for p in tmp_path.iterdir())
    for command in ("run", "check"):
        done = harness(command, path, cwd=tmp_path)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert "Did you mean lstm" in done.stderr and "Did you mean batch_size?" in done.stderr
        assert f"{path}:15:" in done.stderr  # where `cell` stands
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "absent.yaml"], "absent.yaml"),
        (["report", "small.yaml"], "must have been run, but 'small' is not in"),
        (["report", "small"], "the database must exist"),
        (["status", "small"], "the database must exist"),
        (["export", "small", "out"], "the database must exist"),
        (["ui"], "the database must exist"),
        (["cells", "--file", "absent.py"], "cell file: must exist, but got path="),
        (["run", "small.yaml", "--set", "fix.hiden_size=3"], "hidden_size"),
        (
            ["run", "small.yaml", "--set", "replicate.seeds=2"],
            "Write seeds: 6 or more, or give --force.",
        ),
        (
            ["run", "small.yaml", "--storage", "sqlite:////dev/null/optuna.db"],
            "storage: must be a database",
        ),
        (["run", "small.yaml", "--set", "fix.path=absent.txt"], "absent.txt"),
        (["run", "small.yaml", "--set", "fix.bptt_length=9000"], "must have at least"),
    ],
)
def test_what_a_person_can_mend_ends_with_2_and_no_traceback(harness, tmp_path, words, message):
    small_study.write(tmp_path)
    done = harness(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr


def test_check_says_what_a_study_costs_and_can_show(harness, tmp_path):
    path = small_study.write(tmp_path)
    done = harness("check", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "runs 20" in said and "0.0312 by sign flips; 0.05 takes 6 seeds" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.yaml", "text.txt"]


def test_resolve_prints_a_study_that_is_the_same(harness, tmp_path):
    path = small_study.write(tmp_path)
    done = harness("resolve", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "resolved.yaml").write_text(done.stdout)
    assert study.load(tmp_path / "resolved.yaml").identity() == study.load(path).identity()


def test_cells_lists_the_registry_and_a_users_own(harness, tmp_path):
    own = small_study.Path(__file__).with_name("user_cells.py")
    done = harness("cells", "--file", own, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("lstm-no-output-tanh", "gru-reset-before", "my-indrnn", "my-full-gate-recurrence"):
        assert name in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 and "…" not in done.stdout
    assert "Gers 2000 = nn.LSTM" in done.stdout
    shipped, _, owned = done.stdout.partition("your own:")
    assert "my-" not in shipped and owned.count("\nmy-") == 4
    words = " ".join(done.stdout.split())
    assert "irnn = rnn-relu with initialization: identity" in words
    assert "the engine cpu runs all of them; scan runs " in words and "min-gru, min-lstm" in words


def test_cells_show_prints_equations_costs_and_engine(harness, tmp_path):
    done = harness(
        "cells", "show", "lstm-coupled", "--hidden-size", 10, "--num-tokens", 3, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "c' = (1 - i) * c + i * g",
        "Differs from lstm: f = 1 - i.",
        "gates         i g o",
        "453 at H = 10, V = 3",
    ):
        assert words in done.stdout
    missing = harness("cells", "show", "lsmt", cwd=tmp_path)
    assert (
        missing.returncode == 2
        and "Did you mean lstm" in missing.stderr
        and "Traceback" not in missing.stderr
    )


def test_cells_takes_a_file_before_the_command_too(harness, tmp_path):
    own = small_study.Path(__file__).with_name("user_cells.py")
    done = harness("cells", "--file", own, "--num-tokens", 3, "show", "My-IndRNN", cwd=tmp_path)
    assert done.returncode == 2 and "Did you mean my-indrnn?" in done.stderr
    done = harness("cells", "--file", own, "--num-tokens", 3, "show", "my-indrnn", cwd=tmp_path)
    assert done.returncode == 0 and "V = 3" in done.stdout, done.stderr


def test_cells_test_says_in_words_what_fails(harness, tmp_path):
    text = """
        from torch import tanh

        from cells import Cell


        class Forgetful(Cell):
            r\"\"\"h' = tanh(W_h x + R_h h + b_h)

            Source: none. Reference: none. Differs: no parent.
            \"\"\"

            name, gates = "forgetful", ("h",)

            def step(self, p, x, h):
                return (tanh(x.h + p.R(HERE).h),)
    """
    for here, code in (("h", 0), ("h.detach()", 1)):
        (tmp_path / "own.py").write_text(textwrap.dedent(text).replace("HERE", here))
        done = harness("cells", "test", "own.py", cwd=tmp_path)
        assert done.returncode == code, done.stderr
        words = (
            "forgetful: passes the contract"
            if code == 0
            else "must act on the outputs or the final state, but its gradient is 0"
        )
        assert words in done.stdout


def test_schema_prints_the_committed_one(harness, tmp_path):
    root = small_study.Path(__file__).resolve().parent.parent
    import json

    done = harness("schema", cwd=tmp_path)
    assert json.loads(done.stdout) == json.loads(
        (root / "studies" / "study.schema.json").read_text()
    )
