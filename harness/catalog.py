"""What ``harness cells`` shows: the registry with costs, and a cell's page.

The table is made without torch: what only running a cell's step tells stands in ``catalog.json``,
which holds as long as the cell's equations are those of the table. tools/generate.py writes it.
"""

import functools
import inspect
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

import cells
from cells.registry import PRESETS, declarations, fingerprint
from harness.model.architecture import single_layer

FACTS = Path(__file__).with_suffix(".json")
"""Cell -> its fingerprint and its :class:`Facts`."""

CLASSES = {
    "a": "pointwise after one round of products",
    "ar": "pointwise after one round of products, with a reduction over H",
    "b": "products that wait for others",
    "e": "no recurrent product",
    "c": "no recurrent product, and linear in the state",
}
"""What a step's products wait for, by the name of the cell's class."""


@dataclass(frozen=True)
class Facts:
    """What only running a cell's step tells.

    Attributes:
        cell_class: As :func:`harness.bench.classes.cell_class` returns it.
        is_compiled: Whether the engine cpu runs it.
        is_scanned: Whether the engine scan does, on a CPU.
    """

    cell_class: str
    is_compiled: bool
    is_scanned: bool


def facts_of(name: str) -> Facts:
    """Returns the facts of a cell: those of the table, or measured ones where it has none.

    Raises:
        UnknownCell: There is none of that name.
    """
    row = dict(_facts_table().get(name, {}))
    if row and row.pop("fingerprint") == fingerprint(name):
        return Facts(**row)
    return measured_facts(cells.find(name))


@functools.cache
def _facts_table() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = json.loads(FACTS.read_text(encoding="utf-8"))
    return table


def measured_facts(cell: type[cells.Cell]) -> Facts:
    """Returns the facts of a cell by running its step; nothing is compiled."""
    from harness import engine
    from harness.bench.classes import cell_class
    from harness.engine.tracing.trace import untraceable

    refusal = engine.get("scan").refusal(cell, "cpu", "float32")
    return Facts(
        cell_class=cell_class(cell),
        is_compiled=not untraceable(cell),
        is_scanned=refusal is None,
    )


def facts_json(names: list[str]) -> str:
    """Returns the content of :data:`FACTS` for these cells, a line each."""
    lines = [
        f"  {json.dumps(name)}: "
        + json.dumps({"fingerprint": fingerprint(name), **asdict(measured_facts(cells.find(name)))})
        for name in names
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def cells_table(files: list[str], hidden_size: int, num_tokens: int) -> Table:
    """Returns the registry with costs at one size, of a language model with one bias a gate.

    The cells of ``files`` stand last, where the screen ends.
    """
    own = [name for path in files for name in cells.load_file(path)]
    facts = {name: facts_of(name) for name in [n for n in cells.names() if n not in own] + own}
    caption = (
        f"H = {hidden_size}, V = {num_tokens}, biases 1; kFLOPs: thousands, forward, per token. "
        f"Class: {'; '.join(f'{letter} {meant}' for letter, meant in CLASSES.items())}. "
        f"{engines_line(facts)} Also: {'; '.join(map(preset_line, PRESETS))}"
    )
    table = Table(
        box=None, caption=caption, caption_justify="left", padding=(0, 1, 0, 0), header_style="bold"
    )
    for column in ("cell", "class", "gates", "params", "kFLOPs", "source"):
        is_number = column in ("gates", "params", "kFLOPs")
        table.add_column(
            column, justify="right" if is_number else "left", no_wrap=column != "source"
        )
    for name in facts:
        if own and name == own[0]:
            table.add_row("your own:", style="bold")
        cell = declarations(name)
        arch = single_layer(cell, num_tokens, hidden_size)
        counts = (len(cell.gates), arch.num_parameters(), round(arch.flops_per_token() / 1000))
        source = citation(cell) + (f" = nn.{cell.reference[0]}" if cell.reference else "")
        table.add_row(name, facts[name].cell_class, *(f"{count:,}" for count in counts), source)
    return table


def preset_line(name: str) -> str:
    """Returns what a preset stands for, as ``irnn = rnn-relu with initialization: identity``."""
    cell, settings = PRESETS[name]
    return f"{name} = {cell}" + "".join(
        f" with {field}: {value}" for field, value in settings.items()
    )


def engines_line(facts: dict[str, Facts]) -> str:
    """Returns which engines run which of these cells on a CPU."""
    others = [name for name, known in facts.items() if not known.is_compiled]
    scanned = [name for name, known in facts.items() if known.is_scanned]
    compiled = f"all but {', '.join(others)}" if others else "all of them"
    return (
        f"On a CPU with a C++ compiler the engine cpu runs {compiled}; "
        f"scan runs {', '.join(scanned)}; reference runs all."
    )


def citation(cell: type[cells.Cell]) -> str:
    """Returns who published a cell and when, from the entry ``Source:`` of its docstring."""
    source = " ".join(
        (cell.__doc__ or "").partition("Source:")[2].partition("Reference:")[0].split()
    )
    authors, _, rest = source.partition(', "')
    year = re.search(r'", (\d{4})', f'"{rest}')
    first = re.split(r",| &| et al", authors)[0]
    return f"{first} {year.group(1)}" if year else ""


def cell_page(name: str, files: list[str], hidden_size: int, num_tokens: int) -> str:
    """Returns a cell's equations and declarations, its costs at one size, and its engine on a CPU.

    Raises:
        UnknownCell: There is none of that name.
    """
    for path in files:
        cells.load_file(path)
    from harness import engine

    try:
        cell = cells.find(PRESETS[name][0] if name in PRESETS else name)
    except cells.UnknownCell as error:
        raise cells.UnknownCell(
            f"{error} A cell of your own needs its file: --file FILE."
        ) from error
    arch = single_layer(cell, num_tokens, hidden_size)
    chosen, notes = engine.resolve([cell], "cpu", "float32")
    cell_class = facts_of(cell.name).cell_class
    lines = {
        "class": f"{cell_class}: {CLASSES[cell_class]}",
        "gates": " ".join(cell.gates),
        "state": " ".join(cell.state),
        "input": "read by the step itself: embedding_size must be hidden_size"
        if cell.reads_input
        else "multiplied",
        "products": "; ".join(
            f"{product} -> {' '.join(fed)}" for product, fed in cell.recurrent_products().items()
        ),
        "vectors": " ".join(cell.vectors),
        "forget gates": " ".join(cell.forget_gates),
        "parameters": (
            f"{arch.num_parameters():,} at H = {hidden_size}, V = {num_tokens}, one bias a gate"
        ),
        "FLOPs": f"{arch.flops_per_token():,} forward, per token",
        "engine": "; ".join([f"{chosen} on a CPU in float32", *notes]),
    }
    width = max(map(len, lines))
    listed = [f"{key:<{width}}  {value or 'none'}" for key, value in lines.items()]
    title = preset_line(name) if name in PRESETS else name
    return "\n".join([title, "", inspect.cleandoc(cell.__doc__ or ""), "", *listed])
