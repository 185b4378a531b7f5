"""Pure conversions. Losses stay in nats until the last line; these are that line."""

import math


def perplexity(nats: float) -> float:
    """Returns exp(``nats``); infinity where that overflows, NaN stays NaN."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def bits(nats: float) -> float:
    """Returns ``nats`` in bits."""
    return nats / math.log(2.0)
