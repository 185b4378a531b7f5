"""Text as numbers: corpora, vocabularies, splits, and the windows that a model reads.

The names of the corpora and what they need are there at once. Whatever computes with numbers is
imported when it is first asked for, so that a study can be read without NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

from harness.data.corpora import CORPORA
from harness.data.errors import DataError, UnknownCharacter

if TYPE_CHECKING:
    from harness.data.dataset import Dataset
    from harness.data.dataset import load as load_text
    from harness.data.facts import CorpusFacts, corpus_facts, facts_of
    from harness.data.loading import Data, load, provide, reading_of
    from harness.data.tokens import Vocabulary
    from harness.data.windows import Windows, evaluation_windows, training_windows

__all__ = [
    "CORPORA",
    "CorpusFacts",
    "Data",
    "DataError",
    "Dataset",
    "UnknownCharacter",
    "Vocabulary",
    "Windows",
    "corpus_facts",
    "evaluation_windows",
    "facts_of",
    "load",
    "load_text",
    "provide",
    "reading_of",
    "training_windows",
]

_MODULES = {
    "CorpusFacts": "facts",
    "Data": "loading",
    "Dataset": "dataset",
    "Vocabulary": "tokens",
    "Windows": "windows",
    "corpus_facts": "facts",
    "evaluation_windows": "windows",
    "facts_of": "facts",
    "load": "loading",
    "load_text": "dataset",
    "provide": "loading",
    "reading_of": "loading",
    "training_windows": "windows",
}


def __getattr__(name: str) -> Any:
    """Imports a public name from its module on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, "load" if name == "load_text" else name)
