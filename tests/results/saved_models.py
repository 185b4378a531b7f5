"""Models as runs end with them, without a run."""

import cells
from cells.registry import source_of
from harness.data import Vocabulary
from harness.model.architecture import architecture
from harness.model.initialization import initial_parameters
from harness.settings import Settings
from harness.training.saved_model import Interface, SavedModel

TEXT = "the white sphinx of the time traveller"
OF_LANGUAGE = (
    {"cell": "lstm", "num_layers": 3, "residual": True, "zoneout_c": 0.2, "dropout": 0.3},
    {"cell": "gru", "embedding_size": 6, "tied": True, "biases": 2, "zoneout_c": 0.2},
    {"cell": "lstm-peephole", "learned_start": True, "state_dropout": 0.1, "state_clip": 0.4},
    {"cell": "lstm-projected", "num_layers": 2, "projection_size": 2},
    {"cell": "sru", "embedding_size": 6, "weight_dropout": 0.5},
)
"""Settings of models that have everything that a model may have."""
OF_SEQUENCES = (
    ({"corpus": "adding", "cell": "mgu", "num_layers": 2, "learned_start": True}, (2, 1, False)),
    (
        {"corpus": "adding", "cell": "lstm", "embedding_size": 4, "output_dropout": 0.5},
        (3, 2, False),
    ),
    ({"corpus": "copy", "cell": "gru", "embedding_size": 5, "residual": True}, (10, 9, True)),
)
"""Likewise, and what each reads and predicts."""


def saved(reads_and_predicts=None, **fields):
    """A model at its beginning, its constant starts moved, as a run would end with it.

    It is one of language, or of sequences where it is said what it reads and predicts.
    """
    settings = Settings(**{"corpus": "text", "hidden_size": 6, "precision": "float64", **fields})
    symbols = tuple(sorted(set(TEXT)))
    sizes = reads_and_predicts and Interface(*reads_and_predicts)
    arch = architecture(settings, *(reads_and_predicts or (len(symbols), len(symbols), True)))
    values = {k: v.numpy() for k, v in initial_parameters(arch, settings, (1,)).items()}
    return SavedModel(
        run="small/replicate/1",
        seed=(1,),
        settings=settings,
        vocabulary=None if sizes else Vocabulary(symbols, "char"),
        hidden_size=6,
        cell_source=source_of(cells.find(settings.cell)),
        cell_files=(),
        corpus_fingerprint="",
        parameters={k: v + 0.1 if k.startswith("start") else v for k, v in values.items()},
        interface=sizes,
    )


def of_sequences(index):
    """A model of sequences, that of ``OF_SEQUENCES``."""
    fields, sizes = OF_SEQUENCES[index]
    return saved(sizes, task="memory", **fields)
