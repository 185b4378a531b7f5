"""The texts that a study names and that are not there, before any of them is read.

A study whose text is gone may be read all the same, since what is stored of it needs none. So they
are told beside whatever else is wrong with it, and where its runs are to read them.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath

from harness.data import corpora, sources
from harness.data.errors import DataError
from harness.data.text import File, expanded
from harness.study.arms import ArmDraft
from harness.study.document import Path, Problem
from harness.study.parse import Parsed


def problems(
    parsed: Parsed, arms: Sequence[ArmDraft], folder: FilePath | None
) -> Iterator[Problem]:
    """Yields what is said of each; a path is looked for in ``folder``, as a study's runs do."""
    for arm in arms:
        for path, name in _named(arm):
            place = name if folder is None else os.path.normpath(folder / name)
            try:
                _find(arm.value("corpus"), place, ".".join(map(str, path)))
            except DataError as error:
                at = (*arm.paths[str(path[0])], *path[1:])
                for line in str(error).splitlines():
                    message = line.partition(": ")[2]  # it begins with the field
                    yield parsed.document.at_value(at, message, error.code)


def _named(arm: ArmDraft) -> Iterator[tuple[Path, str]]:
    """Yields the fields by which an arm names files that its corpus reads, and their paths."""
    corpus = corpora.BY_NAME.get(arm.value("corpus"))
    is_read = arm.value("corpus") in sources.TAKES_PATH or (corpus and corpus.takes_path)
    path, paths = arm.value("path"), arm.value("paths")
    if is_read and path is not None and "path" not in arm.invalid:
        yield ("path",), path
    if corpus and corpus.takes_paths and paths is not None and "paths" not in arm.invalid:
        yield from ((("paths", split), each) for split, each in vars(paths).items())


def _find(corpus: str, place: str, field: str) -> None:
    """Raises DataError where there is no such file, or no folder where the corpus is read of one.

    It says what reading it would say.
    """
    if corpus != "mnist":
        File(place, field).place()
    elif not expanded(place).is_dir():
        from harness.data.sequences import idx  # it loads NumPy

        idx.read_pair(place, "train")
