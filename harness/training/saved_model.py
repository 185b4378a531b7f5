"""A run's best parameters as one file, with what is needed to build its model again.

NumPy alone reads it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from cells.registry import find, source_of
from harness.data import Vocabulary
from harness.settings import Settings, from_dict, to_dict
from harness.training import npz
from harness.training.plan import Run

FORMAT = 1


class SavedModelError(ValueError):
    """A file that holds no model, or one of another time."""


@dataclass(frozen=True)
class Interface:
    """What a model reads and predicts.

    Attributes:
        num_inputs: The V of tokens, or the I of vectors.
        num_outputs: The width of the read-out.
        reads_tokens: Whether inputs are tokens.
        meaning: What the numbers stand for: the names of columns and classes, a series' scale.
    """

    num_inputs: int
    num_outputs: int
    reads_tokens: bool
    meaning: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SavedModel:
    """What a finished run learned.

    Attributes:
        run: Its id in the plan, ARM/PHASE/INDEX.
        seed: The names that its random draws derive from.
        cell_source: SHA-256 of the cell's source text.
        cell_files: The Python files of cells that the plan named.
        corpus_fingerprint: SHA-256 of the text that it was trained on.
        hidden_size: The one that was trained, solved where the settings give a budget instead.
        parameters: Name -> values of one run, in the precision that they were trained in.
        vocabulary: What tokens stand for; None where the task has no words.
        interface: What such a model reads and predicts; else None, the vocabulary says it.
    """

    run: str
    seed: tuple[Any, ...]
    settings: Settings
    vocabulary: Vocabulary | None
    hidden_size: int
    cell_source: str
    cell_files: tuple[str, ...]
    corpus_fingerprint: str
    parameters: dict[str, np.ndarray]
    interface: Interface | None = None

    @property
    def reads_and_predicts(self) -> Interface:
        """What the model reads and predicts."""
        if self.interface is not None:
            return self.interface
        assert self.vocabulary is not None
        return Interface(len(self.vocabulary), len(self.vocabulary), reads_tokens=True)

    def to_bytes(self) -> bytes:
        """Returns the file; :meth:`from_bytes` is its inverse."""
        header = {name: value for name, value in vars(self).items() if name != "parameters"}
        header |= {
            "format": FORMAT,
            "settings": to_dict(self.settings),
            "vocabulary": None
            if self.vocabulary is None
            else {
                name: value
                for name, value in asdict(self.vocabulary).items()
                if name not in ("line_end", "subwords") or value is not None
            },
        }
        # Models of language name none, as those of versions that knew no other task.
        interface = header.pop("interface")
        if interface is not None:
            described = asdict(interface)
            if not interface.meaning:  # as those of versions that did not have it
                del described["meaning"]
            header["interface"] = described
        return npz.to_bytes(header, self.parameters)

    @staticmethod
    def from_bytes(content: bytes) -> "SavedModel":
        """Returns the model of a file.

        Raises:
            SavedModelError: It holds none, or one of a format that this version does not know.
        """
        try:
            header, parameters = npz.from_bytes(content)
            if (version := header.pop("format")) != FORMAT:
                raise SavedModelError(
                    f"model: its format must be known to this version, but got format={version}. "
                    "Update the bench."
                )
            words, interface = header["vocabulary"], header.pop("interface", None)
            vocabulary = words and Vocabulary(**{**words, "symbols": tuple(words["symbols"])})
            return SavedModel(
                **{
                    **header,
                    "seed": tuple(header["seed"]),
                    "settings": from_dict(header["settings"]),
                    "vocabulary": vocabulary,
                    "cell_files": tuple(header["cell_files"]),
                },
                parameters=parameters,
                interface=interface and Interface(**interface),
            )
        except (AttributeError, KeyError, npz.ArraysError, TypeError) as error:
            raise SavedModelError(
                f"model: must be a file that a run ended with, but got {error!r}."
            ) from error


def of_run(
    run: Run,
    parameters: Mapping[str, Tensor],
    *,
    vocabulary: Vocabulary | None,
    interface: Interface,
    hidden_size: int,
    corpus_fingerprint: str,
    cell_files: tuple[str, ...],
) -> SavedModel:
    """Returns a run's model; ``parameters`` are its own, without the run axis."""
    return SavedModel(
        run=run.id,
        seed=run.seed,
        settings=run.settings,
        vocabulary=vocabulary,
        hidden_size=hidden_size,
        cell_source=source_of(find(run.settings.cell)),
        cell_files=cell_files,
        corpus_fingerprint=corpus_fingerprint,
        interface=interface if vocabulary is None else None,
        parameters={name: values.cpu().numpy() for name, values in parameters.items()},
    )
