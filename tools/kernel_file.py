"""The file that ``make gpu-check`` and ``make persistent-check`` keep of the kernels they made."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any


def text_of(facts: dict[str, str], wrong: list[str], kernels: Sequence[Any]) -> str:
    """Returns the JSON, a row of a kernel on a line.

    Args:
        facts: What it was made with.
        wrong: A line for each problem.
        kernels: Dataclasses of one kind.
    """
    rows = ",\n  ".join(json.dumps(asdict(kernel)) for kernel in kernels)
    head = json.dumps({"facts": facts, "problems": wrong}, indent=1).removesuffix("\n}")
    return f'{head},\n "kernels": [\n  {rows}\n ]\n}}\n'
