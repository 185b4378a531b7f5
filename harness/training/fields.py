"""JSON objects that another process wrote, read field by field: by type, and within bounds."""

import base64
import binascii
import json
import math
import posixpath
import re
import sys
from typing import Any

from harness.data import regular_files

MAX_RUN_ID = 1_000
"""Characters: an id is made of the names of an arm and a condition, and of numbers."""
MAX_TEXT = 10_000
"""Characters of a name or a message; what an error says is cut to as many."""
MAX_SAMPLE_TEXT = 1_000_000
"""Characters: of a longer sample nobody reads the end."""
MAX_FORECAST_TEXT = 10_000_000
"""Characters: a file of forecasts has so many rows at most that it is smaller."""
MAX_ITEMS = 10_000
"""Of a list or an object in a record: a worker writes some tens."""
MAX_MODEL_BYTES = regular_files.MAX_BYTES // 4 * 3
"""Of a run's model, which stands in its record as base64, four thirds as long: a file of records
has no room for more.
"""
MAX_COUNT = 2**63 - 1
"""The largest whole number of a database."""
MAX_TIME = 1e11
"""Unix seconds of a day in the year 5138: later ones do not fit the databases' milliseconds."""
MAX_NAME = 250
"""Characters of a metric's name: MLflow takes no more."""
_NAME = re.compile(r"[\w./: -]+", re.ASCII)

Sample = dict[str, Any]
"""``prefix`` and ``text``, ``temperature`` where it was drawn and not the likeliest text, and
``update`` where it was written on the way.
"""


class MessageError(ValueError):
    """A line that no worker wrote; the message names the field and its value."""


def parsed(line: str) -> Any:
    """Returns the value of a line of JSON.

    Raises:
        MessageError: It is none, nests too deep, or holds a number of thousands of digits.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MessageError(
            f"records: a line must be what a worker wrote, but got {line[:80]!r}. "
            "Give the file that a worker wrote."
        ) from error


class FieldReader:
    """The fields of a JSON object, each read once, by its type and within its bounds.

    Every method raises MessageError, which names the field and its value.
    """

    def __init__(self, values: Any, path: str):
        self._path = path
        if not isinstance(values, dict):
            raise MessageError(
                f"records: {path.rstrip('.') or 'a line'} must be a JSON object, "
                f"but got {_shown(values)}. Give the file that a worker wrote."
            )
        self._values = dict(values)

    def wrong(self, name: str, rule: str, value: Any) -> MessageError:
        """Returns the error of a field that breaks a rule."""
        return MessageError(
            f"records: {self._path}{name} must be {rule}, but got {name}={_shown(value)}. "
            "Give the file that a worker wrote."
        )

    def has(self, name: str) -> bool:
        """Returns whether there is a field of that name that was not read."""
        return name in self._values

    def _take(self, name: str) -> Any:
        if name not in self._values:
            raise MessageError(
                f"records: {self._path}{name} must be given, but is missing. "
                "Give the file that a worker wrote."
            )
        return self._values.pop(name)

    def inside(self, name: str) -> "FieldReader":
        """Returns the fields of an object within this one."""
        return FieldReader(self._take(name), f"{self._path}{name}.")

    def text(self, name: str, longest: int) -> str:
        """Returns a text of at most ``longest`` characters."""
        value = self._take(name)
        if not _is_text(value, longest):
            raise self.wrong(name, f"a text of at most {longest:,} characters", value)
        assert isinstance(value, str)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Returns a list of texts."""
        value = self._take(name)
        is_list = isinstance(value, list) and len(value) <= MAX_ITEMS
        if not is_list or not all(_is_text(each, MAX_TEXT) for each in value):
            raise self.wrong(name, f"a list of at most {MAX_ITEMS:,} texts", value)
        return tuple(value)

    def count(self, name: str) -> int:
        """Returns a whole number from 0."""
        value = self._take(name)
        if type(value) is not int or not 0 <= value <= MAX_COUNT:
            raise self.wrong(name, "a whole number from 0", value)
        return value

    def number(self, name: str, *, finite: bool = True) -> float:
        """Returns a number."""
        value = self._take(name)
        if not _is_number(value) or (finite and not math.isfinite(value)):
            raise self.wrong(name, "a finite number" if finite else "a number", value)
        return float(value)

    def time(self, name: str) -> float:
        """Returns a moment in Unix seconds."""
        value = self.number(name)
        if not 0 <= value <= MAX_TIME:
            raise self.wrong(name, f"Unix seconds, from 0 to {MAX_TIME:.0e}", value)
        return value

    def flag(self, name: str) -> bool:
        """Returns true or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false", value)
        return value

    def numbers(self, name: str) -> dict[str, float]:
        """Returns an object of numbers."""
        value = self._take(name)
        is_object = isinstance(value, dict) and len(value) <= MAX_ITEMS
        if not is_object or not all(map(_is_number, value.values())):
            raise self.wrong(name, f"an object of at most {MAX_ITEMS:,} numbers", value)
        for key in value:
            self._check_name(name, key)
        return {str(key): float(number) for key, number in value.items()}

    def series(self, name: str, length: int) -> tuple[float, ...]:
        """Returns a list of exactly ``length`` numbers, which need not be finite."""
        value = self._take(name)
        if not isinstance(value, list) or len(value) != length or not all(map(_is_number, value)):
            raise self.wrong(name, f"a list of {length:,} numbers", value)
        return tuple(map(float, value))

    def objects(self, name: str) -> list["FieldReader"]:
        """Returns the fields of every object of a list."""
        value = self._take(name)
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise self.wrong(name, f"a list of at most {MAX_ITEMS:,} objects", value)
        return [FieldReader(each, f"{self._path}{name}[{i}].") for i, each in enumerate(value)]

    def samples(self, name: str) -> tuple[Sample, ...]:
        """Returns a list of samples, empty where the field is missing."""
        value = self._values.pop(name, [])
        if not isinstance(value, list) or len(value) > MAX_ITEMS or not all(map(_is_sample, value)):
            raise self.wrong(name, "a list of {prefix, text}", value)
        return tuple(value)

    def content(self, name: str, most_bytes: int) -> bytes:
        """Returns bytes that are written as base64."""
        value = self._take(name)
        try:
            if isinstance(value, str) and len(value) <= most_bytes * 4 // 3 + 4:
                return base64.b64decode(value, validate=True)
        except binascii.Error:
            pass
        raise self.wrong(name, f"base64 of at most {most_bytes:,} bytes", value)

    def rest(self) -> dict[str, str]:
        """Returns all that was not read yet: texts, since nothing else may be there."""
        for name in self._values:
            self._check_name("info", name)
        texts = {name: self.text(name, MAX_TEXT) for name in list(self._values)[: MAX_ITEMS + 1]}
        if len(texts) > MAX_ITEMS:
            raise self.wrong("info", f"at most {MAX_ITEMS:,} texts", len(texts))
        return texts

    def _check_name(self, field: str, name: str) -> None:
        # What databases take: a path that leads nowhere else.
        is_plain = posixpath.normpath(name) == name and not name.startswith((".", "/"))
        if len(name) > MAX_NAME or not _NAME.fullmatch(name) or not is_plain:
            rule = f"named by letters, digits and _.-:/, at most {MAX_NAME} of them"
            raise self.wrong(field, rule, name)

    def check_all_read(self) -> None:
        """Refuses fields that nobody asked for."""
        for name, value in self._values.items():
            raise self.wrong(name, "left out", value)


def _is_number(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= sys.float_info.max
    return isinstance(value, float)


def _is_text(value: Any, longest: int) -> bool:
    """Returns whether a value is a text that can be written: half a character cannot."""
    if not isinstance(value, str) or len(value) > longest:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_sample(value: Any) -> bool:
    if not isinstance(value, dict) or not {"prefix", "text"} <= value.keys() <= {
        "prefix",
        "text",
        "update",
        "temperature",
    }:
        return False
    texts = (value["prefix"], value["text"])
    is_text = all(_is_text(text, MAX_SAMPLE_TEXT) for text in texts)
    temperature = value.get("temperature", 1.0)
    is_drawn = _is_number(temperature) and 0 < temperature < math.inf
    update = value.get("update", 0)
    return is_text and is_drawn and type(update) is int and 0 <= update <= MAX_COUNT


def _shown(value: Any) -> str:
    try:
        text = ascii(value)
    except ValueError:  # a number of thousands of digits has no text
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."
