"""What a file of cells states is what its import says, although nothing of it is run."""

import pytest

from cells import registry, stated

FILE = '''
from torch import tanh

from cells import Cell


def same(cell):
    return cell


@same
@(lambda cell: cell)
class Decorated(Cell):
    r"""A cell.

        h' = tanh(W x + R h + b)

    Source: none.
    Reference: none.
    Differs from rnn-tanh: in nothing.
    """

    name: str = "stated-decorated"
    gates = ("h",)

    def step(self, p, x, h):
        text = """
class NoCell:
"""
        return (p.drop(tanh(x.h + p.R(h).h)),)

    # A comment that still belongs to the class.

# One that does not.


class Last(Decorated):
    r"""A cell.

        h' = tanh(W x + R h + b)

    Source: none.
    Reference: none.
    Differs from rnn-tanh: in nothing.
    """

    name = "stated-last"
    gates = ("h",)

    def step(self, p, x, h):
        return (p.drop(tanh(x.h + p.R(h).h)),)'''


@pytest.mark.parametrize("ending", ["", "\n", "\n\n# The end.\n"])
def test_a_file_states_what_its_import_says(tmp_path, ending):
    path = tmp_path / "mine.py"
    path.write_text(FILE + ending)
    names = registry.load_file(path)
    assert stated.sources(path) == {n: registry.source_of(registry.find(n)) for n in names}
    assert set(names) == {"stated-decorated", "stated-last"}


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_what_breaks_a_line_of_python_breaks_one(tmp_path, character):
    path = tmp_path / "mine.py"
    spaced = FILE.replace("    def step", f"    # a{character}b\n    def step")
    text = f'"""A file{character} of cells."""\n{spaced}'.replace("stated-", f"s{ord(character)}-")
    path.write_text(text.replace("\n\n\n@same", "\n\x0c\n@same"), encoding="utf-8")
    names = registry.load_file(path)
    assert stated.sources(path) == {n: registry.source_of(registry.find(n)) for n in names}
    assert len(names) == 2


@pytest.mark.parametrize("block", ["if True:", "def make():"])
def test_a_class_within_a_block_is_stated(tmp_path, block):
    path = tmp_path / "mine.py"
    named = FILE.replace("stated-", f"{block[:2]}-")
    before, _, cell = named.partition("class Last(Decorated):")
    body = "\n".join(f"    {line}" for line in f"class Last(Decorated):{cell}".split("\n"))
    more = "\n    return Last\n\n\nLast = make()\n" if block.startswith("def") else "\n"
    path.write_text(f"{before}{block}\n{body}{more}")
    names = registry.load_file(path)
    assert stated.sources(path) == {n: registry.source_of(registry.find(n)) for n in names}
    assert len(names) == 2


def test_a_name_that_is_computed_or_stated_twice_is_left_out(tmp_path):
    path = tmp_path / "mine.py"
    text = FILE.replace('name = "stated-last"', 'name = "stated-" + "last"')
    path.write_text(text)
    assert set(stated.sources(path)) == {"stated-decorated"}
    path.write_text(f'{text}\n\n\nclass Again(Decorated):\n    name = "stated-decorated"\n')
    assert stated.sources(path) == {}


@pytest.mark.parametrize("content", [b"a b", b"\x00", b"# coding: utf-8\n\xff", b"", b"x = 1"])
def test_a_file_that_states_no_cell_is_no_error(tmp_path, content):
    (tmp_path / "mine.py").write_bytes(content)
    assert stated.sources(tmp_path / "mine.py") == {}
    assert stated.sources(tmp_path / "gone.py") == {}
