"""Pictures of what a terminal of 80 and of 120 columns shows of a study that has ended.

``python tools/terminal_pictures.py`` writes docs/images/terminal-*.svg from the records of the
study that the README tells of. They ask for nothing over the network.
"""

import io
import re
from pathlib import Path

import result_tables
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

OUT = Path(__file__).resolve().parent.parent / "docs" / "images"
STUDY = "quickstart"
WIDTHS = (80, 120)
# Without the fonts that the format would fetch: the reader's own of fixed width is as good.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def picture(width: int) -> str:
    """Returns an SVG of the short report in a terminal of so many columns."""
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    console.print(f"$ harness report {STUDY}", highlight=False)
    result_tables.asked_report(STUDY).terminal(console)
    title = f"{width} columns"
    return console.export_svg(title=title, code_format=FORMAT, unique_id=f"terminal{width}")


if __name__ == "__main__":
    for width in WIDTHS:
        path = OUT / f"terminal-{width}.svg"
        path.write_text(picture(width), encoding="utf-8")
        print(path)
