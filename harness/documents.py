"""Where the documents and the shipped studies lie: in the repository, or in what was installed."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def place(document: str) -> str:
    """Returns the path under which a reader finds a document or a study of the repository.

    In the repository that is the name itself, as all its texts write it. An install holds the
    folders ``docs`` and ``studies`` within the package, and the path says where that is.

    >>> from pathlib import Path
    >>> Path(place("docs/study.md")).name
    'study.md'
    """
    installed = _PACKAGE / document
    return str(installed) if installed.exists() else document
