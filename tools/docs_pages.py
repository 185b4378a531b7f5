"""Writes the generated pages of the documentation: docs/generated, which is not committed.

``docs/conf.py`` calls it before every build, so that no page is older than what it is made of.
"""

from collections.abc import Sequence
from pathlib import Path

import docs_commands
import docs_gallery
import docs_links
import docs_python

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "studies" / "RESULTS.md"


def pages(reports: Sequence[str]) -> dict[str, str | bytes]:
    """Returns every generated page, and what it shows, by its path in the folder.

    ``reports`` names the studies whose whole report the gallery has; each takes two seconds.
    """
    made = docs_gallery.reports(reports)
    return {
        "commands.md": docs_commands.page(),
        "python.md": docs_python.page(),
        "cells.md": docs_python.cells_page(),
        "gallery.md": docs_gallery.page(RESULTS.read_text(encoding="utf-8"), set(made)),
        **docs_links.outside_pages(),
        **made,
    }


def write(folder: Path, reports: Sequence[str]) -> None:
    """Writes the pages into a folder, and removes others: Sphinx would copy them to the site.

    A file that would not change is left alone: Sphinx reads again what has been touched.
    """
    made = pages(reports)
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in made:
            path.unlink()
    for name, content in made.items():
        path = folder / name
        data = content.encode("utf-8") if isinstance(content, str) else content
        if not path.exists() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
