"""A bench in brief, as ``--quick`` prints it: what it asks first, within 80 columns."""

from collections.abc import Sequence

from harness.bench import tables
from harness.bench.judge import Results
from harness.bench.record import MODES, Bench
from harness.bench.tables import WIDTH, wrapped

COLUMNS = ("cell", "run by", "pack", "ms", "tokens/s", "x LSTM")
"""Those of the whole table that a quick bench is read for."""
LEGEND = (
    "ms: the wall time of one run's update, or of its forward pass; the pack's time over its runs.",
    "tokens/s: of all runs of the pack together.",
    "x LSTM: how often as fast as nn.LSTM on one-hot rows at the same pack, by the median, and its "
    "95 % interval.",
    "loop: the cell as its source publishes it. nn.*: torch.nn.",
    "Without --quick all columns are printed, and what is inside the clock; so does --from FILE of "
    "what --json FILE has kept.",
)


def text(bench: Bench) -> str:
    """Returns the bench as text of at most 80 columns."""
    parts = [wrapped(tables.machine(bench.made)), wrapped(tables.disturbance(bench))]
    for shape in bench.shapes:
        for mode in MODES:
            results = Results(bench, shape, mode)
            parts.append(f"{tables.TITLES[mode]}: {shape}\n{_table(results)}")
            if mode == "train":
                parts.append(wrapped(tables.verdicts(results)))
    parts += [wrapped("\n".join(LEGEND)), wrapped("\n".join(bench.notes))]
    return "\n\n".join(filter(None, parts)).rstrip() + "\n"


def _table(results: Results) -> str:
    """Returns the rows by the columns above, and a line for every subject that failed."""
    table = _columns(results, COLUMNS)
    if max(map(len, table.splitlines())) > WIDTH:  # a long name, or a wide interval
        table = _columns(results, [name for name in COLUMNS if name != "tokens/s"])
    return "\n".join(filter(None, [table, wrapped("\n".join(tables.failures(results)))]))


def _columns(results: Results, names: Sequence[str]) -> str:
    chosen = [tables.HEADER.index(name) for name in names]
    lines = [[cells[i] for i in chosen] for cells in tables.rows(results)]
    return tables.aligned([names, *lines], tables.LEFT)
