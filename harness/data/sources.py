"""The names of what is no text: the sources of sequences of every other task, without NumPy."""

MEMORY = (
    "adding",
    "copy",
    "selective-copy",
    "parity",
    "dyck",
    "counting",
    "recall",
    "pixels",
    "mnist",
    "markov",
)
"""Made by rule, of any length; ``mnist`` is read from its files."""
FORECASTING = ("sine", "mackey-glass", "lorenz", "sunspots", "co2", "macro", "table")
"""Time series; ``table`` is a file of the user's."""
CLASSIFICATION = ("labelled",)
"""A file of sequences with labels."""
OF_TASK: dict[str, tuple[str, ...]] = {
    "memory": MEMORY,
    "forecasting": FORECASTING,
    "classification": CLASSIFICATION,
}
"""The sources of every task but language modelling, whose data are the corpora."""
SOURCES = (*MEMORY, *FORECASTING, *CLASSIFICATION)
PREDICTING_VALUES = ("adding", *FORECASTING)
"""Those whose targets are values; those of all others are classes."""
TAKES_PATH = ("mnist", "table", "labelled")
"""Those that are read from what ``path`` names."""
