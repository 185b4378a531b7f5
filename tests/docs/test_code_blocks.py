"""Every block of code of every page is run, as a reader would: one after another, in one folder."""

import html
import io
import random
import re
from pathlib import Path

import pytest
import result_tables
import small_study
import terminal_pictures
import yaml
from markdown_blocks import LANGUAGES, NOTES, Block, blocks, file_name
from page_reader import Reader, assert_shows, shortened
from rich.console import Console

from cells import registry
from harness import study

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "docs" / "quickstart.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"] + sorted(
    page for page in (ROOT / "docs").rglob("*.md") if "generated" not in page.parts
)
FOLLOWED = [page for page in PAGES if page != QUICKSTART and blocks(page)]
BASE = """\
study: base
version: 2
question: Which?
compare: {cross: {cell: [lstm, gru]}, baseline: {cell: lstm}}
fix: {corpus: time-machine, hidden_size: 8, budget: {updates: 20}}
"""
TUNED = "tune: {learning_rate: {low: 0.01, high: 10.0, log: true}, trials: 8}\n"


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A reader who has followed the quickstart already, as other pages expect."""
    folder = tmp_path_factory.mktemp("reader")
    draw = random.Random(7)
    notes = " ".join(draw.choice(small_study.WORDS) for _ in range(4000))
    (folder / "notes.txt").write_text(notes, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "80")
        patch.setattr(registry, "_cells", dict(registry._cells))  # pages define cells
        made = Reader(folder)
        made.follow(QUICKSTART)
        yield made


@pytest.mark.slow
def test_the_quickstart_is_followed_to_its_verdict(reader):
    assert (reader.folder / "mlflow.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", FOLLOWED, ids=named)
def test_what_a_page_says_works(page, reader):
    reader.follow(page)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_what_it_is(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f"line {block.line}: name the language"
        assert set(block.notes) <= set(NOTES), f"line {block.line}: {block.notes}"
        assert all(
            len(reason.split()) > 1 for note, reason in block.notes.items() if note == "not run"
        )


def yaml_blocks() -> list:
    return [
        pytest.param(block, id=f"{named(page)}:{block.line}")
        for page in PAGES
        for block in blocks(page)
        if block.language == "yaml" and not (file_name(block) or ("", ""))[1]
    ]


@pytest.mark.parametrize("block", yaml_blocks())
def test_yaml_is_a_study_or_completes_one(block: Block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_cells", dict(registry._cells))
    (tmp_path / "mine.py").write_text(own_cell(), encoding="utf-8")
    given = yaml.safe_load(block.text)
    problems = []
    for base in [""] if "compare" in given and "study" in given else [BASE, BASE + TUNED]:
        data = completed(yaml.safe_load(base) or {}, given)
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
        try:
            assert study.load("study.yaml").arms
            return
        except study.StudyError as error:
            problems.append(str(error))
    raise AssertionError("\n".join(problems))


def completed(base: dict, given: dict) -> dict:
    """Returns the study of ``base`` with the blocks of a fragment; of ``fix``, with its fields."""
    data = base | given
    if "fix" in base:
        data["fix"] = base["fix"] | given.get("fix", {})
    crossed = data.get("compare", {}).get("cross", {})
    data["fix"] = {name: value for name, value in data["fix"].items() if name not in crossed}
    if "cell" not in str(data.get("compare")):
        data["fix"].setdefault("cell", "lstm")
    return data


def own_cell() -> str:
    """Returns the cell file that pages write."""
    page = ROOT / "docs" / "how-to" / "own_cell.md"
    return next(block.text for block in blocks(page) if file_name(block) == ("mine.py", ""))


def test_the_first_floor_of_the_readme_has_study_verdict_and_picture_in_80_lines():
    first, rule, links = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n---\n")
    assert rule and first.count("\n") < 80
    assert all(each in first for each in ("make study", "study: quickstart", "undecided", "![The"))
    for path in re.findall(r"\]\(([^)#]+)", first + links):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", [ROOT / "README.md", QUICKSTART], ids=named)
def test_the_quickstart_that_is_shown_is_the_shipped_one(page, tmp_path):
    shipped = study.load(ROOT / "studies" / "quickstart.yaml").identity()
    shown = [block.text for block in blocks(page) if "study: quickstart" in block.text]
    assert [study.loads(text).identity() for text in shown] == [shipped]


@pytest.mark.parametrize("page", [ROOT / "README.md", QUICKSTART], ids=named)
def test_the_verdict_that_is_shown_follows_from_the_raw_records(page):
    """A page shows all that is printed, or the table alone."""
    whole = printed_lines(80)
    (shown,) = [each.text for each in blocks(page) if each.text.lstrip().startswith("Perplexity")]
    assert shown.splitlines() in (whole, whole[: whole.index("")])


@pytest.mark.parametrize("width", terminal_pictures.WIDTHS)
def test_the_picture_of_a_terminal_shows_what_is_printed(width):
    picture = (terminal_pictures.OUT / f"terminal-{width}.svg").read_text(encoding="utf-8")
    words = html.unescape(re.sub("<[^>]+>", " ", picture)).split()
    printed = " ".join(printed_lines(width)).split()
    assert words[-len(printed) :] == printed


def printed_lines(width: int) -> list[str]:
    """Returns the short report of the quickstart's raw records, line by line."""
    printed = io.StringIO()
    result_tables.asked_report("quickstart").terminal(Console(file=printed, width=width))
    return [line.rstrip() for line in printed.getvalue().splitlines()]


def test_the_tutorial_shows_the_figures_of_the_same_arms_of_the_quickstart():
    """Both studies train them alike, so that the raw records of one hold for the other."""

    def figures(page: Path) -> dict[str, list[str]]:
        shown = [b.text for b in blocks(page) if b.text.lstrip().startswith("Perplexity")]
        rows = (re.match(r"([a-z-]+) +([\d.]+)( +\S+ \(\S+\))?", x) for x in shown[0].splitlines())
        return {row[1]: [row[2], (row[3] or "").strip()] for row in rows if row}

    expected, shown = figures(QUICKSTART), figures(ROOT / "docs" / "tutorial.md")
    assert set(shown) == {"lstm", "lstm-no-forget-gate"}
    assert shown == {arm: expected[arm] for arm in shown}


# The reader itself


def test_a_reader_notices_a_command_that_fails(reader, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```console\n$ harness check absent.yaml\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page.md:2: .*ended with 2"):
        reader.follow(page)
    page.write_text("```console\n$ rm -r /\n```\n", encoding="utf-8")
    with pytest.raises(ValueError, match="only the bench's own commands"):
        reader.follow(page)


def test_output_is_compared_line_by_line():
    assert_shows("a\nb\nc\n", ["a", "...", "c"], "here")
    assert_shows("a\nb\n", ["a", "..."], "here")
    for expected in (["a"], ["b", "..."], ["...", "a", "b", "d"], ["...", "b"]):
        with pytest.raises(AssertionError):
            assert_shows("a\nb\nc\n", expected, "here")


def test_a_study_is_shortened_in_its_sizes_and_asks_the_same():
    path = ROOT / "studies" / "quickstart.yaml"
    whole = study.load(path)
    short = study.loads(shortened(path.read_text(encoding="utf-8")))
    assert [arm.name for arm in short.arms] == [arm.name for arm in whole.arms][:3]
    assert short.question == whole.question and "updates: 20" in study.dump(short.resolved())
