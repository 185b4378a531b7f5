"""Models as runs end with them, without a run."""

import cells
from cells.registry import source_of
from harness.data import Vocabulary
from harness.model.architecture import architecture
from harness.model.initialization import initial_parameters
from harness.settings import Settings
from harness.training.saved_model import SavedModel

TEXT = "the white sphinx of the time traveller"


def saved(**fields):
    """A model at its beginning, its constant starts moved, as a run would end with it."""
    settings = Settings(**{"corpus": "text", "hidden_size": 6, "precision": "float64", **fields})
    symbols = tuple(sorted(set(TEXT)))
    arch = architecture(settings, len(symbols), len(symbols))
    values = {k: v.numpy() for k, v in initial_parameters(arch, settings, (1,)).items()}
    return SavedModel(
        run="small/replicate/1",
        seed=(1,),
        settings=settings,
        vocabulary=Vocabulary(symbols, "char"),
        hidden_size=6,
        cell_source=source_of(cells.find(settings.cell)),
        cell_files=(),
        corpus_fingerprint="",
        parameters={k: v + 0.1 if k.startswith("start") else v for k, v in values.items()},
    )
