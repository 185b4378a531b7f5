"""Text as numbers: corpora, vocabularies, splits, and the windows that training and evaluation
read.
"""

from harness.data.dataset import CORPORA, Dataset, load
from harness.data.errors import DataError, UnknownCharacter
from harness.data.tokens import Vocabulary
from harness.data.windows import Windows, evaluation_windows, windows

__all__ = [
    "CORPORA",
    "DataError",
    "Dataset",
    "UnknownCharacter",
    "Vocabulary",
    "Windows",
    "evaluation_windows",
    "load",
    "windows",
]
