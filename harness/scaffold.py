"""What ``harness init`` writes: a study that runs, or a cell of one's own with its test."""

import keyword
import re
import shlex
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from cells import registry
from cells.copying import copied_source
from cells.spelling import nearest
from harness import documents
from harness.store.folders import take_files
from harness.study import absent
from harness.study.blocks import STUDY_NAME
from harness.study.reader import read

TEMPLATES = Path(__file__).with_name("templates")


class ScaffoldError(ValueError):
    """The files cannot be written; the message says why."""


def write_study(name: str | None, folder: Path, shipped: str | None = None) -> list[str]:
    """Writes a study file and returns lines that name it and what to do with it.

    Args:
        name: The study's; ``quickstart`` by default, or the shipped study's.
        folder: Made where it is not there.
        shipped: The shipped study that it begins as a copy of; None: every line has a comment.

    Raises:
        ScaffoldError: The name is none for a study, or the file exists.
    """
    name = _checked(name or shipped or "quickstart", "study")
    path = folder / f"{name}.yaml"
    _write({path: _template("study.yaml", name) if shipped is None else _renamed(shipped, name)})
    shown = shlex.quote(str(path))
    return [
        f"{path}: written" + (f", a copy of {shipped}" if shipped else ""),
        f"{documents.place('docs/study.md')}  explains every field",
        f"harness check {shown}  tells what it costs and can show",
        f"harness run {shown}  runs it to its verdict",
    ]


def write_cell(name: str | None, folder: Path, shipped: str | None = None) -> list[str]:
    """Writes a file with a cell and one with its test, and returns lines on what to do with them.

    Args:
        name: The cell's; ``my-cell`` by default, or ``my-`` and the shipped cell's.
        folder: Made where it is not there.
        shipped: The shipped cell that the cell begins as a copy of, or a preset of one; None: it is
            a small example.

    Raises:
        ScaffoldError: The name is none for a cell or is taken, no such cell is shipped, or a file
            exists.
    """
    known = [*registry.shipped_names(), *registry.PRESETS]
    if shipped is not None and shipped not in known:
        studies = absent.shipped()
        near = nearest(shipped, [*known, *studies])
        all_of_them = f"`harness cells` lists the cells; the studies: {', '.join(studies)}."
        hint = f"Did you mean {near[0]}?" if near else all_of_them
        raise ScaffoldError(
            f"from: must be a shipped cell or study, but got from={shipped!r}. {hint}"
        )
    name = _checked(name or f"my-{shipped or 'cell'}", "cell")
    if name in {*registry.names(), *registry.PRESETS}:
        hint = f"`harness init {name}-changed --from {name}` begins with a copy of it."
        raise ScaffoldError(
            f"cell: must have a name of its own, but got name={name!r}, which is taken. Choose "
            + (f"another: {hint}" if name in known else "another.")
        )
    copied, settings = registry.PRESETS.get(shipped or "", (shipped, {}))
    module = name.replace("-", "_")
    path, test = folder / f"{module}.py", folder / f"test_{module}.py"
    head = _template("cell.py", name) if copied is None else _copy(copied, name)
    # The test of a copy has no equations: they are the shipped cell's, which has tests of its own.
    tests = "test_equations.py" if copied is None else "test_cell.py"
    _write({path: head, test: _template(tests, name)})
    shown = shlex.quote(str(path))
    return [
        f"{path}: written" + (f", a copy of {copied}" if copied else ""),
        f"{test}: written, a test for pytest",
        f"harness cells test {shown}  holds the cell to the contract of all cells",
        f"harness cells --file {shown} show {name}  shows its page",
        f"cells: [{path.name}]  in a study beside it makes `cell: {name}` known there",
        *(
            f"{field}: {value}  under its fix makes the copy what {shipped} is"
            for field, value in settings.items()
        ),
    ]


def _checked(name: str, kind: str) -> str:
    rule = _rule_broken(name, kind)
    if not rule:
        return name
    example = re.sub("[^a-z0-9]+", "-", Path(name).stem.lower()).strip("-") or f"my-{kind}"
    if _rule_broken(example, kind):
        example = f"my-{example}"
    raise ScaffoldError(
        f"{kind}: must have a name {rule}, but got name={name!r}. Write for example {example}."
    )


def _rule_broken(name: str, kind: str) -> str:
    """Returns what a name must be and is not; nothing where all is well."""
    if not re.fullmatch(STUDY_NAME, name) or (kind == "cell" and not name[0].isalpha()):
        return "of lower-case letters, digits and dashes" + (
            " that begins with a letter" if kind == "cell" else ""
        )
    if not isinstance(read(name, "name").data, str):
        return "that a study reads as text"
    if kind == "cell" and keyword.iskeyword(_class_name(name)):
        return "whose class is no keyword of Python"
    if kind == "cell" and _is_module(name.replace("-", "_")):
        return "that is no module's, which its file would hide"
    return ""


def _is_module(name: str) -> bool:
    """Returns whether Python finds a module of that name, were it not for the working directory."""
    paths = [path for path in sys.path if Path(path).resolve() != Path.cwd()]
    found = PathFinder.find_spec(name, paths)
    return name in sys.stdlib_module_names or (found is not None and found.origin is not None)


def _renamed(shipped: str, name: str) -> str:
    """Returns the text of a shipped study under another name, without what lies beside it."""
    text = absent.shipped()[shipped].read_text(encoding="utf-8")
    text = re.sub(r"\A# yaml-language-server:.*\n", "", text)
    return re.sub(r"(?m)^study: .*$", f"study: {name}", text, count=1)


def _copy(shipped: str, name: str) -> str:
    head = (
        f'"""A copy of {shipped}: change an equation in the docstring, then `step` until it says '
        'the same."""\n\n'
    )
    return head + copied_source(shipped, name, _class_name(name))


def _template(template: str, name: str) -> str:
    text = (TEMPLATES / f"{template}.template").read_text(encoding="utf-8")
    words = {"NAME": name, "MODULE": name.replace("-", "_"), "CLASS": _class_name(name)}
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def _write(contents: dict[Path, str]) -> None:
    """Writes all files, or none where one of them exists."""
    for path in contents:
        if path.exists():
            raise ScaffoldError(
                f"init: must not overwrite a file, but got path={str(path)!r}, which exists. "
                "Choose another name, or another --folder."
            )
    for folder in {path.parent for path in contents}:
        take_files(folder, "folder", "Name another with --folder.")
    for path, text in contents.items():
        path.write_text(text, encoding="utf-8")
