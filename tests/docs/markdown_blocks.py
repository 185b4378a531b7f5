"""The blocks of code of a Markdown page, with what a comment above each says to the tests.

``<!-- not run: REASON -->``: the block is only read. ``<!-- ends with: 2 -->``: the exit code of
its last command. ``<!-- measured: WHEN AND WHERE -->``: output whose numbers are those of one
machine. ``<!-- file: NAME -->``: the block is a file of that name.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

LANGUAGES = ("console", "python", "yaml", "sh", "toml", "text", "{toctree}", "{eval-rst}")
NOTES = ("not run", "ends with", "measured", "file")
BLOCK = re.compile(r"((?:^<!-- .+? -->\n)*)^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        line: The number of its first line in the page.
        language: What stands after the fence; may be empty.
        text: What the block holds.
        notes: What the comments above it say.
    """

    line: int
    language: str
    text: str
    notes: dict[str, str] = field(default_factory=dict)


def blocks(page: Path) -> list[Block]:
    """Returns the blocks of a page from top to bottom."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        notes = re.findall(r"<!-- ([a-z ]+): (.+?) -->", match[1])
        line = text.count("\n", 0, match.start(3)) + 1
        found.append(Block(line, match[2], match[3], dict(notes)))
    return found


def file_name(block: Block) -> tuple[str, str] | None:
    """Returns the file that a block is, and the part of it, by its first line; None: it is none.

    ``# forget-gate.yaml`` is a whole file, and ``# forget-gate.yaml: replicate`` a part of one.
    """
    if block.language == "sh" and "file" in block.notes:
        return block.notes["file"], ""
    match = re.match(r"# ([\w-]+\.(?:yaml|py))(?:: (\w+))?\n", block.text)
    return (match[1], match[2] or "") if match else None
