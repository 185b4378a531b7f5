"""Makes the store that tests/runner/test_old_store.py opens: run from a checkout of the commit that it is to be of.

    python make.py FOLDER      # FOLDER must not exist

`finished` has ended; `trials` was killed while its trials trained, `replicates` while its replicates did, both with
checkpoints. expected/ holds what the same commit exports of them after it has continued each to its end. Every path
of the machine lies below FOLDER, which the test replaces with its own.
"""

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

WORDS = "the cell state gate opens and closes while time flows over hidden units in a long quiet text".split()

CELLS = '''\
from torch import sigmoid, tanh

from cells import Cell


class LeakyRNN(Cell):
    """Elman's network whose units keep a part of what they were.

        a  = sigmoid(v)
        h' = (1 - a) * h + a * tanh(W_h x + R_h h + b_h)

    Source: Jaeger et al., 2007.
    Reference: none.
    Differs from rnn-tanh: the leak a.
    """

    name = "rnn-leaky"
    gates = ("h",)
    vectors = {"v": 0.0}
    candidates = ("h",)
    zonable = ("h",)

    def step(self, p, x, h):
        """One time step."""
        a = sigmoid(p.v)
        return ((1 - a) * h + a * p.drop(tanh(x.h + p.R(h).h)),)
'''

FINISHED = """\
study: finished
version: 1
question: Do gates pay on a small text, with two optimisers?
compare:
  cross: {cell: [rnn-tanh, lstm, gru]}
  baseline: {cell: lstm}
across:
  sgd: {optimizer: sgd, tune: {learning_rate: {low: 0.1, high: 2.0, log: true}}}
  adam: {optimizer: adam, tune: {learning_rate: {low: 0.003, high: 0.1, log: true}}}
tune: {trials: 2, batch: 2}
fix: {corpus: text, path: text.txt, hidden_size: 8, batch_size: 4, bptt_length: 8, budget: {updates: 40}, evaluations: 4, engine: reference}
replicate: {seeds: 7}
measure: {samples: {prefixes: ["the "], length: 8}, runtime: {rounds: 7, seconds: 0.01}, margin: 0.02}
"""

TRIALS = """\
study: trials
version: 1
question: Does width matter on a small text?
compare:
  arms: {narrow: {hidden_size: 3}, wide: {hidden_size: 16}}
  baseline: narrow
tune:
  learning_rate: {low: 0.005, high: 0.1, log: true}
  clip_norm: {choices: [1.0, none]}
  trials: 5
  batch: 3
  pruner: median
fix: {cell: lstm, corpus: text, path: text.txt, optimizer: adam, batch_size: 4, bptt_length: 8, budget: {updates: 40}, evaluations: 4, engine: reference}
replicate: {seeds: 6}
measure: {samples: {prefixes: ["the "], length: 8}, runtime: none}
"""

REPLICATES = """\
study: replicates
version: 1
cells: [mine.py]
question: Does a leak matter on a small text?
compare:
  cross: {cell: [rnn-tanh, rnn-leaky, lstm-no-output-tanh]}
  baseline: {cell: rnn-tanh}
tune: {learning_rate: {low: 0.1, high: 1.0, log: true}, trials: 2, batch: 2}
fix: {corpus: text, path: text.txt, hidden_size: 8, batch_size: 4, bptt_length: 8, budget: {seconds: 0.08}, evaluations: 4, engine: reference, zoneout_h: 0.05, recurrent_dropout: 0.1}
replicate: {seeds: 7}
measure: {models: none, runtime: none}
"""

RUN = """\
import os, signal, sys
from harness import cli, train
train.CHECKPOINT_SECONDS = 0.0
left = int(sys.argv.pop(1))
advance = train.Pack.advance
def counted(self):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(self)
train.Pack.advance = counted
cli.main()
"""


def harness(*words, kill_at=0):
    command = [sys.executable, "-c", RUN, str(kill_at), *map(str, words)]
    code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    assert code == (-signal.SIGKILL if kill_at else 0), (words, code)


def main(root):
    root.mkdir(parents=True)
    store, expected = root / "store", root / "expected"
    store.mkdir()
    draw = random.Random(7)
    (store / "text.txt").write_text(
        " ".join(draw.choice(WORDS) for _ in range(1500)), encoding="utf-8"
    )
    (store / "mine.py").write_text(CELLS)
    for name, text in (("finished", FINISHED), ("trials", TRIALS), ("replicates", REPLICATES)):
        (store / f"{name}.yaml").write_text(text)
    harness("run", store / "finished.yaml", "--folder", store)
    harness("run", store / "trials.yaml", "--folder", store, kill_at=13)
    harness("run", store / "replicates.yaml", "--folder", store, kill_at=22)
    # Continued by the same commit, in a copy that stands where the store stood.
    aside = root / "aside"
    shutil.move(store, aside)
    shutil.copytree(aside, store)
    for name in ("finished", "trials", "replicates"):
        harness("run", store / f"{name}.yaml", "--folder", store)
        harness(
            "export", store / f"{name}.yaml", expected / name, "--folder", store, "--format", "csv"
        )
        with open(expected / name / "report.txt", "w") as file:
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "harness.cli",
                    "report",
                    str(store / f"{name}.yaml"),
                    "--folder",
                    str(store),
                ],
                stdout=file,
                check=True,
            )
    shutil.rmtree(store)
    shutil.move(aside, store)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
