"""A study that trains in seconds: for the tests of the driver and of the command line."""

import random
from pathlib import Path

WORDS = (
    "the cell state gate opens and closes while time flows over hidden units in a long quiet text"
).split()

YAML = """\
study: small
version: 1
question: Does width matter on a small text?
compare:
  arms:
    narrow: {{hidden_size: 3}}
    wide: {{hidden_size: 16}}
  baseline: narrow
tune:
  learning_rate: {{low: 0.005, high: 0.1, log: true}}
  trials: {trials}
  batch: 2
  pruner: {pruner}
fix:
  cell: lstm
  corpus: text
  path: text.txt
  optimizer: adam
  batch_size: 4
  bptt_length: 8
  budget: {{updates: {updates}}}
  evaluations: 4
replicate: {{seeds: {seeds}}}
measure:
  samples: {{prefixes: ["the "], length: 8}}
  runtime: {runtime}
"""

OWN_CELL = '''
from torch import tanh

from cells import Cell


class Own(Cell):
    r"""A plain cell.

        h' = tanh(W x + R h)

    Source: none.
    Reference: none.
    Differs from none.
    """

    name = "own"
    gates = ("h",)
    state = ("h",)

    def step(self, p, x, h):
        return (tanh(x.h + p.R(h).h),)
'''
"""A user's file that states the cell `own`."""


def write(
    folder: Path,
    *,
    trials: int = 4,
    seeds: int = 6,
    updates: int = 40,
    runtime: str = "none",
    pruner: str = "median",
) -> Path:
    """Writes the study and its text into ``folder`` and returns the study's path."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(7)
    (folder / "text.txt").write_text(
        " ".join(draw.choice(WORDS) for _ in range(1500)), encoding="utf-8"
    )
    path = folder / "small.yaml"
    text = YAML.format(trials=trials, seeds=seeds, updates=updates, runtime=runtime, pruner=pruner)
    path.write_text(text, encoding="utf-8")
    return path
