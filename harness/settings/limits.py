"""The largest values that are taken, each with what a larger one would cost."""

MOST_UNITS = 65_536
"""Of a layer: one recurrent matrix of so many units takes 16 GiB in float32."""
MOST_PARAMETERS = 10_000_000_000
"""Of a model: with its gradient and Adam's moments it takes 160 GB in float32."""
MOST_LAYERS = 1_000
"""Each layer is a pass of its own over a minibatch, and nobody has trained a stack so high."""
MOST_TOKENS = 1_000_000
"""Of one direction of a minibatch; their product is bounded by memory."""
MOST_MULTIPLE = 100
"""Of the length of training: a test set of so much longer sequences takes longer than training."""
MOST_UPDATES = 10_000_000
"""Of a run: the learning rate of each is kept, 80 MB a run."""
MOST_RUNS = 10_000
"""Of each kind: trials, seeds, repeats. A driver was measured so far."""
MOST_ROUNDS = 10_000
"""Of the runtime phase: its intervals are those of medians, which no more rounds narrow."""
MOST_SECONDS = 3_600.0
"""Of one measurement: an hour."""
MOST_THREADS = 1_024
"""More than a machine has cores."""
