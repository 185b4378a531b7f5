"""A reader who does what a page says: writes its files, types its commands, runs its Python."""

import contextlib
import gc
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_blocks import Block, blocks, file_name

from harness import cli
from harness.report import Report
from harness.training import worker

RULE = "───"
"""What stands under the heading of a table."""
PLACE = re.compile(r"^(\S+\.yaml):\d+:\d+: ")
"""A place in a study; a shortened one has other lines than that of the page."""


def shortened(text: str) -> str:
    """Returns a study that asks the same of a short text and takes seconds; other YAML as it is."""
    data: Any = yaml.safe_load(text)
    if "study" not in data:
        return text
    fix, tune = data["fix"], data.get("tune", {})
    fix |= {"budget": {"updates": 20}, "evaluations": 2, "hidden_size": 8}
    fix |= {"batch_size": 16, "bptt_length": 16, "corpus": "text", "path": "notes.txt"}
    for name in ("finalists", "finalist_seeds"):
        tune.pop(name, None)
    if tune:
        tune |= {"trials": 4, "batch": 4}
        tune["learning_rate"]["edge"] = "accept"  # so few updates want the largest rate there is
    for name, values in data["compare"].get("cross", {}).items():
        data["compare"]["cross"][name] = values[:3]
    data["replicate"]["seeds"] = min(data["replicate"]["seeds"], 7)
    measure = data.setdefault("measure", {})
    if measure.get("runtime") != "none":
        measure["runtime"] = {"rounds": 7, "seconds": 0.001}
    return yaml.safe_dump(data, sort_keys=False)


class Reader:
    """Follows pages in one folder, which must be the working directory.

    Attributes:
        said: What the last console printed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = ""
        self._whole: dict[str, Any] = {}
        self._names: dict[str, Any] = {}

    def follow(self, page: Path) -> None:
        """Does what the page says; a failure names the page's line."""
        self._names = {}
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            if "not run" in block.notes:
                continue
            if (named := file_name(block)) is not None:
                self._write(*named, block, where)
            elif block.language == "console":
                self._type(block, where)
            elif block.language == "python":
                exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), self._names)
            elif "measured" in block.notes:
                self._compare_measured(block, where)

    def _write(self, name: str, part: str, block: Block, where: str) -> None:
        path = self.folder / name
        text = block.text
        if name.endswith(".yaml"):
            data = yaml.safe_load(text)
            if part:
                assert list(data) == [part], f"{where}: the block must hold {part} and nothing else"
                data = self._whole[name] | data
            self._whole[name] = data
            text = shortened(yaml.safe_dump(data, sort_keys=False))
        elif block.language == "sh":
            read = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
            assert read.returncode == 0, f"{where}: {read.stderr}"
        path.write_text(text, encoding="utf-8")

    def _type(self, block: Block, where: str) -> None:
        commands: list[tuple[str, list[str]]] = []
        for line in block.text.splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        last, said = int(block.notes.get("ends with", 0)), []
        for number, (command, expected) in enumerate(commands, start=1):
            code, text = typed(command)
            wanted = last if number == len(commands) else 0
            assert code == wanted, f"{where}: {command!r} ended with {code}:\n{text}"
            assert_shows(text, expected, f"{where}: {command!r}")
            said.append(text)
        self.said = "".join(said)

    def _compare_measured(self, block: Block, where: str) -> None:
        """Compares what does not depend on the machine: headings, or the beginnings of lines."""
        heading, rule, _ = block.text.partition(RULE)
        said = [" ".join(line.split()) for line in self.said.splitlines()]
        if rule:
            for line in heading.splitlines():
                assert " ".join(line.split()) in said, f"{where}: no such heading in\n{self.said}"
            return
        starts = [line.split()[:2] for line in block.text.splitlines()]
        assert starts == [line.split()[:2] for line in said], f"{where}: other lines:\n{self.said}"


def assert_shows(text: str, expected: list[str], where: str) -> None:
    """Holds output to the lines of a page; ``...`` stands for any lines."""
    said = [PLACE.sub(r"\1: ", line.rstrip()) for line in text.splitlines()]
    place, skips = 0, False
    for line in (PLACE.sub(r"\1: ", line) for line in expected):
        if line == "...":
            skips = True
            continue
        rest = said[place:]
        found = line in rest if skips else rest[:1] == [line]
        assert found, f"{where} must show {line!r}, but says\n{text}"
        place, skips = place + rest.index(line) + 1, False
    assert skips or not expected or place == len(said), f"{where} says more:\n{text}"


def typed(command: str) -> tuple[int, str]:
    """Returns the exit code of a command and what it printed; it runs in this process.

    Raises:
        ValueError: It is none that a page may type: only the bench's own are.
    """
    line, _, target = command.partition(" > ")
    words = shlex.split(line)
    if words[:3] == ["python", "-m", "harness.train"]:
        code, text = _called(lambda: worker.main(words[3:]))
    elif words[0] == "harness":
        with pytest.MonkeyPatch.context() as patch:
            # The page and its figures, which other tests look at, are most of a small study's time.
            patch.setattr(Report, "files", lambda report, png=True: {"report.html": report.answer})
            code, text = _called(cli.main, words)
    else:
        raise ValueError(f"a page types only the bench's own commands, but got {command!r}")
    if target:
        Path(target).write_text(text, encoding="utf-8")
        return code, ""
    return code, text


def _called(function: Any, words: list[str] | None = None) -> tuple[int, str]:
    printed, argv, threshold = io.StringIO(), sys.argv, gc.get_threshold()
    sys.argv = words or argv
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = function() or 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = argv
        gc.set_threshold(*threshold)
    return code, printed.getvalue()
