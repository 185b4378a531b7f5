import subprocess
import sys
import textwrap

import pytest
import small_study

from harness import study


def harness(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["run"],
        ["check"],
        ["report"],
        ["ui"],
        ["cells"],
        ["cells", "show"],
        ["cells", "test"],
        ["export"],
        ["sample"],
        ["compare"],
        ["clean"],
        ["status"],
        ["bench"],
    ],
)
def test_help_loads_neither_torch_nor_mlflow_nor_optuna(words):
    heavy = ("torch", "mlflow", "optuna", "pandas", "matplotlib")
    code = (
        "import sys\nfrom harness.cli import app\n"
        f"try:\n    app({[*words, '--help']!r})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"loaded = [name for name in {heavy!r} if name in sys.modules]\nassert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_importing_harness_loads_nothing_heavy():
    code = "import sys, harness\nassert not {'torch', 'mlflow', 'optuna'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_wrong_study_ends_with_2_every_problem_and_an_untouched_folder(tmp_path):
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
        (["ui"], "the database must exist"),
        (["cells", "--file", "absent.py"], "cell file: must exist, but got path="),
        (["run", "small.yaml", "--set", "fix.hiden_size=3"], "hidden_size"),
        (
            ["run", "small.yaml", "--set", "replicate.seeds=2"],
            "Write seeds: 6 or more, or give --force.",
        ),
        (
            ["run", "small.yaml", "--storage", "sqlite:////nowhere/optuna.db"],
            "storage: must be a database",
        ),
        (["run", "small.yaml", "--set", "fix.path=absent.txt"], "absent.txt"),
        (["run", "small.yaml", "--set", "fix.bptt_length=9000"], "must have at least"),
    ],
)
def test_what_a_person_can_mend_ends_with_2_and_no_traceback(tmp_path, words, message):
    small_study.write(tmp_path)
    done = harness(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr


def test_check_says_what_a_study_costs_and_can_show(tmp_path):
    path = small_study.write(tmp_path)
    done = harness("check", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "runs 20" in said and "0.0312 by sign flips; 0.05 takes 6 seeds" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.yaml", "text.txt"]


def test_check_resolved_prints_a_study_that_is_the_same(tmp_path):
    path = small_study.write(tmp_path)
    done = harness("check", path, "--resolved", cwd=tmp_path)
    (tmp_path / "resolved.yaml").write_text(done.stdout)
    assert study.load(tmp_path / "resolved.yaml").identity() == study.load(path).identity()


def test_cells_lists_the_registry_and_a_users_own(tmp_path):
    own = small_study.Path(__file__).with_name("user_cells.py")
    done = harness("cells", "--file", own, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("lstm-no-output-tanh", "gru-reset-before", "my-indrnn", "my-full-gate-recurrence"):
        assert name in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 and "…" not in done.stdout
    assert "Gers 2000 = nn.LSTM" in done.stdout
    words = " ".join(done.stdout.split())
    assert "irnn = rnn-relu with initialization: identity" in words
    assert "the engine cpu runs all of them; scan runs " in words and "min-gru, min-lstm" in words


def test_cells_show_prints_equations_costs_and_engine(tmp_path):
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


def test_cells_test_says_in_words_what_fails(tmp_path):
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
            else "gradients must equal finite differences"
        )
        assert words in done.stdout


def test_schema_prints_the_committed_one(tmp_path):
    root = small_study.Path(__file__).resolve().parent.parent
    import json

    done = harness("schema", cwd=tmp_path)
    assert json.loads(done.stdout) == json.loads(
        (root / "studies" / "study.schema.json").read_text()
    )
