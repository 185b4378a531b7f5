"""What a user would write instead of ``studies/bench/peer.yaml``, one run after another.

Optuna draws the learning rates, torch.nn trains (a loop in Python where it has no such cell), and
MLflow logs the perplexity of every epoch. Called as ``python peer_script.py TEXT FOLDER EPOCHS`` it
prints its seconds as JSON.
"""

import time

_BEGUN = time.perf_counter()

import json  # noqa: E402
import math  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import mlflow  # noqa: E402
import optuna  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

HIDDEN, BATCH, STEPS, TRIALS, SEEDS = 256, 32, 35, 4, 4


class Loop(nn.Module):
    """An LSTM whose output is not squashed: torch.nn has none, so a loop over time."""

    def __init__(self, num_tokens: int):
        super().__init__()
        self.inputs = nn.Linear(num_tokens, 4 * HIDDEN)
        self.states = nn.Linear(HIDDEN, 4 * HIDDEN)

    def forward(self, rows, state):
        """Returns the outputs (T, B, H) and the final state."""
        h, c = state or [rows.new_zeros(BATCH, HIDDEN)] * 2
        outputs = []
        for row in self.inputs(rows):
            i, f, g, o = (row + self.states(h)).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * c
            outputs.append(h)
        return torch.stack(outputs), (h, c)


ARMS = {
    "lstm": lambda size: nn.LSTM(size, HIDDEN),
    "lstm-no-output-tanh": Loop,
    "gru": lambda size: nn.GRU(size, HIDDEN),
    "rnn-tanh": lambda size: nn.RNN(size, HIDDEN),
}


class Trainer:
    """Trains runs and counts where the seconds go."""

    def __init__(self, tokens, num_tokens, epochs):
        self.tokens, self.num_tokens, self.epochs = tokens, num_tokens, epochs
        self.seconds = {"training": 0.0, "logging": 0.0}

    def batches(self):
        """Yields inputs and targets (T, B) of one epoch: B streams side by side."""
        length = len(self.tokens) // BATCH
        streams = self.tokens[: BATCH * length].view(BATCH, length).t()
        for start in range(0, length - 1 - STEPS + 1, STEPS):
            yield streams[start : start + STEPS], streams[start + 1 : start + 1 + STEPS]

    def run(self, arm, name, rate, seed):
        """Trains one run and returns its last perplexity."""
        torch.manual_seed(seed)
        layer, readout = ARMS[arm](self.num_tokens), nn.Linear(HIDDEN, self.num_tokens)
        parameters = [*layer.parameters(), *readout.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=rate)
        perplexity = math.inf
        with mlflow.start_run(run_name=name):
            mlflow.log_params({"arm": arm, "learning_rate": rate, "seed": seed})
            for epoch in range(self.epochs):
                begun = time.perf_counter()
                total, count, state = 0.0, 0, None
                for inputs, targets in self.batches():
                    rows = functional.one_hot(inputs, self.num_tokens).float()
                    outputs, state = layer(rows, state)
                    state = (
                        state.detach() if torch.is_tensor(state) else [s.detach() for s in state]
                    )
                    state = state if torch.is_tensor(state) else tuple(state)
                    loss = functional.cross_entropy(
                        readout(outputs).flatten(0, 1), targets.flatten()
                    )
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(parameters, 1.0)
                    optimizer.step()
                    total, count = total + loss.item(), count + 1
                perplexity = math.exp(min(total / count, 50.0))
                self.seconds["training"] += time.perf_counter() - begun
                begun = time.perf_counter()
                mlflow.log_metric("perplexity", perplexity, step=epoch)
                self.seconds["logging"] += time.perf_counter() - begun
        return perplexity


def main(text: str, folder: str, epochs: int) -> None:
    """Tunes and replicates every arm, and prints where the seconds went."""
    seconds = {"imports": time.perf_counter() - _BEGUN}
    characters = sorted(set(text))
    index = {character: k for k, character in enumerate(characters)}
    tokens = torch.tensor([index[character] for character in text])
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("peer")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trainer, found = Trainer(tokens, len(characters), epochs), {}
    for arm in ARMS:
        study = optuna.create_study(
            storage=f"sqlite:///{folder}/optuna.db",
            study_name=arm,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )

        def objective(trial, arm=arm):
            rate = trial.suggest_float("learning_rate", 0.5, 4.0, log=True)
            return trainer.run(arm, f"{arm} trial {trial.number}", rate, seed=0)

        study.optimize(objective, n_trials=TRIALS)
        rate = study.best_params["learning_rate"]
        found[arm] = [trainer.run(arm, f"{arm} seed {s}", rate, 1000 + s) for s in range(SEEDS)]
    seconds |= trainer.seconds | {"all": time.perf_counter() - _BEGUN}
    print(json.dumps({"seconds": seconds, "perplexities": found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2], int(sys.argv[3]))
