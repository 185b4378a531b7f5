"""Where the documents and the shipped studies lie: in the repository, or in what was installed."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def place(document: str) -> str:
    """Returns the path under which a reader finds a document or a study of the repository.

    In the repository's folder that is the name itself, as all its texts write it; elsewhere the
    path says where it is. An install holds the folders ``docs`` and ``studies`` in the package.

    >>> from pathlib import Path
    >>> Path(place("docs/study.md")).name
    'study.md'
    """
    installed = _PACKAGE / document
    if installed.exists():
        return str(installed)
    return document if Path.cwd() == _PACKAGE.parent else str(_PACKAGE.parent / document)
