"""The reference of the Python functions, and the page of all cells."""

import inspect

import cells
import harness
from cells.registry import FAMILIES, PRESETS
from harness import catalog
from harness.model.architecture import single_layer

RETURNED = (
    "harness.report.Report",
    "harness.results.export.Results",
    "harness.results.trained_models.TrainedModel",
    "harness.results.modules.LanguageModel",
    "harness.results.modules.SequenceModel",
)
"""What the functions of ``harness`` return."""
HIDDEN_SIZE, NUM_TOKENS = 256, 28
"""The size at which the page of cells counts: that of ``harness cells``."""


def page() -> str:
    """Returns the page of the public names of ``harness`` and ``cells``; autodoc fills it."""
    sections = {
        "harness": [_directive(harness, name) for name in harness.__all__],
        "What these functions return": [
            f".. autoclass:: {name}\n   :members:\n   :inherited-members: Module\n"
            "   :exclude-members: __init__, __new__"
            for name in RETURNED
        ],
        "cells": [_directive(cells, name) for name in cells.__all__],
        "The contract of cells": [
            ".. autofunction:: harness.contract.check",
            ".. autoclass:: harness.contract.Finding",
        ],
    }
    blocks = ["# Python", "What a notebook or a script of your own may call."]
    for heading, directives in sections.items():
        blocks.append(f"## {heading}")
        blocks += [f"```{{eval-rst}}\n{directive}\n```" for directive in directives]
    return "\n\n".join(blocks) + "\n"


def _directive(package: object, name: str) -> str:
    value = getattr(package, name)
    where = f"{package.__name__}.{name}"  # type: ignore[attr-defined]
    if inspect.isclass(value):
        return f".. autoclass:: {where}\n   :members:"
    if callable(value):
        return f".. autofunction:: {where}"
    return f".. autodata:: {where}"


def cells_page() -> str:
    """Returns a section for every shipped cell: its equations, class, states and size."""
    blocks = [
        "# Cells",
        f"The {len(cells.names())} cells that come with the bench, as `harness cells` lists them "
        f"and `harness cells show CELL` shows them. Parameters and FLOPs (forward, per token) are "
        f"those of a language model of one layer with {HIDDEN_SIZE} units, {NUM_TOKENS} tokens and "
        "one bias a gate. The classes: a, pointwise after one round of products; ar, the same with "
        "a reduction over the units; b, products that wait for others; e, no recurrent product; "
        "c, none and linear in the state.",
        "These names stand for a cell with certain settings: "
        + "; ".join(f"`{catalog.preset_line(name)}`" for name in PRESETS)
        + ".",
    ]
    for family, names in FAMILIES.items():
        blocks.append(f"## cells/{family}.py")
        blocks += [block for name in names for block in _cell(name)]
    return "\n\n".join(blocks) + "\n"


def _cell(name: str) -> list[str]:
    cell = cells.find(name)
    arch = single_layer(cell, NUM_TOKENS, HIDDEN_SIZE)
    facts = {
        "class": catalog.facts_of(name).cell_class,
        "gates": ", ".join(cell.gates),
        "states": ", ".join(cell.state),
        "parameters": f"{arch.num_parameters():,}",
        "FLOPs": f"{arch.flops_per_token():,}",
    }
    line = "; ".join(f"{key}: {value or 'none'}" for key, value in facts.items())
    return [f"### {name}", f"```text\n{inspect.cleandoc(cell.__doc__ or '')}\n```", f"{line}."]
