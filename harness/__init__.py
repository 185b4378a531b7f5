"""A bench for ablating recurrent cells. Start at README.md, then studies/quickstart.yaml, cells/lstm.py."""

from typing import Any


def run(study: str, **options: Any) -> Any:
    """Runs a study to its verdict and returns the report; see :func:`harness.launch.run` for the options."""
    from harness import launch  # late, so that `import harness` alone loads neither torch nor optuna nor mlflow

    return launch.run(study, **options)
