"""The page of comparisons with cells by others, made of the tests' own tables."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cells

TABLES = Path(__file__).resolve().parents[1] / "tests/oracles/compared.py"
HEAD = """# Which cells are compared with those of others

Equations that one person wrote down twice may be wrong twice. So each cell is compared with a stranger's wherever there is one: with copied weights, from a start that is not zero where both carry the same states. This table is made of those that the tests run (`tests/oracles`; `python tools/generate.py` writes it).

- Cells of torchrecurrent, torch.nn, Keras (on its backend of torch), flashrnn, xlstm and ncps are compared in float64 to 1e-10: all outputs, all final states that both have, and the gradients of the inputs, of the start and of every parameter. What Keras computes by its general loop has products of float32, whatever the layer's precision, so it is compared to 1e-5. Of flashrnn and xlstm the implementations in torch's operations are taken, which need no GPU.
- Operators of ONNX Runtime are compared in float32, both directions at once, without gradients; it has no others.
- Modules of torch.nn are compared in float64 with gradients, in two layers and two directions, padded and packed (`tests/layer`).

Where a stranger has a gate that ours lacks, that gate is held by its bias, or given the negative of another (1 - f is sigmoid(-x)); a matrix that ours lacks is zero.

| cell | compared with |
|---|---|
"""  # noqa: E501  # a paragraph is a line


def page() -> str:
    """Returns the page: a row a cell."""
    tables = _tables()
    rows = [f"| `{name}` | {_told(tables, name)} |" for name in cells.registry.shipped_names()]
    return HEAD + "\n".join(rows) + "\n"


def _tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compared", TABLES)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _told(tables: ModuleType, name: str) -> str:
    """Returns with whom a cell is compared, or why with none."""
    if name in tables.NONE:
        return f"none: {tables.NONE[name]}"
    told = [tables.MODULES[name]] if name in tables.MODULES else []
    for library, table in tables.COMPARISONS.items():
        if name in table:
            told.append(_stranger(library, table[name]))
    if name in tables.OPERATORS:
        told.append(f"ONNX Runtime's operator `{tables.OPERATORS[name].operator}`")
    return "; ".join(told)


def _stranger(library: str, row: Any) -> str:
    kind = row.kind if row.kind.startswith("nn.") else f"{library}.{row.kind}"
    if row.kind.islower():  # no class: what a function of theirs is told
        kind = f'{library} function="{row.kind}"'
    blocks = {block for names in row.blocks.values() for block in names}
    notes = {
        "a gate held": blocks & {"open", "shut"},
        "a gate turned": [block for block in blocks if block.startswith("-")],
        "matrices that are diagonal": [block for block in blocks if "diag." in block],
        "other activations": any("nonlinearity" in key for key in row.arguments),
        "two inputs side by side": row.steps_read > 1,
        "the matrix as the cell prepares it": row.is_prepared and row.heads == 1,
        f"{row.heads} heads": row.heads > 1,
        "in float32": row.tolerance > 1e-10,
    }
    told = ", ".join(note for note, is_so in notes.items() if is_so)
    return f"`{kind}`" + (f" ({told})" if told else "")
