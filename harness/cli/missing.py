"""What is said where an install of the layer alone is asked for a command.

It stands apart from all that is not of the standard library: that is what may be missing.
"""

MODULES = (
    "filelock",
    "matplotlib",
    "mlflow",
    "optuna",
    "pandas",
    "platformdirs",
    "psutil",
    "pyarrow",
    "pydantic",
    "rich",
    "scipy",
    "typer",
    "yaml",
)
"""The modules that the extra ``studies`` installs, and a layer does without."""


def told_of(error: ModuleNotFoundError) -> str | None:
    """Returns what is said of a module that could not be imported; None of one of no extra."""
    name = (error.name or "").partition(".")[0]
    if name not in MODULES:
        return None
    return (
        f"harness: the commands need {name}, which is not installed; harness.Recurrent and `python "
        "-m harness.bench` work without. Install it: pip install 'recurrent-bench[studies]'."
    )
