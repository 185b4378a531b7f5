"""A tagger that reads sentences of different lengths in both directions, packed.

Every sentence is a row of digits, and a digit's tag says whether the same one comes again later.
Run it: python examples/tagger.py
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from harness import Recurrent

NUM_WORDS, HIDDEN_SIZE, BATCH_SIZE = 5, 32, 32


class Tagger(nn.Module):
    """Words in, one score for each tag of each word out."""

    def __init__(self) -> None:
        super().__init__()
        # It was: nn.LSTM(...) behind an nn.Embedding. Tokens may enter as they are.
        self.rnn = Recurrent("lstm-peephole", NUM_WORDS, HIDDEN_SIZE, bidirectional=True)
        self.tags = nn.Linear(2 * HIDDEN_SIZE, 2)

    def forward(self, sentences: list[torch.Tensor]) -> torch.Tensor:
        """Returns the scores of all words, sentence after sentence, (words, 2)."""
        output, _ = self.rnn(pack_sequence(sentences, enforce_sorted=False))
        padded, lengths = pad_packed_sequence(output, batch_first=True)
        rows = zip(padded, lengths.tolist(), strict=True)
        return self.tags(torch.cat([row[:length] for row, length in rows]))


def sentences() -> tuple[list[torch.Tensor], torch.Tensor]:
    """Returns a batch of sentences and the tags of their words, one after another."""
    lengths = torch.randint(2, 9, (BATCH_SIZE,)).tolist()
    words = [torch.randint(NUM_WORDS, (length,)) for length in lengths]
    tags = [[int(w in row[k + 1 :]) for k, w in enumerate(row)] for row in map(list, words)]
    return words, torch.tensor([tag for row in tags for tag in row])


def main(updates: int = 300) -> float:
    """Trains a tagger and returns the part of words that it tags rightly."""
    torch.manual_seed(0)
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for update in range(updates):
        words, tags = sentences()
        loss = nn.functional.cross_entropy(model(words), tags)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % 50 == 0:
            print(f"update {update}: loss {loss:.3f}")
    words, tags = sentences()
    return float((model(words).argmax(-1) == tags).float().mean())


if __name__ == "__main__":
    print(f"rightly tagged: {main():.1%}")
