"""From a study file to a :class:`~harness.study.model.Study`."""

import copy
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import documents
from harness.settings.values import shown
from harness.study import absent, build, missing_texts, reader, rules, space
from harness.study.arms import ArmDraft
from harness.study.document import Document, Problem, StudyError
from harness.study.document import Path as DocumentPath
from harness.study.fields import FIELDS
from harness.study.model import Study
from harness.study.parse import Parsed, parse
from harness.study.reader import MAX_BYTES
from harness.study.units import Unit


def is_file(study: str) -> bool:
    """Returns whether ``study`` is a study's file, and not its name in a store."""
    return Path(study).suffix in (".yaml", ".yml") or Path(study).is_file()


def load(path: str | Path, overrides: Iterable[str] = (), *, without_cells: bool = False) -> Study:
    """Reads a study file; each override is ``PATH=VALUE``, such as ``fix.hidden_size=128``.

    ``without_cells`` says that nothing of the files of cells is run, which may be gone or wrong:
    what is stored of such a study can be read, and it cannot be run.

    Raises:
        StudyError: The file or an override is wrong; it holds every problem.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise _unreadable(path, absent.message(path)) from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        example = documents.place("studies/quickstart.yaml")
        remedy = f"Give the path of a study file, such as {example}"
        raise _unreadable(path, f"must be readable, but got {_words(error)}. {remedy}.") from error
    if len(content) > MAX_BYTES:
        raise _unreadable(
            path,
            f"must have at most {MAX_BYTES} bytes, but got more. Give the path of a study file.",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        got = f"byte={content[error.start]:#04x}"
        raise _unreadable(
            path, f"must be UTF-8, but got {got}. Save it as UTF-8.", line, column
        ) from error
    return _study(text, str(path), path, tuple(overrides), without_cells)


def loads(
    text: str,
    name: str = "study.yaml",
    overrides: Iterable[str] = (),
    *,
    path: Path | None = None,
    without_cells: bool = False,
) -> Study:
    """Reads a study from text.

    Files that it names are looked for beside ``path``, or in the working directory;
    ``without_cells`` is as in :func:`load`.

    Raises:
        StudyError: The text or an override is wrong; it holds every problem.
    """
    return _study(text, name, path, tuple(overrides), without_cells)


def from_dict(values: Mapping[str, Any], overrides: Iterable[str] = ()) -> Study:
    """Reads a study from the values that its file would hold.

    Files that it names are looked for in the working directory. Problems have the lines that the
    study has as a file; :func:`dump` writes that.

    Raises:
        StudyError: A value or an override is wrong; it holds every problem.
    """
    source = "the study"
    try:
        text = reader.dump(dict(values))
    except reader.UnwritableError as error:
        message = (
            "must hold texts, numbers, true or false, None, lists and dicts alone, "
            f"but got {error}. Convert it."
        )
        raise StudyError([Problem(1, 1, "values", message, source, "wrong-kind")]) from error
    return _study(text, source, None, tuple(overrides))


def _words(error: OSError | ValueError) -> str:
    """Returns what the system says of a file, without its number and the path again."""
    return getattr(error, "strerror", None) or str(error)


def _unreadable(path: Path, message: str, line: int = 1, column: int = 1) -> StudyError:
    return StudyError([Problem(line, column, "study file", message, str(path), "unreadable-file")])


@dataclass(frozen=True)
class Read:
    """A file that has been read, right or wrong.

    Attributes:
        parsed: Its form.
        parts: That of every condition as a study by itself; without a name where there is none.
        arms: The arms of each.
        problems: Everything that is wrong.
    """

    parsed: Parsed
    parts: dict[str, Parsed]
    arms: dict[str, list[ArmDraft]]
    problems: list[Problem]


def read_again(study: Study) -> Read:
    """Returns a study's file with its overrides; nothing of the files of its cells is run."""
    folder = study.path.parent if study.path else Path()
    return _read(study.text, study.name, folder, study.overrides, without_cells=True)


def problem_of_arms(
    study: Study, arms: Sequence[str], path: DocumentPath, message: str, code: str
) -> Problem:
    """Returns a problem that shows only where arms are to run, with its place in the study's file.

    Args:
        study: All its conditions.
        arms: The keys of the arms that have it; one at least.
        path: The field that is wrong; of a setting its name alone, wherever the arms have it from.
        message: The rule, the value and the remedy.
        code: Of :data:`harness.study.codes.CODES`.
    """
    folder = study.path.parent if study.path else Path()
    read = _read(study.text, _shown_source(study), folder, study.overrides)
    unit = Unit.parse(arms[0])
    part = read.parts[unit.condition]
    if path[0] in FIELDS:
        draft = next(draft for draft in read.arms[unit.condition] if draft.name == unit.arm)
        name = str(path[0])
        block = "tune" if name in space.domains(part) else "fix"
        path = (*draft.paths.get(name, (block, name)), *path[1:])
    found = part.document.at_value(path, message, code)
    if len(arms) == len(study.arms):
        return found
    return dataclasses.replace(found, where=f"{found.where} (of {', '.join(arms)})")


def problems_of_texts(study: Study) -> list[Problem]:
    """Returns which texts a study names that are not there."""
    folder = study.path.parent if study.path else Path()
    shown = _shown_source(study)
    read = _read(study.text, shown, folder, study.overrides, without_cells=True)
    return _missing_texts(read, study.path)


def _missing_texts(read: Read, path: Path | None) -> list[Problem]:
    folder = path.parent.absolute() if path else None
    found = (
        problem
        for name, part in read.parts.items()
        for problem in missing_texts.problems(part, read.arms[name], folder)
    )
    return list(dict.fromkeys(found))


def _shown_source(study: Study) -> str:
    """Returns a study's file as a person in the working directory would write it."""
    if study.path is None:
        return study.name
    is_near = study.path.is_relative_to(Path.cwd())
    return os.path.relpath(study.path) if is_near else str(study.path)


def _study(
    text: str,
    source: str,
    path: Path | None,
    overrides: tuple[str, ...],
    without_cells: bool = False,
) -> Study:
    read = _read(text, source, path.parent if path else Path(), overrides, without_cells)
    if read.problems:
        missing = [] if without_cells else _missing_texts(read, path)
        raise StudyError([*read.problems, *missing])
    file = build.StudyFile(text, path, overrides)
    studies = [
        build.study_of(part, read.arms[name], name, file) for name, part in read.parts.items()
    ]
    return studies[0] if "" in read.parts else build.joined(read.parsed, studies)


def _read(
    text: str,
    source: str,
    folder: Path,
    overrides: tuple[str, ...],
    without_cells: bool = False,
) -> Read:
    """Returns what a text holds; files that it names are looked for in ``folder``.

    Raises:
        StudyError: It is no mapping.
    """
    document = reader.read(text, source)
    if document.data is None and document.problems:
        raise StudyError(document.problems)
    if not isinstance(document.data, dict):
        message = f"must be a mapping, but got {shown(document.data)}. Start with study: NAME."
        raise StudyError([*document.problems, document.at_value((), message, "wrong-kind")])
    _override(document, overrides)
    parsed, problems = parse(document)
    # Each condition is checked as a study by itself, so that no rule needs to know of conditions.
    parts = {name: parse(part)[0] for name, part in conditions(document).items()} or {"": parsed}
    arms = {}
    problems = [*document.problems, *problems]
    for name, part in parts.items():
        arms[name], part_problems = rules.check(part, folder, without_cells)
        problems += part_problems
    problems += rules.across({name: (part, arms[name]) for name, part in parts.items()})
    return Read(parsed, parts, arms, list(dict.fromkeys(problems)))


def _override(document: Document, overrides: tuple[str, ...]) -> None:
    for override in overrides:
        dotted, equals, value = override.partition("=")
        names = tuple(dotted.strip().split("."))
        label = f"--set {override}"
        if not equals or not all(names):
            message = (
                f"must be PATH=VALUE, but got {override!r}. Write for example fix.hidden_size=128."
            )
            document.problems.append(Problem(0, 0, "override", message, label, "override"))
        else:
            reader.override(document, names, value, label)


def conditions(document: Document) -> dict[str, Document]:
    """Returns the study of every condition as a document by itself.

    The values of such a document have their positions in this one.
    """
    across = document.data.get("across")
    changes = across.items() if isinstance(across, dict) else ()
    return {name: _under(document, name) for name, fields in changes if isinstance(fields, dict)}


def _under(document: Document, condition: str) -> Document:
    """Returns the document in which the fields of a condition stand in ``tune`` and ``fix``."""
    data = copy.deepcopy(document.data)
    fields = data.pop("across")[condition]
    moved: dict[DocumentPath, DocumentPath] = {}
    for block, values, path in (
        ("tune", fields.pop("tune", {}), ("across", condition, "tune")),
        ("fix", fields, ("across", condition)),
    ):
        if isinstance(values, dict) and values and isinstance(data.setdefault(block, {}), dict):
            data[block] |= values
            moved |= {(block, field): (*path, field) for field in values}
    invalid_paths = {path for path in document.invalid_paths if path[:1] != ("across",)}
    invalid_paths |= {
        to + path[len(real) :]
        for to, real in moved.items()
        for path in document.invalid_paths
        if path[: len(real)] == real
    }
    return dataclasses.replace(document, data=data, invalid_paths=invalid_paths, moved=moved)
