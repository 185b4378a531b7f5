import io
from dataclasses import replace

import pytest
import small_study
from rich.console import Console

from harness import data, study
from harness.preflight import check, texts
from harness.settings import Settings
from harness.store.locations import Locations


def printed(facts, width=80):
    """The lines of the table."""
    console = Console(file=io.StringIO(), width=width)
    console.print(texts.table(facts))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.fixture
def loaded(tmp_path):
    """A study of two arms under three conditions."""
    path = small_study.write(tmp_path)
    across = "across:\n  a: {batch_size: 4}\n  b: {batch_size: 5}\n  c: {batch_size: 6}\ntune:"
    text = path.read_text().replace("tune:", across).replace("  batch_size: 4\n", "", 1)
    path.write_text(text)
    return study.load(path)


def dataset(**given):
    return data.load(Settings("lstm", **{"corpus": "time-machine", **given}))


def test_the_table_of_a_text():
    assert printed(texts.facts_by_readers(None, {"lstm": dataset(), "gru": dataset()})) == [
        "text                                    tokens  <unk>  lines  seen",
        66 * "─",
        "time-machine, 44 different characters",
        " train                                 143,183    0 %  2,173",
        " validation                             17,898    0 %    269   0 %",
        " test                                   17,898    0 %    268   0 %",
    ]


def test_lines_that_are_sequences_are_counted(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("a line of some more than thirty letters\n\nfour five\n" * 40)
    words = {"corpus": "text", "path": str(path), "token": "word"}
    read = {"lstm": dataset(**words, lines="sequences")}
    title, _, _, *splits = printed(texts.facts_by_readers(None, read), 99)
    assert title.split() == "text tokens <unk> lines seen sequences empty longest".split()
    assert [row.split() for row in splits] == [
        "train 416 0 % 32 64 32 8".split(),
        "validation 52 0 % 4 100 % 8 4 8".split(),
        "test 52 0 % 4 100 % 8 4 8".split(),
    ]


def test_who_reads_which_of_several_texts(loaded):
    book, docs = dataset(), dataset(corpus="python-docs")
    words = dataset(token="word")
    keys = [arm.key for arm in loaded.arms]
    assert keys == [f"{condition}/{arm}" for condition in "abc" for arm in ("narrow", "wide")]
    read = dict(zip(keys, [book, book, docs, words, book, book], strict=True))
    facts = texts.facts_by_readers(loaded, read)
    assert {readers: (f.title, f.token) for readers, f in facts.items()} == {
        "a, c": ("time-machine", "char"),
        "b/narrow": ("python-docs", "char"),
        "b/wide": ("time-machine", "word"),
    }
    lines = printed(facts)
    assert "time-machine, 44 different characters (a, c)" in lines
    assert "time-machine, 5,827 different words (b/wide)" in lines
    assert max(map(len, lines)) <= 80 and len(lines) == 2 + 3 * 4


def test_equal_texts_are_one_wherever_they_were_read(loaded):
    book = dataset()
    again = replace(book, source="another reading of the same")
    assert list(texts.facts_by_readers(loaded, {"a/narrow": book, "a/wide": again})) == [""]


def test_check_shows_the_texts_and_warns_of_a_leak(tmp_path):
    path = small_study.write(tmp_path)
    for repeats, warns in ((False, False), (True, True)):
        lines = [f"line {i:03d} of a text, the last words of which differ" for i in range(200)]
        held_out = [f"the other line of the text, number {i:03d}" for i in range(200)]
        text = "\n".join(lines + (lines if repeats else held_out))
        (tmp_path / "text.txt").write_text(text)
        console = Console(file=io.StringIO(), width=80)
        check.check(
            str(path), (), locations=Locations(tmp_path), trains=False, force=False, console=console
        )
        said = console.file.getvalue()
        assert "text.txt, " in said and "lines: of 30 characters or more; seen:" in said
        assert ("stand in the training text too" in " ".join(said.split())) == warns
        assert max(map(len, said.splitlines())) <= 80
