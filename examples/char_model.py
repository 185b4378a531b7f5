"""A character model with the state carried from one piece of the text to the next.

Run it: python examples/char_model.py
"""

from pathlib import Path

import torch
from torch import nn

import harness
from harness import Recurrent

TEXT = Path(harness.__file__).parent / "data" / "texts" / "genesis.txt"
HIDDEN_SIZE, BATCH_SIZE, NUM_STEPS = 128, 16, 35


class Model(nn.Module):
    """The scores of every next character, (T, B, V), and the state to go on from."""

    def __init__(self, num_characters):
        super().__init__()
        # It was: nn.LSTM(num_characters, ...) on one-hot rows.
        self.rnn = Recurrent("lstm-peephole", num_characters, HIDDEN_SIZE, zoneout_c=0.05)
        self.scores = nn.Linear(HIDDEN_SIZE, num_characters)

    def forward(self, tokens, state=None):
        """Takes tokens (T, B)."""
        output, state = self.rnn(tokens, state)
        return self.scores(output), state


def main(path: Path = TEXT, updates: int = 300) -> tuple[float, str]:
    """Trains a model; returns its last loss, in nats a character, and what it writes."""
    torch.manual_seed(0)
    text = path.read_text(encoding="utf-8").lower()[:100_000]
    symbols = sorted(set(text))
    tokens = torch.tensor([symbols.index(each) for each in text])
    streams = torch.stack(tokens.chunk(BATCH_SIZE)[:-1], dim=1)
    model, state = Model(len(symbols)), None
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for update in range(updates):
        at = update * NUM_STEPS % (len(streams) - NUM_STEPS)
        piece = streams[at : at + NUM_STEPS + 1]
        scores, state = model(piece[:-1], state and tuple(each.detach() for each in state))
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), piece[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    written, state = [int(tokens[0])], None
    for _ in range(60):
        scores, state = model(torch.tensor(written[-1:]), state)
        written.append(int(torch.multinomial(scores[-1].softmax(-1), 1)))
    return loss.item(), "".join(symbols[each] for each in written)


if __name__ == "__main__":
    print("loss {:.2f}: {}".format(*main()))
