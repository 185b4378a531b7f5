"""Every cell as a file for others: how far torch.export's and ONNX's numbers are from the run's.

``python tools/export_check.py [CELL ...]`` prints a row a cell as it is done. A model of one layer
and of float64 is written in both forms, read again and run at other sizes than it was traced with.
It takes some ten seconds a cell.
"""

import sys

import torch

import cells
from cells.registry import source_of
from harness.data import Vocabulary
from harness.model.architecture import architecture
from harness.model.initialization import initial_parameters
from harness.results import export_model, modules
from harness.results.trained_models import ModelError
from harness.settings import Settings
from harness.training.saved_model import SavedModel

SYMBOLS, HIDDEN_SIZE = tuple("abcde"), 4
SUFFIXES = (export_model.PT2, export_model.ONNX)


def model_of(name: str) -> SavedModel:
    """Returns a model of a cell as a run that learned nothing would end with it."""
    cell = cells.find(name)
    settings = Settings(
        cell=name,
        corpus="text",
        hidden_size=HIDDEN_SIZE,
        precision="float64",
        embedding_size=HIDDEN_SIZE if cell.reads_input else None,
    )
    arch = architecture(settings, len(SYMBOLS), len(SYMBOLS))
    values = initial_parameters(arch, settings, (1,))
    return SavedModel(
        run=name,
        seed=(1,),
        settings=settings,
        vocabulary=Vocabulary(SYMBOLS, "char"),
        hidden_size=HIDDEN_SIZE,
        cell_source=source_of(cell),
        cell_files=(),
        corpus_fingerprint="",
        parameters={key: value.numpy() for key, value in values.items()},
    )


def told(saved: SavedModel, suffix: str) -> str:
    """Returns the largest difference of a form's numbers, or what is wrong."""
    module = modules.module_of(saved, engine="reference").requires_grad_(False)
    source, form = export_model.Source(saved, module, "{}"), export_model.FORMS[suffix]
    try:
        with export_model._quietly(), torch.no_grad():
            computed = form.opened(form.content(source), source)
            largest = 0.0
            for sizes in export_model.TRIED:
                inputs, state = export_model._example(module, *sizes)
                expected = export_model._computed(module, inputs, state)
                pairs = zip(expected, computed(inputs, state), strict=True)
                largest = max(largest, *(float((a - b).abs().max()) for a, b in pairs))
    except ModelError as error:
        return str(error).replace("\n", " ")
    return f"{largest:.1e}"


def main() -> None:
    """Prints the table."""
    print(f"{'cell':34}{SUFFIXES[0]:>10}{SUFFIXES[1]:>10}")
    for name in sys.argv[1:] or cells.names():
        saved = model_of(name)
        shown = [told(saved, suffix) for suffix in SUFFIXES]
        print(f"{name:34}" + "".join(f"{each:>10}" for each in shown), flush=True)


if __name__ == "__main__":
    main()
