"""A bench for ablating recurrent cells, and the cells as modules of torch.

Start at README.md, then studies/quickstart.yaml, then cells/lstm.py.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # late in the functions: `import harness` loads no torch, Optuna or MLflow
    from rich.console import Console

    from harness.layer import Recurrent, RecurrentCell
    from harness.report import Report
    from harness.results.export import Results
    from harness.results.modules import LanguageModel, SequenceModel
    from harness.results.trained_models import TrainedModel

__all__ = ["Recurrent", "RecurrentCell", "load", "load_model", "load_module", "run"]


def __getattr__(name: str) -> Any:
    if name not in ("Recurrent", "RecurrentCell"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness import layer

    return getattr(layer, name)


def __dir__() -> list[str]:
    """Returns the names that there are to use, those that are imported late among them."""
    return __all__


def run(
    study: str | Path | Mapping[str, Any],
    folder: str | Path | None = None,
    tracking: str | None = None,
    storage: str | None = None,
    *,
    overrides: Sequence[str] = (),
    force: bool = False,
    new: bool = False,
    console: "Console | None" = None,
    verbose: bool = False,
    executor: str | None = None,
    executor_address: str | None = None,
) -> "Report":
    """Runs what a study still lacks, to its verdict, and returns the report.

    A finished study trains nothing.

    Args:
        study: The study's YAML file, or its name in the store; or a dict of what the file would
            hold, with None for none.
        folder: Where ``mlflow.db``, ``optuna.db``, ``artifacts/`` and ``checkpoints/`` lie. None,
            also for the next two: what the environment (``HARNESS_FOLDER``) or the file
            ``harness.toml`` says, else the working directory.
        tracking: MLflow's store: a SQLite file in the folder, a server's ``http://...``, or a
            database's ``postgresql://...``.
        storage: Optuna's storage: a SQLite file in the folder, any SQLAlchemy URL, or a journal
            (``journal:///FILE``).
        overrides: Fields that replace the file's, ``fix.hidden_size=128`` each.
        force: Run a design that cannot reach its own threshold.
        new: Put an earlier study of this name aside and start afresh.
        console: Where progress and report are printed; standard output by default.
        verbose: Print the whole report, and not the verdicts alone.
        executor: Where packs train: ``inline``, in this process, or on a cluster of ``ray``. None:
            what the environment or ``harness.toml`` says, else inline.
        executor_address: The cluster's: ``auto``, ``local`` or HOST:PORT; likewise, else auto.

    Raises:
        ValueError: The study, its data or its stores are wrong; the message says all that is.

    Example:
        >>> import harness
        >>> from rich.console import Console
        >>> study = {
        ...     "study": "first",
        ...     "version": 2,
        ...     "question": "Is a GRU better than an LSTM?",
        ...     "compare": {
        ...         "cross": {"cell": ["lstm", "gru"]},
        ...         "baseline": {"cell": "lstm"},
        ...     },
        ...     "fix": {
        ...         "corpus": "time-machine",
        ...         "hidden_size": 8,
        ...         "budget": {"updates": 4},
        ...         "evaluations": 1,
        ...     },
        ...     "replicate": {"seeds": 6},
        ...     "measure": {"runtime": None},
        ... }
        >>> report = harness.run(study, folder="results", console=Console(quiet=True))
        >>> [result.name for result in report.results]
        ['lstm', 'gru']
    """
    from harness.runner import launch
    from harness.store import configuration

    locations = configuration.locate(study, folder, tracking, storage)
    kind, address = configuration.executor(study, executor, executor_address)
    return launch.run(
        study,
        overrides=tuple(overrides),
        locations=locations,
        force=force,
        new=new,
        console=console,
        verbose=verbose,
        executor=kind,
        address=address,
    )


def load(
    study: str | Path,
    folder: str | Path | None = None,
    tracking: str | None = None,
    *,
    overrides: Sequence[str] = (),
) -> "Results":
    """Returns a study's runs, curves, timings and verdict as data frames.

    Args:
        study: Its name in MLflow, or its YAML file.
        folder: Where ``mlflow.db`` lies; None: as :func:`run` finds it.
        tracking: MLflow's store, as ``harness run`` was given it; None: as :func:`run` finds it.
        overrides: As ``harness run`` was given them; a study's name needs none.

    Raises:
        ValueError: The study is not in the store, or is another there.

    Example:
        Of the study that the example of :func:`run` has run:

        >>> import harness
        >>> results = harness.load("first", folder="results")
        >>> len(results.runs), results.runs["seed"].nunique()
        (12, 6)
        >>> sorted(results.verdict["arm"])
        ['gru', 'lstm']
    """
    from harness.results import export

    return export.load(study, folder, tracking, overrides=overrides)


def load_model(
    run: str,
    folder: str | Path | None = None,
    tracking: str | None = None,
    *,
    cell_files: Sequence[str | Path] = (),
    changed_cell: bool = False,
) -> "TrainedModel":
    """Returns what a finished run learned, to score texts and to sample.

    Args:
        run: ``STUDY:ARM:SEED``, ``STUDY:CONDITION/ARM:SEED``, in the second repeat
            ``STUDY:ARM@1:SEED`` (the first has no mark); or the id of an MLflow run.
        folder: Where ``mlflow.db`` lies; None: as :func:`run` finds it.
        tracking: MLflow's store, as ``harness run`` was given it; None: as :func:`run` finds it.
        cell_files: Python files of cells of your own that the run needs.
        changed_cell: Take the cell even where its source was changed since.

    Raises:
        ValueError: There is no such run, it has no model, or its cell is unknown or another now.

    Example:
        Of the study that the example of :func:`run` has run:

        >>> import harness
        >>> model = harness.load_model("first:lstm:1000", folder="results")
        >>> len(model.sample("the ", 20, temperature=0.7))
        24
    """
    from harness.results import trained_models

    return trained_models.load_model(
        run, folder, tracking, cell_files=cell_files, changed_cell=changed_cell
    )


def load_module(
    run: str,
    folder: str | Path | None = None,
    tracking: str | None = None,
    *,
    cell_files: Sequence[str | Path] = (),
    changed_cell: bool = False,
    engine: str = "auto",
) -> "LanguageModel | SequenceModel":
    """Returns what a finished run learned as a module of torch: lookup, layers and read-out.

    Of a run of language it is a ``LanguageModel``, of any other a ``SequenceModel``.

    Args:
        run: As :func:`load_model` takes it; or a file that ``harness export-model`` wrote,
            NAME.safetensors.
        folder: Where ``mlflow.db`` lies; None: as :func:`run` finds it.
        tracking: MLflow's store, as ``harness run`` was given it; None: as :func:`run` finds it.
        cell_files: Python files of cells of your own that the run needs.
        changed_cell: Take the cell even where its source was changed since.
        engine: What runs the layers; ``auto``: the fastest that can.

    Raises:
        ValueError: There is no such run, it has no model, or its cell is unknown or another now.

    Example:
        Of the study that the example of :func:`run` has run:

        >>> import harness, torch
        >>> model = harness.load_module("first:lstm:1000", folder="results")
        >>> tokens = torch.from_numpy(model.vocabulary.encode("the time"))
        >>> scores, (h, c) = model(tokens.unsqueeze(1))
        >>> tuple(scores.shape), tuple(h.shape)
        ((8, 1, 44), (1, 1, 8))
    """
    from harness.results import modules

    return modules.load_module(
        run, folder, tracking, cell_files=cell_files, changed_cell=changed_cell, engine=engine
    )
