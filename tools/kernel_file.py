"""The file that ``make gpu-check`` and ``make persistent-check`` keep of the kernels they made."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any


def text_of(
    facts: dict[str, str],
    wrong: list[str],
    kernels: Sequence[Any],
    costs: Sequence[dict[str, Any]] = (),
) -> str:
    """Returns the JSON, a row of a kernel on a line.

    Args:
        facts: What it was made with.
        wrong: A line for each problem.
        kernels: Dataclasses of one kind.
        costs: What time steps of some of them cost; left out where nothing was counted.
    """
    head = json.dumps({"facts": facts, "problems": wrong}, indent=1).removesuffix("\n}")
    tables = {"kernels": [asdict(kernel) for kernel in kernels], "costs": list(costs)}
    for name, rows in tables.items():
        if rows or name == "kernels":
            lines = ",\n  ".join(json.dumps(row) for row in rows)
            head += f',\n "{name}": [\n  {lines}\n ]'
    return f"{head}\n}}\n"
