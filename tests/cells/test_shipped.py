"""What the files of cells/ state without being imported: names, declarations, fingerprints."""

import ast
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cells
from cells import registry, shipped

ROOT = Path(cells.__file__).parents[1]
TABLE = json.loads((ROOT / "cells" / "fingerprints.json").read_text(encoding="utf-8"))
"""The fingerprints that stored studies hold for good: of 73 cells those that e496428 gave them, of
``scornn`` the digest of its equations before they were written with another function of torch.
"""
SHIPPED = [(family, name) for family, names in registry.FAMILIES.items() for name in names]


def python(code, **environment):
    """Returns what a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_the_table_of_names_is_what_the_files_define():
    for family, names in registry.FAMILIES.items():
        module = sys.modules[cells.find(names[0]).__module__]
        assert [cell.name for cell in registry._cells_of(module)] == list(names)
        assert list(shipped.definitions(family)) == list(names)
    files = {path.stem for path in (ROOT / "cells").glob("*.py")}
    support = {"__init__", "base", "copying", "declarations", "families", "faults", "registry"}
    support |= {"plugins", "shipped", "spelling", "stated"}
    assert files == set(registry.FAMILIES) | support


@pytest.mark.parametrize(("family", "name"), SHIPPED)
def test_the_declarations_that_are_read_are_those_of_the_class(family, name):
    read, cell = shipped.declared(family, name), cells.find(name)
    attributes = [a for a in dir(cell) if not a.startswith("__") and not callable(getattr(cell, a))]
    assert "zoneout_states" in attributes and len(attributes) >= 16
    for attribute in attributes:
        value = getattr(cell, attribute)
        assert getattr(read, attribute) == value and type(getattr(read, attribute)) is type(value)
    assert read.recurrent_products() == cell.recurrent_products()
    assert read.is_prepared() == cell.is_prepared()
    assert inspect.cleandoc(read.__doc__) == inspect.cleandoc(
        cell.__doc__
    )  # 3.13 takes indents off
    assert (read.__name__, read.__module__) == (cell.__name__, cell.__module__)


def test_a_cell_that_was_read_has_no_equations():
    read = shipped.declared("antisymmetric", "antisymmetric-rnn")
    for use in (lambda: read().step(None, None, None), lambda: read.prepared({})):
        with pytest.raises(AssertionError, match="has been read without its"):
            use()


# Fingerprints


def test_the_fingerprints_are_those_of_stored_studies():
    assert set(TABLE) <= {name for _, name in SHIPPED} and len(TABLE) == 74
    kept = {name: registry.source_of(cells.find(name)) for name in TABLE}
    assert kept == {name: entry["fingerprint"] for name, entry in TABLE.items()}
    # From e496428's own text of two classes; the others were computed in the same way.
    assert kept["lstm"] == "cec7fce11afb66d4c8e01e909e52dcd3c599144e4bc026ad66ac7142d634a582"
    assert kept["rg-lru"] == "8b5f634007d1b91373b5e59c3dad848808a8b135c67fa1b8e0dff102c66bc2eb"
    assert kept["scornn"] == "ea5bdd9eb32a618b32e51fcf2ce202fd273fb7e1212dcd1cdad5c46e201bd30e"


def test_fingerprints_depend_on_no_hash_seed():
    code = (
        "from cells import shipped\n"
        "for family in ('highway', 'lstm_products', 'odyssey'):\n"
        "    for name, node in shipped.definitions(family).items():\n"
        "        print(name, shipped.equations_digest(shipped._tree(family), node))\n"
    )
    printed = {python(code, PYTHONHASHSEED=seed) for seed in ("0", "1", "42")}
    assert len(printed) == 1
    digests = dict(line.split() for line in printed.pop().splitlines())
    assert digests == {name: TABLE[name]["equations"] for name in digests} and len(digests) == 15


TEXT = '''
"""A family."""

import torch
from torch import Tensor, sigmoid, tanh

from cells.base import DRAWN, Cell

LEAST = 0.5


def floor(value):
    """At least LEAST."""
    return torch.where(value > LEAST, value, LEAST)


class Mine(Cell):
    """h' = tanh(...)"""

    name = "mine"
    gates = ("f", "h")
    vectors = {"u": DRAWN}
    candidates = ("h",)

    def step(self, p, x, h):
        r = p.R(h)
        f = sigmoid(x.f + r.f + p.u * h)
        return (floor(f) * h + 2.0 * p.drop(tanh(x.h + r.h)),)


class Other(Cell):
    name = "other"
    gates = ("h",)
'''


def digest(text):
    tree = ast.parse(text)
    (mine,) = [node for node in tree.body if getattr(node, "name", "") == "Mine"]
    return shipped.equations_digest(tree, mine)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""h\' = tanh(...)"""', '"""Another docstring."""'),
        ('    """h\' = tanh(...)"""\n', ""),
        ('"""A family."""', '"""Words."""\n# And a comment.'),
        ('    """At least LEAST."""\n', '    # at least\n'),
        ("        r = p.R(h)\n", '        """One time step."""\n        r = p.R(h)  # product\n'),
        ('("f", "h")', '(\n        "f",\n        "h",\n    )'),
        ("return (floor(f) * h", "return ((floor(f)) * (h)"),
        ('    gates = ("f", "h")\n    vectors = {"u": DRAWN}\n',
         '    vectors = {"u": DRAWN}\n    gates = ("f", "h")\n'),
        ('{"u": DRAWN}', '{**dict.fromkeys(["u"], DRAWN)}'),
        ("sigmoid, tanh", "tanh, sigmoid"),
        ("def floor(value):", "def floor(value: Tensor) -> Tensor:"),
        ("def step(self, p, x, h):", "def step(self, p: Any, x: Any, h: Tensor) -> Any:"),
        ('name = "other"', 'name = "another"'),
        ("LEAST = 0.5", "LEAST = 5e-1"),
    ],
)  # fmt: skip
def test_words_and_layout_change_no_digest(old, new):
    assert TEXT.count(old) == 1
    assert digest(TEXT.replace(old, new)) == digest(TEXT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x.f + r.f", "r.f + x.f"),
        ("x.f + r.f", "x.f - r.f"),
        ("sigmoid(x.f", "tanh(x.f"),
        ("2.0 *", "2 *"),
        ("2.0 *", "2.5 *"),
        ("p.drop(tanh(x.h + r.h))", "tanh(x.h + r.h)"),
        ("floor(f) * h", "floor(f)"),
        ('("f", "h")', '("h", "f")'),
        ('name = "mine"', 'name = "yours"'),
        ('{"u": DRAWN}', '{"u": 1.0}'),
        ('    candidates = ("h",)\n', ""),
        ('    candidates = ("h",)\n', '    candidates = ("h",)\n    zoneout_states = ("h",)\n'),
        ("    def step", "    @staticmethod\n    def step"),
        ("class Mine(Cell)", "class Mine(Other)"),
        ("LEAST = 0.5", "LEAST = 0.6"),
        ("value > LEAST", "value >= LEAST"),
        ("Tensor, sigmoid", "Tensor, hardtanh as sigmoid"),
    ],
)
def test_an_equation_a_constant_a_gate_or_a_declaration_changes_the_digest(old, new):
    assert old in TEXT
    assert digest(TEXT.replace(old, new)) != digest(TEXT)


@pytest.fixture
def edited(monkeypatch, tmp_path):
    """Writes a family's file anew, and forgets what was read of it."""

    def edit(family, old, new):
        text = (ROOT / "cells" / f"{family}.py").read_text(encoding="utf-8")
        assert old in text
        (tmp_path / f"{family}.py").write_text(text.replace(old, new, 1), encoding="utf-8")
        (tmp_path / "fingerprints.json").write_text(json.dumps(TABLE), encoding="utf-8")
        monkeypatch.setattr(shipped, "_FOLDER", tmp_path)
        forget()

    def forget():
        for cached in (shipped._tree, shipped.definitions, shipped.declared, shipped.fingerprint):
            cached.cache_clear()

    yield edit
    monkeypatch.undo()
    forget()


def test_a_reworded_cell_keeps_its_fingerprint(edited):
    edited("lstm", "Long short-term memory with a forget gate.", "LSTM.\n\n    Words.")
    assert registry.fingerprint("lstm") == TABLE["lstm"]["fingerprint"]


def test_a_changed_cell_has_another_fingerprint_and_the_others_keep_theirs(edited):
    edited("lstm", "c = f * c + i * g", "c = f * c - i * g")
    assert registry.source_of(cells.find("lstm")) == registry.fingerprint("lstm")
    assert registry.fingerprint("lstm") not in TABLE["lstm"].values()
    assert registry.fingerprint("lstm-coupled") == TABLE["lstm-coupled"]["fingerprint"]


# Without torch


def test_names_declarations_and_fingerprints_load_no_torch():
    code = (
        "import sys\n"
        "import cells\n"
        "from cells import DRAWN, Cell, normalize, registry\n"
        "for name in cells.names():\n"
        "    registry.declarations(name).recurrent_products(), registry.fingerprint(name)\n"
        "try:\n"
        "    cells.find('lstn')\n"
        "except cells.UnknownCell:\n"
        "    print(sorted({'torch', 'numpy'} & set(sys.modules)), issubclass(Cell, object))\n"
    )
    assert python(code) == "[] True"


def test_finding_a_cell_imports_its_family_alone():
    code = (
        "import sys, cells\n"
        "from cells import registry\n"
        "cells.find('gru'), cells.find('gru1')\n"
        "print([family for family in registry.FAMILIES if f'cells.{family}' in sys.modules])\n"
    )
    assert python(code) == "['gru']"
