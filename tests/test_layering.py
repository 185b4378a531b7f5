"""Imports run downward only, and a library is imported in one place.

The tables here are the single statement of it. A floor holds rooms: the packages and modules that
lie in harness/ itself, and `cells`. Whether modules go in circles is asked of every file.
"""

import ast
import graphlib
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.training import remote

ROOT = Path(__file__).resolve().parent.parent

# From the ground up. A room imports those of its own floor and of the floors below.
FLOORS = (
    ("cells",),
    ("cache", "documents", "metrics", "provenance", "randomness", "settings", "timing"),
    ("data", "engine"),
    ("model",),
    ("tasks", "layer"),
    ("training", "train"),
    # What a worker does without.
    ("statistics", "study"),
    ("store", "report", "tuning", "contract"),
    ("preflight",),
    ("runner", "results", "bench", "catalog", "scaffold"),
    ("cli",),
)
WORKERS = FLOORS[: next(i for i, floor in enumerate(FLOORS) if "training" in floor) + 1]
"""The floors that a machine with torch and NumPy alone can run; `bench` runs there too."""

ONLY_IN = {
    "mlflow": {"store"},
    "filelock": {"store"},
    "optuna": {"tuning"},
    "yaml": {"study"},
    "pydantic": {"study"},
    "matplotlib": {"bench", "report"},
    "typer": {"cli"},
    "ray": {"runner"},
    "tokenizers": {"data"},
    "safetensors": {"results"},
    "onnxruntime": {"results"},
    "onnx": {"store"},
}
"""Library -> the rooms that import it."""
ONLY_BY = {"contract": {"cli"}}
"""Room -> the rooms that import it; tests may."""
LATE = {
    ("cache", "platformdirs"),
    ("data", "pyarrow"),
    ("data", "statsmodels"),
    ("data", "tokenizers"),
}
"""Libraries that are imported inside a function and nowhere else: a worker may lack them."""
TRITON = "harness.engine.gpu.optimizer_step"
"""The module that imports Triton, which a worker may lack; it is itself imported late alone."""
FACE = {"harness.store.locations"}
"""What `import harness` may load at once; all else is imported when it is called."""


@dataclass(frozen=True)
class Import:
    """One import: by which module, of which module, in which file and line, and how.

    ``late`` is in a function, ``typing`` is under TYPE_CHECKING and so never happens.
    """

    by: str
    of: str
    file: str
    line: int
    late: bool
    typing: bool

    def __str__(self):
        return f"{self.file}:{self.line}: {room_of(self.by)} imports {room_of(self.of)}"


def room_of(module):
    """Returns the room of a dotted module: a name in FLOORS, or a library."""
    parts = module.split(".")
    return parts[1] if parts[0] == "harness" and len(parts) > 1 else parts[0] or module


def imports_of(root):
    """Returns every import of every file below cells/ and harness/ but the standard library's."""
    paths = sorted([*root.glob("cells/**/*.py"), *root.glob("harness/**/*.py")])
    modules = {module_of(path, root) for path in paths}
    imports = []
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        late = inside(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = {id(n) for block in type_checking(tree) for n in ast.walk(block)}
        for node in ast.walk(tree):
            for name in names_of(node, modules):
                if name.split(".")[0] not in sys.stdlib_module_names:
                    how = (id(node) in late, id(node) in typing)
                    file = str(path.relative_to(root))
                    imports.append(Import(module_of(path, root), name, file, node.lineno, *how))
    return imports


def module_of(path, root):
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def inside(tree, kinds):
    outer = (node for node in ast.walk(tree) if isinstance(node, kinds))
    return {id(inner) for node in outer for inner in ast.walk(node)}


def type_checking(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name):
            if node.test.id == "TYPE_CHECKING":
                yield from node.body


def names_of(node, modules):
    """Returns the dotted modules that a node imports; `from harness import a` is harness.a."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return ["." * node.level]
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        if node.module == "harness":
            return inner
        return [name if name in modules else node.module for name in inner]
    return []


def problems_of(root):
    """Returns what breaks the tables above, a line each."""
    imports = imports_of(root)
    floor_of = {room: index for index, floor in enumerate(FLOORS) for room in floor}
    worker = {room for floor in WORKERS for room in floor}
    here = {p.stem for p in root.glob("harness/*") if p.suffix == ".py"} - {"__init__"}
    here |= {p.name for p in root.glob("harness/*") if (p / "__init__.py").exists()}
    problems = [
        f"harness/{room}: no floor. Add it to FLOORS in {Path(__file__).name}, as low as its "
        "imports allow."
        for room in sorted(here - set(floor_of))
    ]
    for each in imports:
        by, of = room_of(each.by), room_of(each.of)
        if each.of == TRITON and not each.late:
            problems.append(f"{each}, which imports Triton: import it inside a function.")
        if each.of.startswith("."):
            problems.append(f"{each}: write the whole name.")
        elif each.by == "harness":
            if not (each.late or each.typing or each.of in FACE):
                problems.append(f"{each}: the package itself loads nothing.")
        elif of in floor_of and by in floor_of:
            if floor_of[of] > floor_of[by]:
                problems.append(f"{each}, which stands above it.")
            if of in ONLY_BY and by not in ONLY_BY[of] | {of}:
                problems.append(f"{each}, which only {', '.join(sorted(ONLY_BY[of]))} may.")
        elif of not in floor_of:
            problems += library_problems(each, worker)
    return problems + circles(imports)


def library_problems(each, worker):
    """Returns what is wrong with the import of a library."""
    by, of = room_of(each.by), room_of(each.of)
    if by not in ONLY_IN.get(of, {by}):
        return [f"{each}, which only {', '.join(sorted(ONLY_IN[of]))} may."]
    allowed = {"torch"} if by == "cells" else {"torch", "numpy"}
    if (each.by, of) == (TRITON, "triton"):
        return []
    if by in worker and of not in allowed and not (each.late and (by, of) in LATE):
        owner = "cells have" if by == "cells" else "a worker has"
        return [f"{each}, but {owner} {' and '.join(sorted(allowed))}."]
    return []


def circles(imports):
    """Returns the circles among modules; an import in a function closes one as any other does."""
    graph = {}
    for each in imports:
        if not each.typing and each.by != each.of and each.of.split(".")[0] in ("harness", "cells"):
            graph.setdefault(each.by, set()).add(each.of)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [f"{' <- '.join(error.args[1])}: a circle."]
    return []


def test_imports_run_downward_only():
    problems = problems_of(ROOT)
    assert not problems, "\n" + "\n".join(problems)


def test_no_room_has_two_floors():
    rooms = [room for floor in FLOORS for room in floor]
    assert len(set(rooms)) == len(rooms)


def test_a_dozen_modules_lie_flat_at_most():
    assert len(list(ROOT.glob("harness/*.py"))) <= 12


@pytest.mark.parametrize(
    "file, text, problem",
    [
        ("harness/training/pack.py", "from harness import tuning", "training imports tuning, which stands above it"),
        ("harness/training/pack.py", "def f():\n    import harness.study.file", "training imports study, which stands above it"),
        ("harness/engine/cpu/cpu.py", "from harness.model.network import Model", "engine imports model, which stands above it"),
        ("harness/results/status.py", "from harness.cli import app", "results imports cli, which stands above it"),
        ("cells/mine.py", "from harness import metrics", "cells imports metrics, which stands above it"),
        ("cells/mine.py", "import numpy as np", "cells imports numpy, but cells have torch"),
        ("harness/training/shard.py", "import harness.engine.gpu.optimizer_step", "training imports engine, which imports Triton: import it inside a function"),
        ("harness/training/shard.py", "import pandas", "training imports pandas, but a worker has numpy and torch"),
        ("harness/data/published.py", "import platformdirs", "data imports platformdirs, but a worker has"),
        ("harness/cache.py", "import platformdirs", "cache imports platformdirs, but a worker has"),
        ("harness/report/page.py", "import mlflow.entities", "report imports mlflow, which only store may"),
        ("harness/runner/scheduler.py", "def f():\n    from optuna import trial", "runner imports optuna, which only tuning may"),
        ("harness/cli/running.py", "import yaml", "cli imports yaml, which only study may"),
        ("harness/catalog.py", "from harness.contract import check", "catalog imports contract, which only cli may"),
        ("harness/new.py", "", "harness/new: no floor. Add it to FLOORS in test_layering.py"),
        ("harness/newer/__init__.py", "", "harness/newer: no floor"),
        ("harness/training/pack.py", "from . import plan", "training imports .: write the whole name"),
        ("harness/__init__.py", "from harness import runner", "harness imports runner: the package itself loads nothing"),
    ],
)  # fmt: skip
def test_every_rule_can_fail(tmp_path, file, text, problem):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    problems = problems_of(tmp_path)
    assert len(problems) == 1 and problem in problems[0]


@pytest.mark.parametrize(
    "back", ["from harness.training import plan", "def f():\n    import harness.training.plan"]
)
def test_a_circle_is_found_in_functions_too(tmp_path, back):
    folder = tmp_path / "harness" / "training"
    folder.mkdir(parents=True)
    (folder / "plan.py").write_text("from harness.training.shard import Shard")
    (folder / "shard.py").write_text(back)
    (problem,) = problems_of(tmp_path)
    assert "a circle" in problem and "plan" in problem and "shard" in problem


@pytest.mark.parametrize(
    "file, text",
    [
        ("harness/training/pack.py", "def f():\n    from harness.training import runtime\nimport json, torch, numpy.random"),
        ("harness/cache.py", "def f():\n    import platformdirs"),
        ("harness/__init__.py", "def f():\n    from harness import runner"),
        ("harness/statistics/inference.py", "import scipy.special"),
        ("harness/cli.py", "from harness import contract"),
    ],
)  # fmt: skip
def test_what_is_allowed_passes(tmp_path, file, text):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert problems_of(tmp_path) == []


def test_all_that_a_worker_loads_is_compared_between_nodes():
    rooms = {room for floor in WORKERS for room in floor} - {"cells", "layer"}
    places = [ROOT / "cells", *(ROOT / "harness" / room for room in rooms)]
    wanted = [file for place in places for file in place.rglob("*.py")]
    wanted += [file for place in places if (file := place.with_suffix(".py")).is_file()]
    assert len(wanted) > 100 and set(wanted) <= set(remote.code_files())
