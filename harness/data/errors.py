"""What is wrong with a text."""

from typing import ClassVar


class DataError(ValueError):
    """A corpus, its file or its length is not what a run needs.

    The message has a line for every problem. Where a line begins with a field of the settings, that
    field is wrong, else the text.
    """

    code: ClassVar[str] = "text"
    """The code of these problems in a study; docs/messages.md explains it."""

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))


class TextTooShort(DataError):
    """A text has fewer tokens than its windows need."""

    code = "text-too-short"


class UnknownCharacter(DataError):
    """A text holds a character that the vocabulary lacks."""
