"""Reads PTX: a kernel's instructions, in blocks that nothing jumps into or out of."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import networkx

INSTRUCTION = re.compile(r"(?:@(!?)(%\w+)\s+)?([a-z][\w.:]*)\s*(.*)$", re.DOTALL)
ENTRY = re.compile(r"\.entry\s+(\w+)\s*\((.*?)\)(.*?)\n\{(.*?)\n\}", re.DOTALL)
PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)(?:\s+\.\w+(?:\s+\d+)?)*"
    r"\s+([A-Za-z_]\w*)(?:\[(\d+)\])?"
)
SCOPE = re.compile(r"^\s*\{(?=\s*(?:\.reg\b|$))|(?:^|(?<=;))\s*\}\s*$", re.MULTILINE)
"""What opens and closes one; other braces hold vectors."""
ENDS = ("bra", "ret", "exit", "bar", "barrier", "trap")
"""What ends a block: a thread may go elsewhere, wait, or end."""


class PtxError(ValueError):
    """The text holds what this machine does not know."""


@dataclass(frozen=True)
class Instruction:
    """One line.

    Attributes:
        text: As it was read.
        guard: The predicate's register, where only some threads take part.
        is_negated: Whether those do whose predicate is false.
        operation: Its name up to the first point, as ``ld``.
        modifiers: What follows, as ``("global", "f32")``.
        operands: Names of registers, numbers, ``[address]``, and tuples of such for vectors.
    """

    text: str
    guard: str | None
    is_negated: bool
    operation: str
    modifiers: tuple[str, ...]
    operands: tuple["str | tuple[str, ...]", ...]


@dataclass(frozen=True)
class Program:
    """A kernel.

    Attributes:
        name: Its own.
        blocks: Of its instructions, in the order of the text.
        labels: Name -> the number of the block that it begins.
        registers: Prefix as ``%f`` -> type as ``f32``.
        parameters: Name -> offset in bytes; the last offset is the size of all.
        shared: Name -> offset in a block's shared memory.
        cluster_size: Blocks of a cluster.
        num_threads: The most of a block; 0 where the text does not say.
        has_halves: Whether an instruction loads or stores 2 bytes.
        order: Of the blocks: whatever may come before a block, but for what a loop repeats, does,
            and a loop comes whole. So threads that part meet again where they can, as on a device.
    """

    name: str
    blocks: tuple[tuple[Instruction, ...], ...]
    labels: dict[str, int]
    registers: dict[str, str]
    parameters: dict[str, int]
    shared: dict[str, int]
    cluster_size: int
    num_threads: int
    has_halves: bool
    order: tuple[int, ...]


def programs(text: str) -> dict[str, Program]:
    """Returns the kernels of a text by their names.

    Raises:
        PtxError: There is none, or a line cannot be read.
    """
    text = re.sub(r"/\*.*?\*/", "", re.sub(r"//[^\n]*", "", text), flags=re.DOTALL)
    text = re.sub(r"^\s*\.(?:loc|file)\s[^\n]*$", "", text, flags=re.MULTILINE)
    shared = {name: 0 for name in re.findall(r"\.extern\s+\.shared[^;]*?\.b8\s+(\w+)\[\]", text)}
    found = {match[1]: _program(*match.groups(), shared) for match in ENTRY.finditer(text)}
    if not found:
        raise PtxError(f"a text must hold a kernel, but got {text[:80]!r}.")
    return found


def _program(
    name: str, parameters: str, directives: str, body: str, shared: dict[str, int]
) -> Program:
    blocks: list[list[Instruction]] = [[]]
    labels: dict[str, int] = {}
    registers: dict[str, str] = {}
    # A scope of its own declares names that nothing outside of it reads.
    body = SCOPE.sub("", body)
    for statement in re.split(r";|(?<=:)\s*\n", body):
        statement = statement.strip()
        while label := re.match(r"([$\w]+):\s*", statement):
            blocks += [[]] if blocks[-1] else []
            labels[label[1]] = len(blocks) - 1
            statement = statement[label.end() :]
        if declared := re.match(r"\.reg\s+\.(\w+)\s+(%\w+?)(?:<\d+>)?$", statement):
            registers[declared[2]] = declared[1]
        elif statement and not statement.startswith(".pragma"):
            one = _instruction(statement)
            blocks[-1].append(one)
            if one.operation in ENDS:
                blocks.append([])
    cluster = re.search(r"\.reqnctapercluster\s+(\d+)", directives)
    threads = re.search(r"\.(?:maxntid|reqntid)\s+(\d+)", directives)
    return Program(
        name,
        tuple(map(tuple, blocks)),
        labels,
        registers,
        _offsets(parameters),
        shared,
        int(cluster[1]) if cluster else 1,
        int(threads[1]) if threads else 0,
        any(
            one.operation in ("ld", "st") and {*one.modifiers} & {"b16", "u16", "s16"}
            for block in blocks
            for one in block
        ),
        tuple(_ordered(_graph(blocks, labels), range(len(blocks)))),
    )


def _graph(blocks: list[list[Instruction]], labels: dict[str, int]) -> "networkx.DiGraph":
    """Returns which block may follow which; 0 is the first."""
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(len(blocks)))
    for number, block in enumerate(blocks):
        last = block[-1] if block else None
        if last is not None and last.operation == "bra":
            graph.add_edge(number, labels[str(last.operands[0])])
        is_left = last is not None and last.guard is None
        if not (is_left and last.operation in ("bra", "ret", "exit", "trap")):
            graph.add_edge(number, number + 1)
    graph.remove_nodes_from([len(blocks)])
    return graph


def _ordered(graph: "networkx.DiGraph", part: Iterable[int]) -> Iterator[int]:
    """Yields some blocks: of a loop its first one, then what it repeats, then what follows it."""
    condensed = networkx.condensation(graph.subgraph(part))
    for number in networkx.topological_sort(condensed):
        loop = condensed.nodes[number]["members"]
        if len(loop) == 1:
            yield from loop
            continue
        entered = {b for a, b in graph.edges if b in loop and a not in loop}
        head = min(entered or loop)
        yield head
        yield from _ordered(graph, loop - {head})


def _offsets(text: str) -> dict[str, int]:
    """Returns where each parameter lies; under an empty name the size of all."""
    offsets, end = {}, 0
    for align, kind, name, count in PARAMETER.findall(text):
        size = int(kind[1:]) // 8
        alignment = int(align or size)
        end = -(-end // alignment) * alignment
        offsets[name] = end
        end += size * int(count or 1)
    return offsets | {"": end}


def _instruction(statement: str) -> Instruction:
    read = INSTRUCTION.match(statement)
    if read is None:
        raise PtxError(f"a line must be an instruction, but got {statement!r}.")
    negated, guard, name, rest = read.groups()
    operation, *modifiers = re.sub(r"::", "__", name).split(".")
    operands = tuple(
        tuple(part.strip() for part in word[1:-1].split(",")) if word[0] == "{" else word
        for word in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^\s,{}\[\]][^,{}\[\]]*", rest)
    )
    operands = tuple(o.strip() if isinstance(o, str) else o for o in operands)
    return Instruction(
        " ".join(statement.split()),
        guard,
        bool(negated),
        operation,
        tuple(modifiers),
        operands,
    )
