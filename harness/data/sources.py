"""The names of what is no text: the sources of sequences of every other task, without NumPy."""

from dataclasses import replace

from harness.settings import LANGUAGE, Options, Settings

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
OF_THE_MODEL = {"forecasting": ("head",), "classification": ("balanced",)}
"""Task -> the options that say how a model answers or is trained, and nothing of its sequences."""
_ONE_ANSWER = ("adding", "pixels", "mnist", "labelled")
"""Those that ask one thing of a sequence, at its last step; ``labelled`` where labels are so."""
_LATER_ANSWERS = {
    "dyck": "the bracket that closes later is of the kind that is asked for",
    "counting": "the next letter, which is to be predicted, is read later",
    "markov": "the next token, which is to be predicted, is read later",
    **dict.fromkeys(FORECASTING, "the points that are to be forecast are read later"),
}
"""Those whose sequences hold what is predicted at a step in a later one -> where."""


def with_options_of_data(settings: Settings) -> Settings:
    """Returns settings whose options are those alone that decide the sequences."""
    given = {} if settings.options is None else settings.options.to_dict()
    dropped = OF_THE_MODEL.get(settings.task, ())
    kept = {name: value for name, value in given.items() if name not in dropped}
    return replace(settings, options=Options.of(kept) if kept else None)


def later_answer(task: str, corpus: str) -> str | None:
    """Returns where later steps of a sequence hold what is to be predicted; None: nowhere."""
    if task == LANGUAGE:
        return "the token that a language model is to predict is read later"
    return _LATER_ANSWERS.get(corpus)


def has_one_answer(settings: Settings) -> bool:
    """Returns whether one thing is asked of a whole sequence, at its last step."""
    options = {} if settings.options is None else settings.options.to_dict()
    return settings.corpus in _ONE_ANSWER and options.get("label_of", "sequence") == "sequence"
