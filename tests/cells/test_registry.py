import hashlib
import inspect
import linecache
import textwrap
from types import SimpleNamespace

import pytest

import cells
from cells import plugins, registry, shipped
from cells.base import Cell

GOOD = '''
from torch import tanh

from cells import Cell


class Mine(Cell):
    """h' = tanh(W_h x + R_h h + b_h)

    Source: mine. Reference: none. Differs from rnn-tanh: by name.
    """

    name = "mine"
    gates = ("h",)

    def step(self, p, x, h):
        return (tanh(x.h + p.R(h).h),)
'''


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_cells", dict(registry._cells))


@pytest.fixture
def write(tmp_path):
    def written(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return written


def test_held_files_stay_what_they_were(write):
    path = write(GOOD)
    with registry.held_files():
        assert cells.load_file(path) == ["mine"]
        before = cells.find("mine")
        write(GOOD.replace("x.h +", "2.0 * x.h +"))
        with registry.held_files():
            assert cells.load_file(path) == ["mine"]
        path.unlink()
        assert cells.load_file(path) == ["mine"] and cells.find("mine") is before
        assert registry.content_of(path) == GOOD.encode()
    edited = write(GOOD.replace("x.h +", "3.0 * x.h +"))
    assert registry.content_of(path) == edited.read_bytes()
    cells.load_file(path)
    assert registry.source_of(cells.find("mine")) != registry.source_of(before)


def test_files_are_held_until_the_last_of_overlapping_blocks_ends(write):
    path = write(GOOD)
    first, second = registry.held_files(), registry.held_files()
    first.__enter__()
    second.__enter__()
    cells.load_file(path)
    edited = write(GOOD.replace("x.h +", "2.0 * x.h +"))
    first.__exit__(None, None, None)
    assert registry.content_of(path) == GOOD.encode()
    second.__exit__(None, None, None)
    assert registry.content_of(path) == edited.read_bytes()
    cells.load_file(path)
    write(GOOD)
    assert registry.content_of(path) == GOOD.encode()


def test_an_edit_that_is_undone_leaves_the_first_equations(write):
    path = write(GOOD)
    cells.load_file(path)
    before = cells.find("mine")
    write(GOOD.replace("x.h +", "2.0 * x.h +"))
    cells.load_file(path)
    assert cells.find("mine") is not before
    write(GOOD)
    cells.load_file(path)
    assert cells.find("mine") is before


def test_names_are_sorted_and_found():
    assert cells.names() == sorted(cells.names())
    assert {"lstm", "lstm-coupled", "gru"} <= set(cells.names())
    assert all(cells.find(name).name == name for name in cells.names())


def test_an_unknown_name_is_told_what_comes_near():
    with pytest.raises(
        cells.UnknownCell,
        match=r"got cell='lstm-no-output-than'\. Did you mean lstm-no-output-tanh",
    ):
        cells.find("lstm-no-output-than")


def test_an_unknown_name_that_is_near_nothing_is_told_all_names():
    with pytest.raises(
        cells.UnknownCell,
        match=r"must be the name of a cell, but got cell='qqqq'\. Known: antisymmetric-rnn, .*\.$",
    ):
        cells.find("qqqq")


def test_every_registered_cell_has_no_problem():
    assert [
        problem for name in cells.names() for problem in registry.problems_of(cells.find(name))
    ] == []


def test_a_users_file_is_registered_once(write):
    path = write(GOOD)
    assert cells.load_file(path) == ["mine"]
    first = cells.find("mine")
    assert cells.load_file(str(path)) == ["mine"]
    assert cells.find("mine") is first


def test_the_same_cell_in_another_file_is_no_conflict(write):
    cells.load_file(write(GOOD))
    copy = write(GOOD, "copy.py")
    assert cells.load_file(copy) == ["mine"]
    copy.unlink()
    linecache.checkcache()  # as Python does where an exception is shown
    moved = write(GOOD, "moved.py")
    assert cells.load_file(moved) == ["mine"]
    moved.unlink()
    linecache.checkcache()
    with pytest.raises(registry.InvalidCell, match=r"is of a cell in moved\.py"):
        cells.load_file(write(GOOD.replace("tanh", "sigmoid"), "other.py"))


def test_the_name_of_a_preset_is_taken(write):
    with pytest.raises(
        registry.InvalidCell,
        match=r"Mine \(mine\.py:\d+\): name must be unique, but name='irnn' stands for rnn-relu\.",
    ):
        cells.load_file(write(GOOD.replace('"mine"', '"irnn"')))


def test_a_taken_name_is_refused_and_nothing_is_registered(write):
    taken = write(
        GOOD.replace('"mine"', '"lstm"')
        + GOOD.replace("class Mine", "class Other").replace('"mine"', '"b"')
    )
    with pytest.raises(
        registry.InvalidCell,
        match=r"Mine \(mine\.py:\d+\): name must be unique, but name='lstm' is of a cell in "
        r"cells/lstm\.py, shipped",
    ):
        cells.load_file(taken)
    assert "b" not in cells.names()


def test_two_cells_of_one_name_in_one_file_are_refused(write):
    path = write(GOOD + GOOD.replace("class Mine", "class Other"))
    with pytest.raises(
        registry.InvalidCell, match=r"Other \(mine\.py:\d+\): name must be unique, but name='mine'"
    ):
        cells.load_file(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(
        registry.InvalidCell, match=r"cell file: must exist, but got path='.*nothing\.py'"
    ):
        cells.load_file(tmp_path / "nothing.py")


def test_a_file_of_another_ending_is_refused(write):
    with pytest.raises(
        registry.InvalidCell, match=r"must be a Python file, but got path='.*mine\.txt'"
    ):
        cells.load_file(write(GOOD, "mine.txt"))


def test_a_file_that_raises_is_reported_in_its_own_words_each_time(write):
    path = write("1 / 0\n")
    for _ in range(2):
        with pytest.raises(
            registry.InvalidCell, match=r"mine\.py:1 raised ZeroDivisionError: division by zero"
        ):
            cells.load_file(path)


def test_the_last_line_of_a_file_is_told_also_where_something_else_raised(write):
    path = write("import json\n\n\ndef read():\n    json.loads('{')\n\n\nread()\n")
    with pytest.raises(registry.InvalidCell, match=r"mine\.py:5 raised JSONDecodeError") as caught:
        cells.load_file(path)
    # The refusal did not pass through the file, but its cause did.
    assert registry.line_in([path], caught.value) == (path, 5)
    assert registry.line_in([path.with_name("other.py")], caught.value) is None


def test_a_file_without_a_cell_is_refused_each_time(write):
    path = write("from cells import Cell\n")
    for _ in range(2):
        with pytest.raises(
            registry.InvalidCell, match=r"must define a subclass of cells\.Cell, but defines none"
        ):
            cells.load_file(path)


def test_all_problems_of_a_file_come_at_once(write):
    text = GOOD.replace("Source: mine.", "") + GOOD.replace("class Mine", "class Other").replace(
        '"h",', '"h", "h"'
    )
    with pytest.raises(registry.InvalidCell) as caught:
        cells.load_file(write(text))
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines] == ["Mine", "Other", "Other"]


def test_a_wrong_declaration_is_told_with_its_file_and_line(write):
    text = GOOD.replace('gates = ("h",)', 'gates = ("h",)\n    recurrent_biases = ("m",)')
    line = text.splitlines().index('    recurrent_biases = ("m",)') + 1
    with pytest.raises(registry.InvalidCell) as caught:
        cells.load_file(write(text))
    assert str(caught.value) == (
        f"Mine (mine.py:{line}): recurrent_biases must be among ['h'], but got ['m']."
    )


def test_entry_points_are_read_once(monkeypatch, write):
    path = write(GOOD)
    loaded = []

    def load():
        loaded.append(path)
        namespace = {"__name__": "installed"}
        exec(path.read_text(), namespace)
        monkeypatch.setattr(inspect, "getsource", lambda cell: path.read_text())
        return SimpleNamespace(**namespace)

    monkeypatch.setattr(plugins, "entry_points", lambda: [SimpleNamespace(load=load)])
    monkeypatch.setattr(registry, "_plugin_faults", None)
    assert "mine" in cells.names()
    assert cells.find("mine").name == "mine"
    assert loaded == [path]


def test_source_of_a_users_cell_is_that_of_the_class_text(write):
    cells.load_file(write(GOOD))
    mine = cells.find("mine")
    assert registry.source_of(mine) == hashlib.sha256(inspect.getsource(mine).encode()).hexdigest()


def test_source_of_a_shipped_cell_is_its_fingerprint():
    lstm = cells.find("lstm")
    assert registry.source_of(lstm) == registry.fingerprint("lstm")
    assert registry.source_of(lstm) != registry.source_of(cells.find("lstm-coupled"))


def test_an_older_copy_of_a_shipped_cell_is_no_conflict(write, monkeypatch):
    path = write(GOOD.replace('"mine"', '"gru"'))
    with pytest.raises(registry.InvalidCell, match=r"name='gru' is of .* cells/gru\.py"):
        cells.load_file(path)
    text = path.read_text()
    digest = hashlib.sha256(text[text.index("class Mine") :].encode()).hexdigest()
    monkeypatch.setattr(shipped, "fingerprint", lambda family, name: digest)
    assert cells.load_file(path) == ["gru"]


def test_a_file_with_the_old_name_of_zoneout_states_works_as_it_is(write):
    text = GOOD.replace('gates = ("h",)', 'gates = ("h",)\n    zonable = ("h",)')
    cells.load_file(write(text))
    mine = cells.find("mine")
    assert mine.zoneout_states == ("h",) and registry.problems_of(mine) == []
    assert cells.find("lstm").zoneout_states == ("h", "c") and Cell.zoneout_states == ()
