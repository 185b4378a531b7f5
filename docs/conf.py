"""How Sphinx builds the site: ``make docs`` writes it to build/docs, with warnings as errors.

Nothing is fetched when a page is viewed: the theme's fonts are the reader's own, its icons are part
of the page, and the search runs in the browser over an index that lies beside the pages.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

# They lie in tools.
import docs_links  # noqa: E402
import docs_pages  # noqa: E402
import result_tables  # noqa: E402

project = "recurrent-bench"
author = "the authors of recurrent-bench"
project_copyright = author
html_title = project

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
suppress_warnings = ["misc.highlighting_failure"]  # an excerpt of a file need not be whole

html_theme = "furo"
html_static_path = ["site.css", "site.js"]
html_extra_path = ["generated/extra"]  # whole reports, each a page of its own
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = False  # it is fetched page by page, which a browser refuses on a disk


def setup(app: Any) -> None:
    """Writes the generated pages before Sphinx looks for pages."""
    names = result_tables.ASKED if app.tags.has("reports") else ("quickstart",)
    docs_pages.write(ROOT / "docs" / "generated", names)
    app.connect("source-read", _for_the_site)


def _for_the_site(app: Any, name: str, source: list[str]) -> None:
    """Changes what the repository and the site have in different places.

    Links out of docs/ lead to generated pages. The list of decisions is a table that people keep,
    and Sphinx asks for a list of its own beside it.
    """
    if not name.startswith("generated/"):
        source[0] = docs_links.on_the_site(source[0], f"docs/{name}".rpartition("/")[0])
    if name == "decisions/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n[!R]*\n```\n"
