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


@pytest.mark.parametrize("content", [b"a b", b"\x00", b"# coding: utf-8\n\xff", b"", b"x = 1"])
def test_a_file_that_states_no_cell_is_no_error(tmp_path, content):
    (tmp_path / "mine.py").write_bytes(content)
    assert stated.sources(tmp_path / "mine.py") == {}
    assert stated.sources(tmp_path / "gone.py") == {}
