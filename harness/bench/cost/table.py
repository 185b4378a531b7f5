"""What cells cost as text of at most 80 columns: measured, counted, and the machine's best."""

from collections.abc import Callable

from harness.bench import tables
from harness.bench.cost.record import CellCost, Costs, Quantity
from harness.bench.tables import wrapped

NOT_REPORTED = "not reported"


def text(costs: Costs) -> str:
    """Returns the whole of it."""
    sizes = f"B = {costs.batch_size}, T = {costs.bptt_length}, V = {costs.num_tokens}"
    parts = [
        wrapped(tables.machine(costs.made)),
        wrapped(tables.disturbance_of(*costs.disturbed)),
        f"Measured, {sizes}, medians\n{_grouped(costs, _measured_columns(costs))}",
        f"Counted for a token in closed form\n{_grouped(costs, _counted_columns())}",
        f"This machine, the best of {costs.made['rounds']} rounds\n{_machine(costs)}",
        "\n".join(wrapped(line) for line in _legend(costs)),
        wrapped("\n".join(costs.notes)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


Column = Callable[[CellCost], str]


def _measured_columns(costs: Costs) -> dict[str, Column]:
    def scaled(quantity: Quantity, factor: float) -> Column:
        return lambda cell: number(cell.seconds(quantity), factor)

    columns: dict[str, Column] = {
        "update": scaled("update", 1e3),
        "forward": scaled("forward", 1e3),
        "token": scaled("token", 1e6),
        "read": lambda cell: number(min(cell.reading_seconds, default=None), 1e6),
        "tokens/s": lambda cell: number(costs.tokens_per_second(cell)),
        "peak": lambda cell: _percent(costs.share_of_peak(cell)),
    }
    if not costs.memory.startswith(NOT_REPORTED):
        columns["memory"] = lambda cell: number(cell.memory_bytes, 1e-6)
    if not costs.energy.startswith(NOT_REPORTED):
        columns["energy"] = lambda cell: number(cell.energy_joules, 1e3)
    return columns


def _counted_columns() -> dict[str, Column]:
    return {
        "parameters": lambda cell: f"{cell.num_parameters:,}",
        "FLOPs": lambda cell: f"{cell.flops_per_token:,}",
        "by torch": lambda cell: f"{cell.counted_flops_per_token:,.0f}",
        "B, one": lambda cell: number(cell.token_bytes),
        "B, update": lambda cell: number(cell.training_bytes),
        "F/B, one": lambda cell: number(cell.flops_per_token / cell.token_bytes),
        "F/B, update": lambda cell: number(cell.training_flops_per_token / cell.training_bytes),
    }


def _grouped(costs: Costs, columns: dict[str, Column]) -> str:
    """Returns a table whose rows stand under their cells, a line for each that failed."""
    header = ["H", *columns]
    rows = [
        [str(cell.hidden_size), *(column(cell) for column in columns.values())]
        for cell in costs.cells
    ]
    head, rule, *lines = tables.aligned([header, *rows], ()).splitlines()
    told, last = [head, rule], ""
    for cell, line in zip(costs.cells, lines, strict=True):
        if cell.cell != last:
            told.append(f"{cell.cell} (engine {cell.engine})")
        last = cell.cell
        told += [line] if cell.problem is None else [line, wrapped(f"  {cell.problem}")]
    return "\n".join(told)


def _machine(costs: Costs) -> str:
    header = ("threads", "GFLOP/s", "GB/s from memory", "GB/s from a cache")
    rows = [
        (str(roof.threads), number(roof.peak), number(roof.memory), number(roof.cache))
        for roof in costs.roofs
    ]
    return tables.aligned([header, *rows], ())


def _legend(costs: Costs) -> list[str]:
    large = costs.large_batch
    return [
        "update, forward: ms of a whole training update, and of a forward pass with its loss.",
        f"token: us from one token to the next of one stream, on one core by the {_generates()} "
        "engine, as `harness sample` writes. read: us that one core needs to read the parameters "
        "that a token reads, from where they lie; less is not possible.",
        f"tokens/s: of forward passes of {large} streams. peak: GFLOP/s of an update over the "
        f"peak of {costs.roofs[-1].threads} threads.",
        f"memory, MB: {costs.memory}.",
        f"energy, mJ an update: {costs.energy}.",
        "FLOPs: of a forward pass's products, and by torch's counter on the cell's own step; an "
        "update is three times as many. A counter finds more where a matrix that is made of few "
        "parameters is multiplied whole, and pointwise work counts nowhere.",
        "B: bytes that one token of one stream, and a token of an update, moves if every time step "
        "reads each parameter once. F/B: FLOPs for each of them.",
        f"GFLOP/s: {costs.roofs[0].how}. GB/s: reads alone.",
    ]


def _generates() -> str:
    from harness.bench.cost.subject import GENERATES

    return GENERATES


def number(value: float | None, factor: float = 1.0) -> str:
    """Returns a value times a factor to three digits; nothing where there is none."""
    if value is None:
        return ""
    scaled = value * factor
    return f"{scaled:,.0f}" if abs(scaled) >= 100 else f"{scaled:.3g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
