"""The faults that pydantic reports, in the project's words: a rule, the value, a remedy."""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from cells.spelling import nearest
from harness.settings.values import shown
from harness.study.blocks import FormBase
from harness.study.document import Document, Path, Problem
from harness.study.fields import FIELDS, TUNABLE, as_none
from harness.study.form import form_of
from harness.study.names import doc_at, may_be_none, near, unknown_name

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
}

MOST_WORDS = 8
"""The most words that a message lists before it says what was found."""
_PERCENT = re.compile(r"([0-9]*\.?[0-9]+)\s*%")
_MULTIPLE = re.compile(r"([0-9]*\.?[0-9]+)\s*([kKmM])")
_MULTIPLES = {"k": 1000, "m": 1_000_000}
_WITH_COMMAS = re.compile(r"[0-9]{1,3}(,[0-9]{3})+")
_TRUTHS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_FOREIGN_WORDS = {"gpu": "cuda", "fp32": "float32", "double": "float64", "bfloat16": "bf16"}
"""Words that other tools use -> ours."""
_WHERE_TEXTS_ARE = ("corpus", "path")
"""Fields that name a text. Arms compare on one text, so that several texts are conditions."""

_CODES = {
    "rule": "budget",
    "text_files": "missing-field",
    "option": "wrong-kind",
    "missing": "missing-field",
    "extra_forbidden": "unknown-field",
    "literal_error": "unknown-value",
    "union_tag_not_found": "search-form",
    "choices_only": "search-form",
    "string_pattern_mismatch": "bad-name",
    "string_too_long": "bad-name",
}


@dataclass(frozen=True)
class Parsed:
    """A file as a form.

    Attributes:
        document: The file's values and their positions.
        form: What is right in it.
        invalid_paths: The paths whose values were refused. They have been reported and are missing
            in ``form``; rules skip them.
    """

    document: Document
    form: FormBase
    invalid_paths: frozenset[Path]

    def is_invalid(self, path: Path) -> bool:
        """Returns whether the value at ``path``, or what holds it, was refused."""
        return any(path[:length] in self.invalid_paths for length in range(len(path) + 1))

    def has(self, *path: str) -> bool:
        """Returns whether the file says anything at ``path``."""
        node = self.document.data
        for name in path:
            if not isinstance(node, dict) or name not in node:
                return False
            node = node[name]
        return True

    def has_block(self, *path: str) -> bool:
        """Returns whether the file says anything but none at ``path``."""
        if not self.has(*path):
            return False
        node = self.document.data
        for name in path:
            node = node[name]
        return as_none(node) is not None


def parse(document: Document) -> tuple[Parsed, list[Problem]]:
    """Returns the form of what is right in a document, and the problems with the rest.

    The document's data must be a mapping. What is refused is taken out and the rest is validated
    again, so that rules across fields see all that is right.
    """
    data = copy.deepcopy(document.data)
    problems: list[Problem] = []
    invalid_paths = {_cut(path) for path in document.invalid_paths}
    for path in invalid_paths:
        _erase(data, path)
    model = _model_for(data)
    while True:
        try:
            return Parsed(document, model.model_validate(data), frozenset(invalid_paths)), problems
        except ValidationError as error:
            faults = [_Fault(e, data) for e in error.errors(include_url=False)]
        misspelt = {path for fault in faults for path in fault.meant()}
        problems += [
            fault.problem(document)
            for fault in faults
            if not (fault.kind == "missing" and fault.path in misspelt)
        ]
        invalid_paths |= {_cut(fault.path) for fault in faults} | misspelt
        for fault in faults:
            _erase(data, _cut(fault.path))


def _model_for(data: dict[str, Any]) -> type[FormBase]:
    """The model of a file, with the settings that its data names anywhere."""
    across = data.get("across")
    blocks = [data, *(across.values() if isinstance(across, dict) else ())]
    tunes = [block.get("tune") for block in blocks if isinstance(block, dict)]
    searched = {name for tune in tunes if isinstance(tune, dict) for name in tune}
    named = _names_in(data)
    return form_of(
        tuple(name for name in FIELDS if name in named),
        tuple(name for name in TUNABLE if name in searched),
    )


def _names_in(node: Any) -> set[str]:
    """The keys of all mappings in a tree."""
    if isinstance(node, list):
        return set().union(*map(_names_in, node))
    if isinstance(node, dict):
        return set(node).union(*map(_names_in, node.values()))
    return set()


def _cut(path: Path) -> Path:
    """The path of what is left out when the value at ``path`` is refused.

    It is never an item of a list, since the items behind it would move.
    """
    names = tuple(part for part in path if isinstance(part, str))
    match names:
        case ("compare", "cross", *_):
            return names[:3]
        case ("compare", "arms"):
            return names[:1]  # without them the block would be read as the other form
        case ("compare", "arms", *_):
            return names[:4]
        case ("compare" | "tune" | "fix", *_):
            return names[:2]
        case ("across", _, "tune", *_):
            return names[:4]
        case ("measure" | "across" | "replicate", *_):
            return names[:3]
    return names


def _erase(data: Any, path: Path) -> None:
    for name in path[:-1]:
        data = data.get(name) if isinstance(data, dict) else None
    if isinstance(data, dict) and path:
        data.pop(path[-1], None)


class _Fault:
    """One error of pydantic's, with its path in the data."""

    def __init__(self, error: Any, data: Any) -> None:
        self.kind: str = error["type"]
        self.rules: dict[str, Any] = error.get("ctx", {})
        self.value: Any = error["input"]
        self.text: str = error["msg"]
        self.path = _locate(error["loc"], data, self.kind == "missing")
        self.name = next(
            (part for part in reversed(self.path) if isinstance(part, str)), "study file"
        )
        self.is_of_key = error["loc"][-1:] == ("[key]",)
        self.data = data

    def problem(self, document: Document) -> Problem:
        at = (
            document.at_key
            if self.kind in ("extra_forbidden", "missing") or self.is_of_key
            else document.at_value
        )
        return at(self.path, self._message(), self._code())

    def meant(self) -> Iterator[Path]:
        """The field that an unknown name stands for: it is misspelt, and so it is not missing."""
        if self.kind == "extra_forbidden":
            name = near(self.path[:-1], self.name)
            if name:
                yield (*_cut(self.path[:-1]), name)

    def _code(self) -> str:
        """Returns the code of the problem: what kind of fault it is, for docs/messages.md."""
        return "wrong-kind" if self.kind in _KINDS else _CODES.get(self.kind, "invalid-value")

    def _message(self) -> str:
        if self.kind in ("rule", "text_files", "multiples"):
            return self.text
        if self.kind == "missing":
            return f"must be given, but is missing. Add {self.name}: VALUE."
        if self.kind == "extra_forbidden":
            return unknown_name(self.path[:-1], self.name, self.value)
        name = "name" if self.is_of_key else self.name
        text = f"must be {self._rule()}, but got {name}={shown(self.value)}. {self._remedy()}"
        return f"{text} Known: {self._words()}." if self._has_many_words() else text

    def _rule(self) -> str:
        if self.kind in _KINDS:
            return _KINDS[self.kind] + (" or none" if may_be_none(self.path) else "")
        match self.kind:
            case "literal_error":
                if self._has_many_words():
                    return f"a known {self.name}"
                return f"one of {self._words()}" if len(self._allowed()) > 1 else self._words()
            case "union_tag_not_found":
                return "{low: LOW, high: HIGH} or {choices: [...]}"
            case "choices_only":
                return "{choices: [...]}, since it is not a number"
            case "greater_than":
                return f"> {_bound(self.rules['gt'])}"
            case "greater_than_equal":
                return f">= {_bound(self.rules['ge'])}"
            case "less_than":
                return f"< {_bound(self.rules['lt'])}"
            case "less_than_equal":
                return f"<= {_bound(self.rules['le'])}"
            case "finite_number":
                return "finite"
            case "option":
                return "text, a number, true or false"
            case "string_too_short" | "too_short":
                return "non-empty"
            case "string_too_long":
                return f"at most {self.rules['max_length']} characters"
            case "string_pattern_mismatch" if self.is_of_key:
                return "a name of letters, digits and _ + = , -"
            case "string_pattern_mismatch" if self.name == "end":
                return "a word without blanks"
            case "string_pattern_mismatch":
                return "a name of lower-case letters, digits and dashes"
        return f"valid ({self.text})"

    def _remedy(self) -> str:
        value, name = self.value, self.name
        if self.kind == "option" and isinstance(value, list):
            is_text = bool(value) and all(isinstance(item, str) for item in value)
            return f"Write {name}: {', '.join(value)}." if is_text else "Write one value."
        if isinstance(value, list) and name in FIELDS and self.path[0] in ("fix", "across"):
            return _several_values_remedy(name, value)
        if self.kind == "literal_error":
            return self._choice_remedy()
        if self.kind == "union_tag_not_found" or self.kind == "choices_only":
            return f"Write {name}: {{choices: [...]}}, or move {name} to fix."
        if self.kind == "list_type":
            item = "..." if isinstance(value, dict | list) else shown(value).strip("'")
            return f"Write {name}: [{item}]."
        if self.kind in _KINDS and _KINDS[self.kind] == "a mapping":
            return _mapping_remedy(self.path, name, value, self.data)
        if self.kind in ("int_type", "float_type", "bool_type") and isinstance(value, str):
            if _is_plain(value):
                return "Remove the quotes."
            if self.kind == "float_type" and (percent := _PERCENT.fullmatch(value)):
                return f"Write {name}: {float(percent[1]) / 100:g}."
            if self.kind != "bool_type" and (number := _number_meant(value)) is not None:
                return f"Write {number}."
        if self.kind == "bool_type":
            return f"Write {_TRUTHS.get(str(value).lower(), 'true or false')}."
        if isinstance(value, float) and value.is_integer():
            return f"Write {int(value)}."
        if self.kind == "string_type" and isinstance(value, int | float):
            return f'Quote it: "{shown(value)}".'
        if self.kind == "string_pattern_mismatch":
            return "Write end: <eos>." if self.name == "end" else self._name_remedy()
        return f"It is: {doc}." if (doc := doc_at(self.path)) else "Choose such a value."

    def _name_remedy(self) -> str:
        plain = re.sub(r"[^a-z0-9]+", "-", str(self.value).lower()).strip("-")
        return f"Write {plain}." if plain and not self.is_of_key else "Choose such a name."

    def _choice_remedy(self) -> str:
        value, name = str(self.value), self.name
        if name == "objective" and value.startswith("test/"):
            return "Write validation/perplexity: nothing may be chosen by the test text."
        if similar := nearest(_FOREIGN_WORDS.get(value.lower(), value), self._allowed()):
            return f"Did you mean {similar[0]}?"
        if name == "lines":
            return "Write lines: {end: <eos>}, or lines: sequences."
        if name == "version" or len(self._allowed()) == 1:
            return f"Write {name}: {self._allowed()[0]}."
        if name != "corpus":
            return "Choose one of these."
        is_path = isinstance(self.value, str) and re.search(r"[./\\]", value)
        return f"For a text of your own, write corpus: text, path: {value if is_path else 'FILE'}."

    def _allowed(self) -> list[str]:
        return re.split(", | or ", self._words())

    def _words(self) -> str:
        expected: str = self.rules["expected"]
        return expected.replace("'", "")

    def _has_many_words(self) -> bool:
        """Returns whether so many words are allowed that their list stands behind all else."""
        return self.kind == "literal_error" and len(self._allowed()) > MOST_WORDS


def _locate(loc: tuple[str | int, ...], data: Any, is_missing: bool) -> Path:
    """The path in the data of pydantic's ``loc``, which names the branches of unions too."""
    path: list[str | int] = []
    for position, part in enumerate(loc):
        if (
            isinstance(data, dict)
            and part in data
            or isinstance(data, list)
            and isinstance(part, int)
        ):
            data = data[part]  # type: ignore[index]
            path.append(part)
        elif is_missing and position == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _number_meant(text: str) -> int | None:
    """Returns the whole number that ``1k``, ``2.5M`` or ``1,000`` means; None: it is none."""
    if multiple := _MULTIPLE.fullmatch(text):
        number = float(multiple[1]) * _MULTIPLES[multiple[2].lower()]
        return int(number) if number.is_integer() else None
    return int(text.replace(",", "")) if _WITH_COMMAS.fullmatch(text) else None


def _is_plain(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false")
    return True


def _several_values_remedy(name: str, values: list[Any]) -> str:
    if name in _WHERE_TEXTS_ARE:
        return _several_texts_remedy(name, values)
    meant = [_number_meant(value) if isinstance(value, str) else None for value in values]
    whole = [value if each is None else each for value, each in zip(values, meant, strict=True)]
    if len(whole) == 1 and meant != [None]:
        return f"Write {name}: {whole[0]}."
    listed = f"[{', '.join(shown(value).strip(chr(39)) for value in whole)}]"
    remedy = f"To compare these values, move them to compare: {{cross: {{{name}: {listed}}}}}"
    if name in TUNABLE:
        remedy += f"; to search them, to tune: {{{name}: {{choices: {listed}}}}}"
    return f"{remedy}."


def _several_texts_remedy(name: str, values: list[Any]) -> str:
    texts: dict[str, str] = {}
    for number, value in enumerate(values, 1):
        stem = re.sub(r"[^\w+=,-]", "-", PurePath(str(value)).stem, flags=re.ASCII)
        text = stem.lstrip("_+=,-") or "text"
        texts[f"{text}-{number}" if text in texts else text] = str(value)
    listed = ", ".join(f"{text}: {{{name}: {value}}}" for text, value in texts.items())
    remedy = f"To compare the arms on each text, write across: {{{listed}}}"
    if name == "path":
        remedy += (
            "; for one text in three files, paths: {train: FILE, validation: FILE, test: FILE}"
        )
    return f"{remedy}."


def _mapping_remedy(path: Path, name: str, value: Any, data: Any) -> str:
    if name == "budget":
        number = value if isinstance(value, int) and not isinstance(value, bool) else 500
        return f"Write budget: {{updates: {number}}}, or tokens, epochs, seconds."
    if name == "paths":
        return "Write paths: {train: FILE, validation: FILE, test: FILE}."
    if path == ("compare", "baseline"):
        cross = data["compare"].get("cross")
        fields = [each for each in cross if each != "exclude"] if isinstance(cross, dict) else []
        if len(fields) == 1 and isinstance(value, str | int | float):
            return f"Write baseline: {{{fields[0]}: {value}}}."
        return "Write baseline: {FIELD: VALUE} with a value of every crossed field."
    if path[:2] == ("compare", "arms") and len(path) == 3:
        return f"Write {name}: {{FIELD: VALUE}}, or {name}: {{}} for an arm that changes nothing."
    return f"Write its fields below {name}, indented." if path else "Start with study: NAME."


def _bound(value: float) -> str:
    """Returns the end of what a field takes; a whole number has no exponent."""
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"
