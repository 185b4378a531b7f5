"""YAML in, plain values with their positions out; no anchors, tags or surprises.

Scalars follow the core schema of YAML 1.2, where PyYAML alone follows 1.1: ``1e-3`` is a number,
``no`` and ``on`` are text. What the two read differently (``300_000``, ``007``) is refused. Aliases
would let a small file grow without bound, so there are none.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from harness.settings.values import shown
from harness.study.document import Document, Path, Position, Problem, dotted

MAX_BYTES: Final = 1_000_000

MAX_DEPTH: Final = 20

MAX_DIGITS: Final = 30

_NULL = re.compile(r"~|null|Null|NULL|")

_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")

_FLOAT = re.compile(
    r"[-+]?((\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN)"
)

_AMBIGUOUS = re.compile(r"[-+]?(0[0-9]+|[0-9][0-9_]*_[0-9_]*)")

_GROUPS = re.compile(r"(,[0-9]+)+(?![^,}\s])")
"""What follows the first digits of a number with commas, ``2,000,000``, between braces."""

_LIST = re.compile(r"\[([0-9,\s]+)\]")
"""A list of whole numbers in brackets."""

_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])")
"""A number with commas, as it may stand in a list; or several numbers of a list without blanks."""

_DOT_OF_WORD = re.compile(r"\.(?=[iInN])")

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def read(text: str, source: str) -> Document:
    """Reads one YAML document.

    Every fault is in the result's ``problems``; after bad syntax ``data`` is None.
    """
    document = Document(source)
    try:
        _Builder(document, text).build()
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        position = (before.count("\n") + 1, error.position - before.rfind("\n"))
        _refuse(
            document,
            position,
            f"must be printable text, but got character={error.character:#x}. Remove it.",
            "yaml-text",
        )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        _refuse(
            document,
            position,
            f"must be valid YAML, but got a fault: {error.problem or error.context}. "
            f"{_remedy(error)}",
            "yaml-syntax",
        )
    except (ValueError, OverflowError) as error:
        # PyYAML converts escapes and versions without a look at their range.
        _refuse(
            document,
            (1, 1),
            f"must be valid YAML, but got a fault: {error}. "
            "Remove the escape that names no character.",
            "yaml-text",
        )
    return document


def override(document: Document, path: tuple[str, ...], text: str, label: str) -> None:
    """Puts the YAML value ``text`` at ``path`` and makes the mappings on the way.

    ``label`` names the override in problems.
    """
    value = read(text, label)
    document.problems += [
        dataclasses.replace(p, line=0, column=0, where=dotted(path)) for p in value.problems
    ]
    if value.data is None and value.problems:
        return
    document.invalid_paths |= {path + below for below in value.invalid_paths}
    target = document.data
    for depth, name in enumerate(path[:-1]):
        target = target.setdefault(name, {})
        if not isinstance(target, dict):
            here = dotted(path[: depth + 1])
            message = (
                f"must be a mapping to hold a field, but got {here}={shown(target)}. "
                f"Override {here} itself."
            )
            document.problems.append(Problem(0, 0, dotted(path), message, label, "override"))
            return
    target[path[-1]] = value.data
    for positions in (document.keys, document.values):
        for old in [p for p in positions if p[: len(path)] == path]:
            del positions[old]
    document.overrides = {p: v for p, v in document.overrides.items() if p[: len(path)] != path} | {
        path: label
    }


class UnwritableError(ValueError):
    """A value that no study file can hold; the message shows it."""


def dump(value: Any) -> str:
    """Returns YAML text that :func:`read` reads back as ``value``.

    Raises:
        UnwritableError: It, or something in it, is of a kind that YAML has no word for.
    """
    try:
        text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    except yaml.representer.RepresenterError as error:
        raise UnwritableError(shown(error.args[-1])) from error
    return text


def dump_line(value: Any) -> str:
    """Returns a value in one line, as an override holds it; :func:`read` reads it back."""
    # A list of it: PyYAML would end a number that stands alone with a mark of its own.
    text = yaml.dump(
        [value],
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=True,
        width=math.inf,
    )
    return str(text).strip()[1:-1]


def _refuse(document: Document, position: Position, message: str, code: str) -> None:
    document.data = None
    document.problems.append(Problem(*position, "YAML", message, document.source, code))


def _remedy(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if "'\\t'" in problem:
        return "Indent with blanks, not with tabs."
    if "mapping values" in problem:
        return (
            "Indent the fields of a block alike, give each a line of its own, and quote text that "
            "holds a colon."
        )
    if "expected ':'" in problem:
        return "Write FIELD: VALUE, with a blank behind the colon, here or in the line above."
    if "end of stream" in problem or "<stream end>" in problem:
        return "Close the bracket or the quote that is still open."
    return "Look for a wrong indentation, bracket, quote or colon here or in the line above."


class _Builder:
    """Walks PyYAML's events, which know of anchors and tags what its nodes have forgotten."""

    def __init__(self, document: Document, text: str) -> None:
        self.document, self.text = document, text
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))

    def build(self) -> None:
        next(self.events)  # the start of the stream
        event = next(self.events)
        if isinstance(event, yaml.StreamEndEvent):
            return
        self.document.data = self._node(next(self.events), ())
        next(self.events)  # the end of the document
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._report(
                event,
                (),
                "must be one YAML document, but got another one from here on. Remove the line "
                "`---`.",
                "yaml-feature",
            )
            for _ in self.events:  # the rest must be valid YAML too
                pass

    def _report(self, event: Any, path: Path, message: str, code: str) -> None:
        line, column = _position(event)
        self.document.problems.append(
            Problem(line, column, dotted(path), message, self.document.source, code)
        )

    def _node(self, event: Any, path: Path) -> Any:
        self.document.values[path] = _position(event)
        self._refuse_extras(event, path)
        if isinstance(event, yaml.AliasEvent):
            self.document.invalid_paths.add(path)
            return None
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if len(path) >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"it nests deeper than {MAX_DEPTH} levels", problem_mark=event.start_mark
            )
        return (
            self._mapping(path)
            if isinstance(event, yaml.MappingStartEvent)
            else self._sequence(path, _has_thousands(self.text, event.start_mark.index))
        )

    def _refuse_extras(self, event: Any, path: Path) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._report(
                event,
                path,
                f"must be written out, but got the alias *{event.anchor}. Repeat the value here.",
                "yaml-feature",
            )
        elif event.anchor is not None:
            self._report(
                event,
                path,
                f"must have no anchor, but got &{event.anchor}. Remove it.",
                "yaml-feature",
            )
        if getattr(event, "tag", None) is not None:
            self._report(
                event, path, f"must have no tag, but got {event.tag}. Remove it.", "yaml-feature"
            )
            self.document.invalid_paths.add(path)

    def _sequence(self, path: Path, has_commas: bool) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            if has_commas and (number := _THOUSANDS.match(self.text, event.start_mark.index)):
                for group in number[0].split(",")[1:]:
                    event.value += f",{group}"
                    self._discard(next(self.events))  # it was read as a number of its own
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            problem = self._key_problem(event, mapping)
            if problem:
                self._report(event, path, problem, "yaml-key")
                self._discard(event)
                self._discard(next(self.events))
                continue
            key = event.value
            self._refuse_extras(event, path)
            self.document.keys[(*path, key)] = _position(event)
            mapping[key] = self._node(self._whole(next(self.events)), (*path, key))
        return mapping

    def _whole(self, event: Any) -> Any:
        """Returns the event of a value: a number with commas is one text, and not further keys."""
        is_plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
        if is_plain and _is_number(event.value):
            groups = _GROUPS.match(self.text, event.end_mark.index)
            for group in groups[0].split(",")[1:] if groups else ():
                event.value += f",{group}"
                self._discard(next(self.events))  # it was read as a key without a value
                self._discard(next(self.events))
        return event

    def _key_problem(self, event: Any, mapping: dict[str, Any]) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            return (
                "a key must be a name, but got a list, a mapping or an alias. "
                "Write one word before the colon."
            )
        if event.value == "<<" and event.implicit[0]:
            return "must have no merge key, but got key='<<'. Write the fields out."
        if not event.value or _UNPRINTABLE.search(event.value):
            return (
                f"a key must be printable text, but got key={event.value!r}. "
                "Write one word before the colon."
            )
        if event.value in mapping:
            return (
                f"a key must stand once, but got key={event.value!r} again. Remove one of the two."
            )
        return ""

    def _discard(self, event: Any) -> None:
        depth = 0
        while True:
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
                event, yaml.CollectionEndEvent
            )
            if depth == 0:
                return
            event = next(self.events)

    def _scalar(self, event: Any, path: Path) -> Any:
        text = event.value
        if _UNPRINTABLE.search(text):
            self._report(
                event,
                path,
                f"must be printable text, but got value={shown(text)}. Remove the escape.",
                "yaml-text",
            )
            self.document.invalid_paths.add(path)
            return None
        if not event.implicit[0]:  # quoted, or a block
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOLEAN.fullmatch(text):
            return text.lower() == "true"
        return self._number(event, path) if _is_number(text) else text

    def _number(self, event: Any, path: Path) -> int | float | None:
        text = event.value
        if len(text) > MAX_DIGITS:
            message = (
                f"a number must have at most {MAX_DIGITS} characters, "
                f"but got value={shown(text)}. Shorten it."
            )
            self._report(event, path, message, "number-form")
            self.document.invalid_paths.add(path)
            return None
        if not _AMBIGUOUS.fullmatch(text):
            # Python writes .inf and .nan without the dot.
            return int(text) if _INTEGER.fullmatch(text) else float(_DOT_OF_WORD.sub("", text))
        plain = int(text.replace("_", ""))
        rule = "a number must be digits without `_` and without a leading 0"
        self._report(
            event,
            path,
            f"{rule}, but got value={text}. Write {plain}, or quote it where it is text.",
            "number-form",
        )
        return plain


def _has_thousands(text: str, start: int) -> bool:
    """Returns whether commas in the list that begins at ``start`` must stand within its numbers.

    They must where a number would begin with 0, and where the numbers ascend only if they do.

    >>> [_has_thousands(text, 0) for text in ("[1,000]", "[1,500, 2,500]", "[64,128, 256]")]
    [True, True, False]
    """
    found = _LIST.match(text, start)
    if not found:
        return False
    numbers = re.findall(rf"{_THOUSANDS.pattern}|[0-9]+", found[1])
    if any(",0" in number for number in numbers):
        return True
    apart = [int(part) for number in numbers for part in number.split(",")]
    whole = [int(number.replace(",", "")) for number in numbers]
    return len(whole) > 1 and apart != sorted(apart) and whole == sorted(whole)


def _is_number(text: str) -> bool:
    return any(form.fullmatch(text) for form in (_INTEGER, _FLOAT, _AMBIGUOUS))


def _position(event: Any) -> Position:
    return event.start_mark.line + 1, event.start_mark.column + 1


class _Dumper(yaml.SafeDumper):
    """Quotes text that only this reader would take for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _pattern in (_FLOAT, _INTEGER, _AMBIGUOUS):
    _Dumper.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(f"^(?:{_pattern.pattern})$"), list("-+.0123456789")
    )
