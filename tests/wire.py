"""Messages as a worker writes them: what tests compare whole."""

import json

TIMES = (
    "seconds",
    "tokens_per_second",
    "update_seconds_p50",
    "update_seconds_p90",
    "peak_memory_bytes",
)
"""What metrics tell of the clock and of memory: no two runs share it."""


def kind_of(message):
    return json.loads(message.to_json())["kind"]


def info_of(message):
    return json.loads(message.to_json())["info"]


def update_of(message):
    return json.loads(message.to_json())["update"]
