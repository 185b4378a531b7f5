"""The reference of the command line, from the commands themselves."""

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from harness.bench import words
from harness.cli import app

Row = tuple[str, str]


def page() -> str:
    """Returns the page: every command in the sections of ``harness --help``."""
    root: Any = get_command(app)
    sections: dict[str, list[str]] = {}
    for name, command in root.commands.items():
        blocks = sections.setdefault(str(command.rich_help_panel), [])
        blocks += _command(f"harness {name}", command)
        for sub_name, sub_command in getattr(command, "commands", {}).items():
            blocks += _command(f"harness {name} {sub_name}", sub_command)
    texts = [f"## {heading}\n\n" + "\n\n".join(blocks) for heading, blocks in sections.items()]
    head = (
        "# Commands\n\n"
        "`harness COMMAND --help` prints the same. An exit code of 0 means that all went well, "
        "1 that something is still missing or has failed, 2 that the words, the study or a file "
        "must be mended, 130 that Ctrl-C ended the command."
    )
    return "\n\n".join([head, *texts]) + "\n"


def _command(title: str, command: Any) -> Iterator[str]:
    yield f"### {title}"
    if title == "harness bench":  # the bench reads its words itself
        yield from _bench()
        return
    yield re.sub(r"(?<!\n)\n(?!\n)", " ", (command.help or "").strip())
    context = command.make_context(title, [], resilient_parsing=True)
    yield f"```text\n{' '.join([title, *command.collect_usage_pieces(context)])}\n```"
    parameters = [each for each in command.params if not each.hidden]
    if rows := [each.get_help_record(context) for each in parameters]:
        yield _table(rows)


def _bench() -> Iterator[str]:
    yield words.DESCRIPTION
    yield "```text\nharness bench [OPTIONS]\n```"
    yield _table([(f"{each.name} {each.metavar}", each.help) for each in words.OPTIONS])


def _table(rows: list[Row]) -> str:
    cells = [(_word(name), text.replace("|", r"\|")) for name, text in rows]
    lines = ["| word | meaning |", "|---|---|", *(f"| {name} | {text} |" for name, text in cells)]
    return "\n".join(lines)


def _word(name: str) -> str:
    """Returns a word without the type that typer adds to an argument's."""
    return f"`{re.sub(' <.*>', '', name).strip()}`"
