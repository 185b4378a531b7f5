"""Records that wait on disk for a store that does not answer: a file of checked lines, in order.

It begins with the experiment that the records are of, and the number of its format. A line that a
kill cut off, or that was changed, ends the file: what it and the later ones said is trained again.
"""

import base64
import contextlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from harness.study.units import RunKey
from harness.training.files import make_within

MAX_BYTES = 2 * 1024**3
"""How large the file may become: above it the driver waits, as the disk belongs to others too."""
VALUE_BYTES = 64
"""About what a value takes in memory beside its text."""
FORMAT = 1
"""Of the operations and their arguments; a file that says none is of this one."""


def num_bytes_of(value: Any) -> int:
    """Returns about how much memory a value takes: its texts and files, and a little for each."""
    if isinstance(value, str | bytes):
        return VALUE_BYTES + len(value)
    if isinstance(value, Mapping):
        return VALUE_BYTES + sum(map(num_bytes_of, (*value, *value.values())))
    if isinstance(value, list | tuple):
        return VALUE_BYTES + sum(map(num_bytes_of, value))
    return VALUE_BYTES


def unused(path: Path) -> Path:
    """Returns where a file of records is kept that no launch looks at again."""
    return path.with_name(f"{path.name}.unused")


class Spool:
    """A file of operations that are appended at its end and read from its front.

    Attributes:
        path: The file; there is none until something is written.
        num_unread: Operations that were appended and not read.
    """

    def __init__(self, path: Path, experiment: str) -> None:
        """Takes the file of an experiment; nothing is opened."""
        self.path, self._experiment = path, experiment
        self.num_unread = 0
        self._read_at = 0
        self._end = 0
        self._file: IO[bytes] | None = None

    @property
    def num_bytes(self) -> int:
        """The size of the file."""
        return self._end

    def append(
        self, operations: Sequence[tuple[str, Mapping[str, Any]]], *, are_known: bool
    ) -> None:
        """Writes operations, each a name and its arguments.

        Args:
            operations: In their order.
            are_known: Whether the caller has them too, and will not read them: they are the first,
                and are written for a launch to come.
        """
        lines = [_line([name, arguments]) for name, arguments in operations]
        try:
            self._append(lines)
            if are_known:
                self._sync()
        except OSError as error:  # of a write it does not say the file
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        if are_known:
            self._read_at = self._end
        else:
            self.num_unread += len(lines)

    def _sync(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())

    def _append(self, lines: list[bytes]) -> None:
        if self._file is None:
            make_within(self.path.parent.parent, self.path.parent)
            self._file = open(self.path, "wb")
            first = {"experiment": self._experiment, "format": FORMAT}
            self._end = self._file.write(_line(first))
            self._read_at = self._end
        self._file.seek(self._end)
        self._file.writelines(lines)
        self._file.flush()
        self._end += sum(map(len, lines))

    @property
    def num_unread_bytes(self) -> int:
        """The size of what was not read yet."""
        return self._end - self._read_at if self.num_unread else 0

    def read(self, count: int, num_bytes: int) -> list[tuple[str, dict[str, Any]]]:
        """Returns the next operations, ``count`` at most, and none after so many bytes."""
        if self._file is None:
            return []
        found: list[tuple[str, dict[str, Any]]] = []
        with open(self.path, "rb") as file:
            file.seek(self._read_at)
            end = self._read_at + num_bytes
            while len(found) < count and self.num_unread and file.tell() < end:
                name, arguments = _value(file.readline())
                found.append((name, arguments))
                self.num_unread -= 1
            self._read_at = file.tell()
        return found

    def resume(self) -> str | None:
        """Takes up what an earlier process left, as if it had been appended now.

        The file may be as large as the disk lets it, so a line at a time is in memory.

        Returns:
            Why something of it is not used, None where all is; a file of which nothing is used has
            been put aside.
        """
        if not self.path.exists():
            return None
        with open(self.path, "rb") as file:
            reason = self._reason_to_refuse(file.readline())
            start = end = file.tell()
            num_whole = num_lines = 0
            for num_lines, line in enumerate(file if reason is None else (), start=1):
                if num_whole == num_lines - 1 and _content(line) is not None:
                    num_whole, end = num_lines, end + len(line)
        if reason is not None:
            return f"{reason}; it is kept as {self.put_aside()}"
        self._file = open(self.path, "r+b")
        self._file.truncate(end)
        self._read_at, self._end, self.num_unread = start, end, num_whole
        return None if num_whole == num_lines else f"its last {num_lines - num_whole} lines"

    def _reason_to_refuse(self, line: bytes) -> str | None:
        """Returns why a file that begins with this line is not this experiment's; None if it is."""
        try:
            first = _value(line)
        except ValueError:
            first = None
        if not isinstance(first, dict) or first.get("experiment") != self._experiment:
            return "it is of another study, or damaged"
        if (number := first.get("format", FORMAT)) != FORMAT:
            return (
                f"it must be of format {FORMAT}, but is of {number}, as another version writes it"
            )
        return None

    def put_aside(self) -> Path:
        """Has no launch use the file again, and returns where it is kept.

        One that was put aside earlier goes: what it held has been trained again since.
        """
        self.close(keep=True)
        return self.path.replace(unused(self.path))

    def close(self, *, keep: bool) -> None:
        """Closes the file, and removes it unless it is kept for the next launch."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # of a full disk, on which append failed and said so
            self._file.close()
        self._file, self.num_unread, self._end = None, 0, 0
        if not keep:
            self.path.unlink(missing_ok=True)


def _line(value: Any) -> bytes:
    content = json.dumps(value, default=_packed).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _value(line: bytes) -> Any:
    """Returns what :func:`_line` wrote.

    Raises:
        ValueError: It is not whole.
    """
    content = _content(line)
    if content is None:
        raise ValueError("a line was cut off or changed")
    return json.loads(content, object_hook=_unpacked)


def _content(line: bytes) -> bytes | None:
    """Returns the JSON of a line; None where the line was cut off or changed."""
    checksum, _, content = line.partition(b" ")
    is_whole = content.endswith(b"\n") and checksum == b"%08x" % zlib.crc32(content[:-1])
    return content if is_whole else None


def _packed(value: Any) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"__bytes__": base64.b64encode(value).decode()}
    if isinstance(value, RunKey):
        return {"__run__": str(value)}
    raise TypeError(f"a record cannot hold {type(value).__name__}")


def _unpacked(value: dict[str, Any]) -> Any:
    if value.keys() == {"__bytes__"}:
        return base64.b64decode(value["__bytes__"])
    if value.keys() == {"__run__"}:
        return RunKey.parse(value["__run__"])
    return value
