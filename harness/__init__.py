"""A bench for ablating recurrent cells. Start at README.md, then studies/quickstart.yaml, cells/lstm.py."""

from typing import Any


def run(study: str, **options: Any) -> Any:
    """Runs a study to its verdict; the same as ``harness run STUDY``. See :func:`harness.search.run`."""
    from harness import search  # imported late: `import harness` alone must not load torch, optuna or mlflow

    return search.run(study, **options)
