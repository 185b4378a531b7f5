"""Imported while torch.compile traces, and only then: torch's compiler takes seconds to import."""

from collections.abc import Callable
from typing import Any

import torch


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


call: Callable[..., Any] = torch.compiler.disable(
    _call, reason="a recurrent layer's engine is compiled already"
)
"""Calls a function that a graph must not look into: the graph ends before it."""
