"""Pages that lie outside docs/ and are part of the site all the same, and the links to them.

In the repository a link leads from file to file. On the site CONTRIBUTING.md is a generated page,
so that links to it, and those in it, must lead elsewhere.
"""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "studies/RESULTS.md": "results.md",
    "studies/bench/gpu/README.md": "kernels.md",
}
"""File of the repository -> the generated page that shows it."""
LINK = re.compile(r"(?<=\]\()(?!https?:|#|/)([^)#\s]+)(#[^)\s]*)?(?=\))")


def on_the_site(text: str, folder: str) -> str:
    """Returns the text of a page with the links that it has on the site.

    Args:
        text: Markdown, with links relative to the folder.
        folder: Where the page lies in the repository, such as ``docs/how-to``.
    """

    def moved(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        target = posixpath.normpath(posixpath.join(folder, path))
        if target in OUTSIDE:
            return f"/generated/{OUTSIDE[target]}{anchor}"
        if target.startswith("docs/"):
            return f"{target.removeprefix('docs')}{anchor}"
        return f"/../{target}{anchor}"

    return LINK.sub(moved, text)


def outside_pages() -> dict[str, str]:
    """Returns the pages that lie outside docs/, by their names in docs/generated."""
    return {
        name: re.sub(
            r"<!-- .* -->\n?",
            "",
            on_the_site((ROOT / path).read_text(encoding="utf-8"), posixpath.dirname(path)),
        )
        for path, name in OUTSIDE.items()
    }
