"""What ``harness cells`` shows: the registry with costs, and a cell's page."""

import inspect
import re

from rich.table import Table

import cells
from cells.registry import PRESETS
from harness import engine
from harness.bench.classes import cell_class
from harness.engine.cpu import compiler
from harness.engine.tracing.trace import untraceable
from harness.model.network import single_layer


def cells_table(files: list[str], hidden_size: int, num_tokens: int) -> Table:
    """Returns the registry with costs at one size, of a language model with one bias a gate."""
    for path in files:
        cells.load_file(path)
    caption = (
        f"H = {hidden_size}, V = {num_tokens}, biases 1; kFLOPs: thousands, forward, per token. "
        "Class: a pointwise after one round of products, ar the same with a reduction over H, "
        "b products that wait for others, e no recurrent product, c none and linear in the state. "
        f"{engines_line()} "
        f"Also: {'; '.join(map(preset_line, PRESETS))}"
    )
    table = Table(
        box=None, caption=caption, caption_justify="left", padding=(0, 1, 0, 0), header_style="bold"
    )
    for column in ("cell", "class", "gates", "params", "kFLOPs", "source"):
        is_number = column in ("gates", "params", "kFLOPs")
        table.add_column(
            column, justify="right" if is_number else "left", no_wrap=column != "source"
        )
    for name in cells.names():
        cell = cells.find(name)
        arch = single_layer(cell, num_tokens, hidden_size)
        counts = (len(cell.gates), arch.num_parameters(), round(arch.flops_per_token() / 1000))
        source = citation(cell) + (f" = nn.{cell.reference[0]}" if cell.reference else "")
        table.add_row(name, cell_class(cell), *(f"{count:,}" for count in counts), source)
    return table


def preset_line(name: str) -> str:
    """Returns what a preset stands for, as ``irnn = rnn-relu with initialization: identity``."""
    cell, settings = PRESETS[name]
    return f"{name} = {cell}" + "".join(
        f" with {field}: {value}" for field, value in settings.items()
    )


def engines_line() -> str:
    """Returns which engines run which cells on a CPU; nothing is compiled."""
    known = [cells.find(name) for name in cells.names()]
    others = [cell.name for cell in known if untraceable(cell)]
    scan = engine.get("scan")
    scanned = [cell.name for cell in known if scan.refusal(cell, "cpu", "float32") is None]
    compiled = f"all but {', '.join(others)}" if others else "all of them"
    once = "" if compiler.find() else ", once there is a C++ compiler"
    return (
        f"On a CPU the engine cpu runs {compiled}{once}; scan runs {', '.join(scanned)}; "
        "reference runs all."
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
    cell = cells.find(PRESETS[name][0] if name in PRESETS else name)
    arch = single_layer(cell, num_tokens, hidden_size)
    chosen, notes = engine.resolve([cell], "cpu", "float32")
    lines = {
        "class": cell_class(cell),
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
