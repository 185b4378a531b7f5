"""Writes the whole report of each study whose records are kept, as a page.

``make results`` writes build/results/STUDY/report.html, which is not committed: it is the records
in another form.
"""

from pathlib import Path

import result_tables

FOLDER = Path(__file__).resolve().parent.parent / "build" / "results"


def write(name: str, folder: Path = FOLDER) -> Path:
    """Writes the page of a study from its records, and returns the path."""
    path = folder / name / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(result_tables.asked_report(name).html(), encoding="utf-8")
    return path


if __name__ == "__main__":
    for study in result_tables.ASKED:
        print(write(study))
