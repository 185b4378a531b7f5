"""A forecaster of a noisy series: one value ahead, from the forty before it.

Run it: python examples/forecaster.py
"""

import torch
from torch import nn

from harness import Recurrent

WINDOW, HIDDEN_SIZE = 40, 24


class Forecaster(nn.Module):
    """The next value of each series, (B,)."""

    def __init__(self) -> None:
        super().__init__()
        # It was: nn.GRU(1, HIDDEN_SIZE, num_layers=2, batch_first=True).
        self.rnn = Recurrent("mgu", 1, HIDDEN_SIZE, num_layers=2, batch_first=True)
        self.value = nn.Linear(HIDDEN_SIZE, 1)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Takes series (B, T)."""
        output, _ = self.rnn(series.unsqueeze(-1))
        return self.value(output[:, -1]).squeeze(-1)


def windows(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the windows of two waves with noise, (count, WINDOW), and the value after each."""
    times = torch.rand(count, 1) * 1000 + torch.arange(WINDOW + 1)
    series = torch.sin(times / 5) + 0.5 * torch.sin(times / 2) + 0.05 * torch.randn(times.shape)
    return series[:, :-1], series[:, -1]


def main(updates: int = 300) -> tuple[float, float]:
    """Trains a forecaster; returns its mean squared error, and that of repeating the last value."""
    torch.manual_seed(0)
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(updates):
        series, following = windows(64)
        loss = nn.functional.mse_loss(model(series), following)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    series, following = windows(500)
    with torch.no_grad():
        error = nn.functional.mse_loss(model(series), following)
    return float(error), float(nn.functional.mse_loss(series[:, -1], following))


if __name__ == "__main__":
    print("squared error {:.4f}; of the last value {:.4f}".format(*main()))
