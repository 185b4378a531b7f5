"""Which known names a misspelt one may mean."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Returns the known names that come nearest, the nearest first, without regard to case.

    Where a name differs in case alone, it is the only one.

    >>> nearest("LSTM", ["gru", "lstm", "slstm"], 3), nearest("lsmt", ["gru", "lstm", "slstm"], 3)
    (['lstm'], ['lstm', 'slstm'])
    """
    by_lower: dict[str, list[str]] = {}
    for each in known:
        by_lower.setdefault(each.lower(), []).append(each)
    if name.lower() in by_lower:
        return by_lower[name.lower()][:count]
    near = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=cutoff)
    return [each for lower in near for each in by_lower[lower]][:count]
