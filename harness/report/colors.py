"""The colours of arms, which figures and MLflow's pages share."""

from collections.abc import Sequence

# Okabe and Ito's palette (2008), told apart with any colour vision; black first, for the baseline.
# Grey stands for its yellow, which is faint on white.
COLORS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8A8A8A")
TINTS = (0.0, 0.55, 0.3)
"""How far to white the colours of the first seven arms are moved, those of the next seven, ..."""


def by_arm(arms: Sequence[str], baseline: str) -> dict[str, str]:
    """Returns each arm's colour where colour alone tells arms apart.

    The first seven beside the baseline have those of the figures, where line and marker tell more
    of them apart.

    Args:
        arms: All of a study's, in its order.
        baseline: Which of them is black.
    """
    others = [arm for arm in dict.fromkeys(arms) if arm != baseline]
    hues = COLORS[1:]
    found = {baseline: COLORS[0]}
    for i, arm in enumerate(others):
        turn, hue = divmod(i, len(hues))
        found[arm] = _tinted(hues[hue], TINTS[turn % len(TINTS)])
    return found


def _tinted(color: str, tint: float) -> str:
    """Moves a colour towards white.

    >>> _tinted("#E69F00", 0.5)
    '#F2CF80'
    """
    parts = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * tint):02X}" for part in parts)
