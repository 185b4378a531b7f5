"""Artifacts that must lie on this machine and do not: what is said of them."""

from harness.store.reader import StudyReader


def missing_artifacts(reader: StudyReader) -> str | None:
    """Returns what is lost with the artifacts of a study's runs; None where all are there."""
    folders = reader.missing_artifacts()
    if not folders:
        return None
    of_runs = " and ".join(
        f"of {count} run{'s' * (count > 1)} in {folder}" for folder, count in folders.items()
    )
    return (
        f"artifacts: those {of_runs} must be there, but are missing, and with them curves, "
        "timings, samples and models. Move the folder back, or beside mlflow.db; the results "
        "themselves are in the database, and nothing has to be trained again."
    )
