"""A bench for ablating recurrent cells.

Start at README.md, then studies/quickstart.yaml, cells/lstm.py.
"""

from typing import Any

# Late imports, so that `import harness` alone loads neither torch nor optuna nor mlflow.


def run(study: str, **options: Any) -> Any:
    """Runs a study to its verdict and returns the report; see :func:`harness.runner.launch.run` for
    the options.
    """
    from harness.runner import launch

    return launch.run(study, **options)


def load(study: str, folder: str = ".", **options: Any) -> Any:
    """Returns a study's runs, curves, timings and verdict as data frames; see
    :func:`harness.exporting.load`.
    """
    from harness.results import export

    return export.load(study, folder, **options)


def load_model(run: str, folder: str = ".", **options: Any) -> Any:
    """Returns what a finished run learned, to score texts and to sample; see
    :func:`harness.models.load_model`.
    """
    from harness.results import trained_models

    return trained_models.load_model(run, folder, **options)
