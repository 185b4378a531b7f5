"""What the arms write: a table of texts that continue one prefix each."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.arm_results import ArmResult
from harness.report.tables import Section

GREEDY = "greedy"
"""How a text is written where every token is the likeliest one."""


def section(results: Sequence[ArmResult]) -> Section:
    """Returns what each arm's first replicate wrote.

    There is a row per arm, per update where it wrote during training, and per temperature where
    the records name one: greedy texts stand above drawn ones.
    """
    samples = [
        (result.name, str(sample.get("update", "best")), _how_text(sample), sample)
        for result in results
        for sample in result.samples
    ]
    prefixes = list(dict.fromkeys(sample["prefix"] for *_, sample in samples))
    texts = {(*key, sample["prefix"]): sample["text"] for *key, sample in samples}
    keys = list(dict.fromkeys(tuple(key) for *key, _ in samples))
    order = list(dict.fromkeys(key[:2] for key in keys))
    keys.sort(key=lambda key: (order.index(key[:2]), key[2] != GREEDY))
    rows = [(*key, *(texts.get((*key, prefix), "") for prefix in prefixes)) for key in keys]
    dropped = [
        name
        for name, column, usual in (("Update", 1, "best"), ("Drawn", 2, GREEDY))
        if all(key[column] == usual for key in keys)
    ]
    header = ("Arm", "Update", "Drawn", *prefixes)
    kept = [i for i, name in enumerate(header) if i > 2 or name not in dropped]
    return Section(
        results[0].objective.predictions,
        tuple(header[i] for i in kept),
        [tuple(row[i] for i in kept) for row in rows],
    )


def _how_text(sample: Mapping[str, Any]) -> str:
    temperature = sample.get("temperature")
    return GREEDY if temperature is None else f"at temperature {temperature:g}"
