"""What is installed is what lies in the tree, and it works without the tree."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from harness.cli import missing

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".ci", ".github", "cells", "docs", "examples", "harness", "studies", "tests", "tools")
NOT_SOURCES = ("__pycache__", "generated", "_build", ".hypothesis", "*.egg-info", "*.db*")
PLACES = {"docs": "harness/docs", "studies": "harness/studies"}
"""Folder of the repository -> where a wheel installs what it takes of it."""
QUICK = (
    "fix.budget={updates: 4}",
    "fix.evaluations=2",
    "compare.cross.cell=[lstm, gru]",
    "tune.trials=1",
    "tune.learning_rate={choices: [0.016]}",
    "replicate.seeds=2",
    "measure.runtime=none",
    "fix.engine=native",  # nothing to compile
)
pytestmark = pytest.mark.slow


def files_of(folder):
    """The files below a folder, as paths within it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sources, the two distributions and the wheel's content, made once."""
    folder = tmp_path_factory.mktemp("distribution")
    source = folder / "source"
    source.mkdir()
    for path in ROOT.iterdir():
        if path.is_file() and path.suffix not in (".db", ".lock"):
            shutil.copy(path, source)
    shutil.copy(ROOT / "requirements.lock", source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    before = files_of(source)
    build = (
        "from setuptools import build_meta;"
        "build_meta.build_sdist('../dist'); build_meta.build_wheel('../dist')"
    )
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "would be ignored" not in done.stderr and "no files found" not in done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    (folder / "before.txt").write_text("\n".join(sorted(before)))
    return folder


def run(words, cwd, **variables):
    """Runs a program where nothing of the tree is at hand."""
    kept = {"PATH", "HOME", "HARNESS_CACHE", "OMP_NUM_THREADS"} & os.environ.keys()
    env = {name: os.environ[name] for name in kept} | variables
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)


def python(built, code, cwd):
    """Runs code where the wheel's content hides the tree."""
    words = [sys.executable, "-P", "-c", code]
    done = run(words, cwd, PYTHONPATH=str(built / "installed"))
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(built, folder, names):
    """Makes an environment: pip installs the wheel, and what these distributions need is linked.

    Returns:
        The folder of its programs, and the distributions.
    """
    (wheel,) = (built / "dist").glob("*.whl")
    pip = ["-m", "pip", "--python", folder, "install", "--no-deps", "--no-index", "--quiet"]
    pip += ["--no-compile", wheel]  # what is imported is compiled then
    for words in (["-m", "venv", "--without-pip", folder], pip):
        done = run([sys.executable, *words], built)
        assert done.returncode == 0, done.stderr
    (libraries,) = folder.glob("lib/python*/site-packages")
    return folder / "bin", linked(names, libraries)


def linked(names, folder):
    """Links what these distributions need, and no more, into a folder."""
    wanted, known = [*names], set()
    while wanted:
        name = wanted.pop()
        if name in known:
            continue
        known.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # of another system
            continue
        for part in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (folder / part).exists():
                (folder / part).symlink_to(found.locate_file(part))
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                wanted.append(needed.name)
    return known


def test_a_wheel_holds_every_file_of_the_packages_and_what_messages_name(built):
    # What other tests have run from there is compiled beside it.
    made = (".dist-info/", "__pycache__/")
    names = files_of(built / "installed")
    installed = {name for name in names if not any(part in name for part in made)}
    sources = set((built / "before.txt").read_text().splitlines())
    expected = {name for name in sources if name.split("/")[0] in ("cells", "harness")}
    for folder, place in PLACES.items():
        for name in sources:
            parts = name.split("/")
            is_wanted = name.endswith((".md", ".yaml", ".schema.json"))
            if parts[0] == folder and is_wanted and parts[1] not in ("results", "bench"):
                expected.add("/".join([place, *parts[1:]]))
    assert installed == expected
    assert {"harness/docs/study.md", "harness/docs/messages.md"} <= installed
    assert {"harness/studies/quickstart.yaml", "harness/studies/study.schema.json"} <= installed


def test_a_source_distribution_holds_the_repository(built):
    (path,) = (built / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {
            name.partition("/")[2]
            for name in archive.getnames()
            if archive.getmember(name).isfile()
        }
    sources = set((built / "before.txt").read_text().splitlines())
    assert sources <= names
    made = {name for name in names - sources if ".egg-info/" not in name}
    assert made == {"PKG-INFO", "setup.cfg"}


def test_a_study_is_written_and_run_in_an_empty_folder_from_the_wheel_alone(built, tmp_path):
    words = [word for each in QUICK for word in ("--set", each)]
    code = f"""
import sys
import harness
from harness import cli, study

def command(*words):
    sys.argv = ["harness", *words]
    try:
        cli.main()
    except SystemExit as end:
        assert not end.code, (words, end.code)

command("init", "quickstart")
command("run", "quickstart.yaml", "--force", *{words!r})
print("from", harness.__file__)
try:
    study.loads("study: x\\nversion: 2\\nquestion: q\\ncompare: {{}}\\nfix: {{flavour: 1}}\\n")
except study.StudyError as error:
    print(error)
"""
    said = python(built, code, tmp_path)
    assert f"from {built / 'installed' / 'harness' / '__init__.py'}" in said
    assert (tmp_path / "mlflow.db").exists() and "gru" in said
    # A message names the document where it lies, since there is no docs/ beside the user.
    document = built / "installed" / "harness" / "docs" / "study.md"
    assert f"{document}  explains every field" in said
    assert f"{document} lists all fields" in said


def requirements():
    """What an install brings, and what the extra ``studies`` adds: names of distributions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    both = project["dependencies"], project["optional-dependencies"]["studies"]
    return tuple({Requirement(text).name for text in texts} for texts in both)


def test_the_layer_works_beside_torch_and_numpy_alone_and_commands_say_what_is_missing(
    built, tmp_path
):
    basis, extra = requirements()
    assert basis == {"torch", "numpy"}
    programs, known = environment(built, tmp_path / "light", basis)
    assert known & extra <= {"filelock"}  # torch needs it itself
    code = """
import torch
from harness import Recurrent, RecurrentCell

for engine in ("auto", "reference"):
    output, (h, c) = Recurrent("lstm", 3, 4, engine=engine)(torch.ones(5, 2, 3))
    output.sum().backward()
print(tuple(output.shape), tuple(RecurrentCell("gru", 3, 4)(torch.ones(2, 3)).shape))
"""
    done = run([programs / "python", "-c", code], tmp_path)
    assert done.returncode == 0 and "(5, 2, 4) (2, 4)" in done.stdout, done.stderr
    done = run([programs / "harness", "run", "x.yaml"], tmp_path)
    assert done.returncode == 2
    told = r"need typer, which is not .* pip install 'recurrent-bench\[studies\]'"
    assert re.search(told, done.stderr) and "Traceback" not in done.stderr


def test_a_study_is_written_and_checked_where_pip_installed_the_wheel(built, tmp_path):
    basis, extra = requirements()
    programs, _ = environment(built, tmp_path / "whole", basis | extra)
    folder = tmp_path / "empty"
    folder.mkdir()
    for words in (["init", "quickstart"], ["check", "quickstart.yaml"]):
        done = run([programs / "harness", *words], folder)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    assert (folder / "quickstart.yaml").is_file() and "gru" in done.stdout


def test_the_modules_that_may_be_missing_are_those_of_the_extra():
    _, extra = requirements()
    installing = metadata.packages_distributions()
    named = [{name.lower() for name in installing[module]} for module in missing.MODULES]
    wanted = {name.lower() for name in extra}
    assert len(named) == len(wanted) and all(names & wanted for names in named)
