class DataError(ValueError):
    """A corpus, its file or its length is not what a run needs.

    The message has a line for every problem.
    """

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))


class UnknownCharacter(DataError):
    """A text holds a character that the vocabulary lacks."""
