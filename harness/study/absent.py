"""What is said of a study's file that is not there."""

from pathlib import Path

from cells.spelling import nearest
from harness import documents

SUFFIXES = (".yaml", ".yml")


def shipped() -> dict[str, Path]:
    """Returns the studies that come with the bench, by their names."""
    return {path.stem: path for path in sorted(Path(documents.place("studies")).glob("*.yaml"))}


def message(path: Path) -> str:
    """Returns which rule a path breaks at which there is no file, and what to do.

    Files beside it whose names come near are named, and how a shipped study is copied.
    """
    beside = {each.stem: each.name for each in _files(path.parent) if each.suffix in SUFFIXES}
    near = [str(path.with_name(beside[stem])) for stem in nearest(path.stem, beside, 3)]
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    known = shipped()
    alike = nearest(path.stem, known, 3)
    names = " or ".join(alike) if alike else f"one of {', '.join(known)}"
    return (
        f"must exist, but got path={str(path)!r}. {meant}`harness init` writes a study, and "
        f"`harness init --from NAME` a copy of a shipped one, where NAME is {names}."
    )


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # the folder is not there either
        return []
