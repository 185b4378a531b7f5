"""Every cell as a file for others: how far the numbers of each form are from the run's own.

``python tools/export_check.py [CELL ...]`` prints a row a cell as it is done, for runs of float64
and of float32. A model of one layer is written in every form of ``harness export-model``, read
again and run at other sizes than it was traced with. The table of all cells is
``studies/bench/exports.txt``.
"""

import datetime
import functools
import sys
from importlib.metadata import version

import torch

import cells
from cells.registry import source_of
from harness import provenance
from harness.data import Vocabulary
from harness.model.architecture import architecture
from harness.model.initialization import initial_parameters
from harness.results import export_model, modules
from harness.results.trained_models import ModelError
from harness.settings import Precision, Settings
from harness.training.saved_model import SavedModel

SYMBOLS, HIDDEN_SIZE = tuple("abcde"), 4
PRECISIONS: tuple[Precision, ...] = ("float64", "float32")
WRITERS = ("torch", "safetensors", "onnx", "onnxscript", "onnxruntime")


def model_of(name: str, precision: Precision) -> SavedModel:
    """Returns a model of a cell as a run that learned nothing would end with it."""
    cell = cells.find(name)
    settings = Settings(
        cell=name,
        corpus="text",
        hidden_size=HIDDEN_SIZE,
        precision=precision,
        embedding_size=HIDDEN_SIZE if cell.reads_input else None,
    )
    arch = architecture(settings, len(SYMBOLS), len(SYMBOLS))
    values = initial_parameters(arch, settings, (1,))
    dtype = getattr(torch, precision)
    return SavedModel(
        run=name,
        seed=(1,),
        settings=settings,
        vocabulary=Vocabulary(SYMBOLS, "char"),
        hidden_size=HIDDEN_SIZE,
        cell_source=source_of(cell),
        cell_files=(),
        corpus_fingerprint="",
        parameters={key: value.to(dtype).numpy() for key, value in values.items()},
    )


def differences(saved: SavedModel) -> list[str]:
    """Returns the largest difference of each form's numbers, or what is wrong with the form."""
    module = modules.module_of(saved, engine="reference").requires_grad_(False)
    source = export_model.Source(saved, module, export_model._description(saved, module))
    told = []
    for form in export_model.FORMS.values():
        try:
            with export_model._quietly(), torch.no_grad():
                told.append(f"{_difference(source, form):.1e}")
        except ModelError as error:
            told.append(str(error).replace("\n", " "))
    return told


def _difference(source: export_model.Source, form: export_model.Form) -> float:
    computed, largest = form.opened(form.content(source), source), 0.0
    for sizes in export_model.TRIED:
        inputs, state = export_model._example(source.module, *sizes)
        expected = export_model._computed(source.module, inputs, state)
        pairs = zip(expected, computed(inputs, state), strict=True)
        largest = max(largest, *(float((a - b).abs().max()) for a, b in pairs))
    return largest


def head() -> str:
    """Returns what the table was made with and of."""
    commit, is_changed = provenance.commit()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    versions = ", ".join(f"{name} {version(name)}" for name in WRITERS)
    changed = " with changes" if is_changed else ""
    return (
        f"python tools/export_check.py\n{now}, commit {commit[:12]}{changed}\n{versions}\n\n"
        "The largest difference from the run's own numbers, of outputs and states\n"
    )


def main() -> None:
    """Prints the table."""
    # Both files that are traced are made of one traced program.
    export_model._program = functools.lru_cache(maxsize=1)(export_model._program)
    forms = "".join(f"{suffix:>14}" for suffix in export_model.FORMS)
    print(head())
    print(f"{'':34}" + "".join(f"{each:>42}" for each in PRECISIONS))
    print(f"{'cell':34}" + forms * len(PRECISIONS))
    for name in sys.argv[1:] or cells.names():
        told = [each for p in PRECISIONS for each in differences(model_of(name, p))]
        print(f"{name:34}" + "".join(f"{each:>14}" for each in told), flush=True)


if __name__ == "__main__":
    main()
