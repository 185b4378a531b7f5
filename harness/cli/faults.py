"""The one boundary for errors: whatever was raised becomes one message, with what to do.

An error of the bench's own is a message already. Of all others the traceback goes to a log file,
which the message names; ``--debug`` prints it too.
"""

import errno
import os
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cells.faults import words_of
from harness.cli import missing
from harness.store import terminal
from harness.store.address import UnansweredError, without_passwords

DEBUG = "--debug"
"""The option that prints tracebacks; it may stand anywhere among the words of a command."""
FAULT, MISTAKE = 1, 2
"""The exit codes of what went wrong in the machine, and of what a person wrote."""
MAX_WORDS = 400
"""The most characters of an error of others: some quote whole tables."""

_MEMORY = re.compile(
    r"out of memory|alloc_cpu|can't allocate memory|Unable to allocate|bad_alloc", re.I
)

_FILES = {
    errno.ENOENT: "must exist, but does not. Correct the path, or make the file.",
    errno.EISDIR: "must be a file, but is a folder. Name a file.",
    errno.ENOTDIR: "must lie in a folder, but a part of its path is a file. Correct the path.",
    errno.EACCES: "must be open to you, but is not (permission denied). Change its permissions, "
    "or choose another folder with --folder.",
    errno.EPERM: "must be open to you, but the system refuses it. Change its permissions, or "
    "choose another folder with --folder.",
    errno.EROFS: "must be writable, but lies on a disk that can only be read. Choose another "
    "folder with --folder.",
    errno.ENOSPC: "must have room on its disk, but the disk is full. Make room there; the same "
    "command goes on from what is stored.",
    errno.EDQUOT: "must have room on its disk, but your quota is used up. Make room there; the "
    "same command goes on from what is stored.",
    errno.ESTALE: "must stay where it is while it is written to, but was moved or removed. Put it "
    "back; the same command goes on from what is stored.",
    errno.ELOOP: "must be a file, but is a link, which is not followed. Remove the link.",
    errno.ENAMETOOLONG: "must have a name that the system takes, but it is too long. Choose a "
    "shorter one.",
    errno.EMFILE: "must be opened, but too many files are open. Raise the limit: ulimit -n 4096.",
    errno.EFBIG: "must have room, but a file may not grow so large here. Raise the limit: "
    "ulimit -f unlimited.",
    errno.EIO: "must be readable and writable, but the system reports an error of its disk, or of "
    "a quota or a limit (ulimit -f). Mend that; where the disk fails, copy what can be read to "
    "another.",
}
"""What a file must be that the system refuses, and what to do, by the system's number."""

_LIBRARIES = {
    "mlflow": (
        "tracking: MLflow's store must answer, but it raised",
        "`{doctor}` looks the store over; start the server where there is one.",
    ),
    "optuna": (
        "storage: Optuna's storage must answer, but it raised",
        "`{doctor}` looks the storage over.",
    ),
    "sqlalchemy": (
        "database: must answer, but it raised",
        "Start its server where there is one; `{doctor}` looks the databases over.",
    ),
    "sqlite3": (
        "database: must be a whole SQLite file, but SQLite raised",
        "`{doctor}` looks the databases over.",
    ),
    "torch": (
        "training: torch must do what a study asks for, but it raised",
        "Try the engine that is the definition: --set fix.engine=reference.",
    ),
    "triton": (
        "engine gpu: Triton must compile the cell's kernels, but it raised",
        "Try the engine that is the definition: --set fix.engine=reference.",
    ),
}
"""Library -> what is said of its errors, and what to do; ``{doctor}`` is a command."""
_PLACES = ("--folder", "--tracking", "--storage")
"""The options that say where results live."""


class Told(NamedTuple):
    """What is said of an error, the exit code, and whether its traceback tells more."""

    message: str
    exit_code: int
    has_more: bool


def arguments_and_debug(words: Sequence[str]) -> tuple[list[str], bool]:
    """Returns the words of a command without the option ``--debug``, and whether it was there."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word.lower() != DEBUG]
    return [*kept, *words[end:]], len(kept) < end


def tell(error: BaseException, *, debug: bool) -> int:
    """Prints what there is to say of an error on standard error, and returns the exit code."""
    told = told_of(error)
    lines = [told.message]
    if told.has_more:
        lines.append(_logged(error))
    if debug:
        lines.insert(0, _traceback(error))
    terminal.tell(without_passwords("\n".join(lines)))
    return told.exit_code


def told_of(error: BaseException) -> Told:
    """Returns what is said of an error."""
    from harness.training.messages import is_ours

    if isinstance(error, Exception) and is_ours(error):
        is_fault = isinstance(error, UnansweredError)
        return Told(str(error), FAULT if is_fault else MISTAKE, has_more=False)
    if isinstance(error, ModuleNotFoundError) and (lacking := missing.told_of(error)):
        return Told(lacking, MISTAKE, has_more=False)
    if own := _in_a_users_cell(error):
        return Told(own, MISTAKE, has_more=True)
    if any(_is_of_memory(each) for each in _chain(error)):
        return Told(
            f"memory: must suffice, but got {_words(error)}. Use a smaller hidden_size, batch_size "
            "or bptt_length, a smaller pack_size, or end other programs.",
            FAULT,
            has_more=True,
        )
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in _FILES and each.filename is not None:
            is_full = each.errno in (errno.ENOSPC, errno.EDQUOT)
            text = f"{os.fsdecode(each.filename)}: {_FILES[each.errno]}"
            text += _room(each) if is_full else ""
            return Told(text, FAULT if is_full else MISTAKE, has_more=False)
    return _of_a_library(error)


def _room(error: OSError) -> str:
    """Returns how much room is needed, where that is known, and how much there is."""
    words: list[str] = list(getattr(error, "__notes__", []))
    path = Path(os.fsdecode(error.filename)).absolute()
    with suppress(OSError):  # a place that is no file has no disk
        folder = next(each for each in (path, *path.parents) if each.exists())
        words.append(f"{shutil.disk_usage(folder).free:,} bytes are free now")
    text = ", and ".join(words)
    return f" {text[0].upper()}{text[1:]}." if text else ""


def is_of_a_users_cell(error: BaseException) -> bool:
    """Returns whether an error was raised by the code of a person's own cell."""
    return _place_in_a_users_cell(error) is not None


def _of_a_library(error: BaseException) -> Told:
    """Returns what is said of an error that none of this project's classes names."""
    for each in _chain(error):
        library = type(each).__module__.split(".")[0]
        if library in _LIBRARIES:
            rule, remedy = _LIBRARIES[library]
            remedy = remedy.format(doctor=f"harness doctor{_places(sys.argv)}")
            return Told(f"{rule} {_words(each)}. {remedy}", FAULT, has_more=True)
    if isinstance(error, OSError):
        rule = _FILES.get(error.errno or 0, "must do what is asked, but it reports an error.")
        return Told(f"the system: {rule} It said: {_words(error)}.", FAULT, has_more=True)
    where = next(iter(_frames_from_the_end(error)), None)
    place = "" if where is None else f" at {Path(where[0]).name}:{where[2]}"
    return Told(
        f"harness: a fault of the bench itself, {_words(error)}{place}. What is stored stays as "
        "it is, and the same command goes on from there; please report it with the log.",
        FAULT,
        has_more=True,
    )


def _places(words: Sequence[str]) -> str:
    """Returns the options of a command that say where results live, each after a blank."""
    given: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, sign, value = word.partition("=")
        if name.lower() in _PLACES:
            given += [name.lower(), value if sign else following]
    return "".join(f" {shlex.quote(word)}" for word in given)


def _in_a_users_cell(error: BaseException) -> str | None:
    """Returns what is said of an error that a person's own cell raised; None for others."""
    place = _place_in_a_users_cell(error)
    if place is None:
        return None
    file, function, line = place
    shown = os.path.relpath(file) if Path(file).is_relative_to(Path.cwd()) else file
    what = "the file of a cell must be imported" if function == "<module>" else "a cell must run"
    return (
        f"{shown}:{line}: {what}, but {function.strip('<>')} raised {_words(error)}. "
        f"Correct the cell: `harness cells test {shown}` says more."
    )


def _place_in_a_users_cell(error: BaseException) -> tuple[str, str, int] | None:
    """Returns the file, the function and the line of a person's own cell that raised."""
    for file, module, line, function in _named_frames(error):
        if module.startswith("cells_of_user_"):
            return file, function, line
    return None


def _named_frames(error: BaseException) -> Iterator[tuple[str, str, int, str]]:
    """Yields (file, module, line, function) of all frames of an error, the innermost first."""
    for each in _chain(error):
        for frame, line in reversed(list(traceback.walk_tb(each.__traceback__))):
            code, name = frame.f_code, str(frame.f_globals.get("__name__", ""))
            yield code.co_filename, name, line, code.co_name


def _frames_from_the_end(error: BaseException) -> Iterator[tuple[str, str, int]]:
    """Yields (file, function, line) of the frames of this project, the innermost first."""
    for file, module, line, function in _named_frames(error):
        if module.split(".")[0] in ("harness", "cells"):
            yield file, function, line


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and what caused it."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _is_of_memory(error: BaseException) -> bool:
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    return type(error).__name__ == "OutOfMemoryError" or _MEMORY.search(str(error)) is not None


def _words(error: BaseException) -> str:
    """Returns the class of an error and its first line, cut to what a person reads."""
    text = words_of(error)
    return text if len(text) <= MAX_WORDS else f"{text[: MAX_WORDS - 3]}..."


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()


def _logged(error: BaseException) -> str:
    """Writes an error's traceback to a file, and returns a line that names the file."""
    from harness.training.logs import write_log

    words = " ".join(["harness", *sys.argv[1:]])
    text = without_passwords(f"{datetime.now():%Y-%m-%d %H:%M:%S} {words}\n{_traceback(error)}\n")
    path = write_log(text)
    where = "could not be written anywhere" if path is None else f"is in {path}"
    return f"The traceback {where}; {DEBUG} prints it."
