"""What ``harness cells`` shows is what the cells are, though torch is not asked."""

import json
import subprocess
import sys

import pytest

import cells
from cells.registry import declarations
from harness import catalog
from harness.model.architecture import single_layer

SHIPPED = cells.registry.shipped_names()  # no test's own cells


def test_the_table_of_facts_is_of_the_shipped_cells():
    assert list(json.loads(catalog.FACTS.read_text(encoding="utf-8"))) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_the_facts_of_the_table_are_those_of_the_step(name):
    row = json.loads(catalog.FACTS.read_text(encoding="utf-8"))[name]
    assert row.pop("fingerprint") == cells.registry.fingerprint(name)
    assert (
        catalog.Facts(**row) == catalog.measured_facts(cells.find(name)) == catalog.facts_of(name)
    )


def test_a_cell_that_is_not_as_in_the_table_is_measured(monkeypatch):
    wrong = {"cell_class": "c", "is_compiled": False, "is_scanned": True}
    table = {"lstm": {"fingerprint": "of other equations", **wrong}}
    monkeypatch.setattr(catalog, "_facts_table", lambda: table)
    assert catalog.facts_of("lstm") == catalog.Facts("a", is_compiled=True, is_scanned=False)
    table["lstm"]["fingerprint"] = cells.registry.fingerprint("lstm")
    assert catalog.facts_of("lstm") == catalog.Facts(**wrong)


@pytest.mark.parametrize("size", [16, 250])
def test_a_cell_costs_without_its_equations_what_it_costs_with_them(size):
    for name in SHIPPED:
        without, whole = (
            single_layer(cell, 28, size) for cell in (declarations(name), cells.find(name))
        )
        assert without.num_parameters() == whole.num_parameters()
        assert without.flops_per_token() == whole.flops_per_token()


def test_the_table_of_cells_is_printed_without_torch():
    program = (
        "import sys\n"
        "from rich.console import Console\n"
        "from harness import catalog\n"
        "Console(width=120).print(catalog.cells_table([], 256, 28))\n"
        "print(sorted({'numpy', 'torch'} & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\nlstm " in done.stdout and done.stdout.splitlines()[-1] == "[]"
