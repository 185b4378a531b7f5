"""Imports run downward only, and a library is imported in one place.

The tables here are the single statement of it.
"""

import ast
import graphlib
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the ground up. A module imports those of its own floor and of the floors below; on one floor
# there is no circle.
FLOORS = (
    ("cells",),
    (
        "arrays",
        "metrics",
        "places",
        "provenance",
        "randomness",
        "settings",
        "timing",
        "unit",
        "interrupts",
    ),
    ("engine", "noise", "variation", "data"),
    ("flat", "initialization", "model", "optimizer", "readout", "tasks"),
    ("capture", "plan", "checkpoint", "saved_model", "shard", "train", "runtime"),
    # What a worker does without.
    ("executor", "track", "frames", "ui", "view", "progress"),
    ("study", "statistics", "decisions", "designs", "aggregates", "report"),
    ("search", "bench", "contract", "pilot", "forecast"),
    ("booking",),
    ("driver",),
    ("launch", "checking", "listing"),
    ("archive",),
    ("cli",),
)
WORKERS = FLOORS[: next(i for i, floor in enumerate(FLOORS) if "train" in floor) + 1]
"""The floors that a machine with torch and NumPy alone can run."""

ONLY_IN = {
    "mlflow": {"track", "ui"},
    "optuna": {"search"},
    "yaml": {"study"},
    "pydantic": {"study"},
    "ray": {"executor"},
    "matplotlib": {"bench", "report"},
    "typer": {"cli"},
}
"""Library -> the modules that import it."""
ONLY_BY = {"contract": {"cli"}}
"""Module -> the modules that import it; tests may."""
LATE = {("places", "platformdirs"), ("harness", "launch"), ("harness", "archive")}
"""What is imported inside a function and nowhere else: the worker may lack it, or `import harness`
would load it.
"""


@dataclass(frozen=True)
class Import:
    """One import: by which unit (the name in FLOORS), of what, in which file and line, and whether
    in a function.
    """

    by: str
    of: str
    file: str
    line: int
    late: bool

    def __str__(self):
        return f"{self.file}:{self.line}: {self.by} imports {self.of}"


def unit_of(module):
    """Returns the name in FLOORS of a dotted module: `cells`, or the part after `harness`."""
    parts = module.split(".")
    return parts[0] if parts[0] == "cells" or len(parts) == 1 else parts[1]


def imports_of(root):
    """Returns every import of every file under cells/ and harness/ but the standard library's; in
    functions too.
    """
    found = []
    for path in sorted([*root.glob("cells/**/*.py"), *root.glob("harness/**/*.py")]):
        relative = path.relative_to(root)
        unit = unit_of(".".join(relative.with_suffix("").parts).removesuffix(".__init__"))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        late = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            for name in names_of(node):
                if name.split(".")[0] not in sys.stdlib_module_names:
                    found.append(
                        Import(unit, target(name), str(relative), node.lineno, id(node) in late)
                    )
    return found


def names_of(node):
    """Returns the dotted modules that a node imports; `from harness import a` is harness.a."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return ["." * node.level]
        return (
            [f"harness.{alias.name}" for alias in node.names]
            if node.module == "harness"
            else [node.module]
        )
    return []


def target(name):
    """Returns the unit of ours that a dotted module belongs to, or the library."""
    first = name.split(".")[0]
    return unit_of(name) if first in ("cells", "harness") else first or "."


def problems_of(root):
    """Returns what breaks the tables above, a line each."""
    imports = imports_of(root)
    floor_of = {unit: index for index, floor in enumerate(FLOORS) for unit in floor}
    worker = {unit for floor in WORKERS for unit in floor}
    units = {each.by for each in imports} | {
        unit_of(f"harness.{p.stem}")
        for p in root.glob("harness/*")
        if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    units -= {"harness", "__init__"}
    problems = [
        f"harness/{unit}: no floor. Add it to FLOORS in {Path(__file__).name}, as low as its imports allow."
        for unit in sorted(units - set(floor_of))
    ]
    for each in imports:
        if each.of.startswith("."):
            problems.append(f"{each}: write the whole name.")
        elif each.of in floor_of and each.by in floor_of:
            if floor_of[each.of] > floor_of[each.by]:
                problems.append(f"{each}, which stands above it.")
            if each.of in ONLY_BY and each.by not in ONLY_BY[each.of] | {each.of}:
                problems.append(f"{each}, which only {', '.join(sorted(ONLY_BY[each.of]))} may.")
        elif each.of in floor_of:
            if each.by == "harness" and not (each.late and (each.by, each.of) in LATE):
                problems.append(f"{each}: the package itself loads nothing.")
        else:
            problems += library_problems(each, worker)
    return problems + circles(imports, floor_of)


def library_problems(each, worker):
    """Returns what is wrong with the import of a library."""
    if each.by not in ONLY_IN.get(each.of, {each.by}):
        return [f"{each}, which only {', '.join(sorted(ONLY_IN[each.of]))} may."]
    allowed = {"torch"} if each.by == "cells" else {"torch", "numpy"}
    if (
        each.by in worker
        and each.of not in allowed
        and not (each.late and (each.by, each.of) in LATE)
    ):
        return [
            f"{each}, but {'cells have' if each.by == 'cells' else 'a worker has'} {' and '.join(sorted(allowed))}."
        ]
    return []


def circles(imports, floor_of):
    """Returns the circles among imports that are made when a module loads."""
    graph = {}
    for each in imports:
        if not each.late and each.by != each.of and each.of in floor_of:
            graph.setdefault(each.by, set()).add(each.of)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [f"{' <- '.join(error.args[1])}: a circle."]
    return []


def test_imports_run_downward_only():
    problems = problems_of(ROOT)
    assert not problems, "\n" + "\n".join(problems)


def test_no_unit_has_two_floors():
    units = [unit for floor in FLOORS for unit in floor]
    assert len(set(units)) == len(units)


@pytest.mark.parametrize(
    "file, text, problem",
    [
        (
            "harness/training/pack.py",
            "from harness import search",
            "train imports search, which stands above it",
        ),
        (
            "harness/training/pack.py",
            "def f():\n    import harness.study.file",
            "train imports study, which stands above it",
        ),
        (
            "harness/engine/cpu/cpu.py",
            "from harness.model.network import Model",
            "engine imports model, which stands above it",
        ),
        (
            "cells/mine.py",
            "from harness import metrics",
            "cells imports metrics, which stands above it",
        ),
        ("cells/mine.py", "import numpy as np", "cells imports numpy, but cells have torch"),
        (
            "harness/training/shard.py",
            "import pandas",
            "shard imports pandas, but a worker has numpy and torch",
        ),
        (
            "harness/data/download.py",
            "import platformdirs",
            "data imports platformdirs, but a worker has",
        ),
        (
            "harness/report.py",
            "import mlflow.entities",
            "report imports mlflow, which only track, ui may",
        ),
        (
            "harness/runner/scheduler.py",
            "def f():\n    from optuna import trial",
            "driver imports optuna, which only search may",
        ),
        ("harness/cli.py", "import yaml", "cli imports yaml, which only study may"),
        (
            "harness/catalog.py",
            "from harness.contract import check",
            "listing imports contract, which only cli may",
        ),
        ("harness/new.py", "", "harness/new: no floor. Add it to FLOORS in test_layering.py"),
        ("harness/newer/__init__.py", "", "harness/newer: no floor"),
        ("harness/training/pack.py", "from . import plan", "train imports .: write the whole name"),
        (
            "harness/__init__.py",
            "from harness import launch",
            "harness imports launch: the package itself loads nothing",
        ),
    ],
)
def test_every_rule_can_fail(tmp_path, file, text, problem):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    problems = problems_of(tmp_path)
    assert len(problems) == 1 and problem in problems[0]


def test_a_circle_is_found(tmp_path):
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "plan.py").write_text("from harness.training.shard import Shard")
    (tmp_path / "harness" / "shard.py").write_text("from harness import plan")
    (found,) = problems_of(tmp_path)
    assert "a circle" in found and "plan" in found and "shard" in found


@pytest.mark.parametrize(
    "file, text",
    [
        (
            "harness/training/pack.py",
            "def f():\n    from harness import runtime\nimport json, torch, numpy.random",
        ),
        ("harness/store/locations.py", "def f():\n    import platformdirs"),
        ("harness/__init__.py", "def f():\n    from harness import launch"),
        ("harness/statistics/inference.py", "import scipy.special"),
        ("harness/cli.py", "from harness import contract"),
    ],
)
def test_what_is_allowed_passes(tmp_path, file, text):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert problems_of(tmp_path) == []
