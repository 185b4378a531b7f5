"""Two studies that tests read: one that crosses a field, and one whose arms have names."""

CROSS = """\
# yaml-language-server: $schema=./study.schema.json
study: output-tanh
version: 1
question: Does the LSTM's output tanh matter, for perplexity and for speed?
source: a reader's remark

compare:                       # what is asked about: the arms
  cross: {cell: [lstm, lstm-no-output-tanh]}
  baseline: {cell: lstm}

tune:                          # optional; searched for every arm alike, with the same budget
  learning_rate: {low: 0.01, high: 10.0, log: true}
  clip_norm: {choices: [0.25, 1.0, 4.0]}
  trials: 24
  batch: 4                     # trials asked per round
  sampler: tpe
  pruner: median
  search_seed: 0

fix:                           # what the conclusion depends on
  corpus: time-machine
  hidden_size: 256
  batch_size: 32
  bptt_length: 35
  budget: {tokens: 2000000}

replicate: {seeds: 10, first_seed: 1000}

measure:
  objective: validation/perplexity
  margin: 0.01                 # equivalence margin: 1 % of perplexity
  samples: {prefixes: [traveller, time traveller], length: 50}
"""

ARMS = """\
study: biases
version: 1
question: Does a second bias matter?
compare:
  arms:
    scratch: {cell: lstm, biases: 1}
    framework: {cell: lstm, biases: 2, budget: {epochs: 280}}
    as-fixed: {}
  baseline: scratch
fix:
  cell: gru
  corpus: time-machine-2019
  split: none
  num_parameters: 3e5
  initialization: normal
  forget_bias: none
  clip_norm: 1e-2
  evaluations: {each: epoch}
measure: {objective: train/perplexity, runtime: none}
""".replace("3e5", "300000")


def without(text: str, *starts: str) -> str:
    return "".join(
        line for line in text.splitlines(keepends=True) if not line.strip().startswith(starts)
    )
