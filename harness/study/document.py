"""A study file as plain values with their positions, and what is wrong with it."""

from dataclasses import dataclass, field
from typing import Any

Path = tuple[str | int, ...]
Position = tuple[int, int]


@dataclass(frozen=True)
class Problem:
    """One fault.

    ``line`` and ``column`` count from 1; 0 where ``source`` is an override and not a file. ``code``
    names its kind for good: docs/messages.md explains it.
    """

    line: int
    column: int
    where: str
    message: str
    source: str
    code: str

    def __str__(self) -> str:
        """``FILE:LINE:COL: where: message [code]``, or with ``--set PATH=VALUE`` in front."""
        place = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        return f"{place}: {self.where}: {self.message} [{self.code}]"


class StudyError(ValueError):
    """A study that cannot be run; ``problems`` holds everything wrong with it, in file order."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.line == 0, p.line, p.column))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass
class Document:
    """Plain values, the position of every one, and what was wrong in reading them.

    Attributes:
        source: The name of the file.
        data: The values; None after bad syntax.
        keys: Path -> the position of the name there.
        values: Path -> the position of the value there.
        overrides: Path -> the label of the override that gave its value.
        problems: What was wrong.
        invalid_paths: The paths whose values stand for something else, after a problem that has
            been reported.
        moved: Path in this document -> the path in the file at which the value stands.
    """

    source: str
    data: Any = None
    keys: dict[Path, Position] = field(default_factory=dict)
    values: dict[Path, Position] = field(default_factory=dict)
    overrides: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    invalid_paths: set[Path] = field(default_factory=set)
    moved: dict[Path, Path] = field(default_factory=dict)

    def in_file(self, path: Path) -> Path:
        """Returns where the value at ``path`` stands in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.moved:
                return self.moved[path[:length]] + path[length:]
        return path

    def at_key(self, path: Path, message: str, code: str) -> Problem:
        """Returns a problem with the name at ``path``, or with what should stand there."""
        return self._problem(self.keys, path, message, code)

    def at_value(self, path: Path, message: str, code: str) -> Problem:
        """Returns a problem with the value at ``path``."""
        return self._problem(self.values, path, message, code)

    def _problem(
        self, positions: dict[Path, Position], path: Path, message: str, code: str
    ) -> Problem:
        path = self.in_file(path)
        for length in range(len(path), -1, -1):
            near = path[:length]
            if near in self.overrides:
                return Problem(0, 0, dotted(path), message, self.overrides[near], code)
            if near in positions or near in self.values:
                # An ancestor is shown by its key: "fix lacks something" belongs to the word `fix`.
                at = positions.get(near) if near == path else self.keys.get(near)
                return Problem(*(at or self.values[near]), dotted(path), message, self.source, code)
        return Problem(1, 1, dotted(path), message, self.source, code)


def dotted(path: Path) -> str:
    """Returns ``compare.cross.cell[0]`` for ``("compare", "cross", "cell", 0)``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "study file"
