"""The gallery of the shipped studies: question, verdict, how it was run; from RESULTS.md.

The tables of RESULTS.md are generated from the raw records and held equal by a test, so that the
gallery's words are the records' too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import result_tables

HEAD = """\
# Gallery

The studies that come with the bench, each with the question that it asks and the verdict that it
reached. The words are those of [all results](results.md), whose tables are made from the raw
records in `studies/results`."""


@dataclass(frozen=True)
class Entry:
    """A study as RESULTS.md tells of it.

    Attributes:
        name: The study's.
        heading: Of its section.
        account: When, where and how it was run: the paragraph under the heading.
        question: The study's.
        verdict: Of all arms, in one paragraph.
    """

    name: str
    heading: str
    account: str
    question: str
    verdict: str


def entries(results: str) -> list[Entry]:
    """Returns the studies that ask a question of this project's, in the order of the page.

    Raises:
        ValueError: A section lacks what the gallery shows.
    """
    found = [_entry(results, name) for name in result_tables.ASKED]
    return sorted(found, key=lambda entry: results.index(f"## {entry.heading}\n"))


def _entry(results: str, name: str) -> Entry:
    before, marker, rest = results.partition(f"<!-- {name} -->\n")
    heading, _, section = before.rpartition("\n## ")[2].partition("\n\n")
    block = rest.partition(f"<!-- end of {name} -->")[0].split("\n\n")
    if not marker or len(block) < 2 or not re.fullmatch(r"\*\*.+\*\*", block[1], re.DOTALL):
        raise ValueError(
            f"RESULTS.md: must hold a question and a verdict after the marker of {name}. "
            "Run make generate."
        )
    return Entry(name, heading, section.split("\n\n")[0], block[0].strip(), block[1].strip("*"))


def page(results: str, made: set[str] = frozenset()) -> str:  # type: ignore[assignment]
    """Returns the gallery.

    Args:
        results: The text of RESULTS.md.
        made: Paths of the whole reports, if they were made.
    """
    blocks = [HEAD]
    for entry in entries(results):
        blocks += [f"## {entry.name}", f"*{entry.question}*", f"**{entry.verdict}**"]
        if figure(entry.name) in made:
            blocks.append(f"![The verdicts of {entry.name}]({figure(entry.name)})")
        links = [
            f"[the study file](../../{_of_root(entry.name)})",
            f"[all tables](results.md#{slug(entry.heading)})",
        ]
        if report_page(entry.name) in made:
            address = report_page(entry.name).removeprefix("extra/")
            links.insert(0, f'<a href="../{address}">the whole report</a>')
        blocks += [f"See {', '.join(links)}.", entry.account]
    return "\n\n".join([*blocks, *_published()]) + "\n"


def _of_root(name: str) -> str:
    return result_tables.study_file(name).relative_to(result_tables.ROOT).as_posix()


def _published() -> list[str]:
    rows = ["| study | arms | epochs in their band |", "|---|---|---|"]
    for name in result_tables.REPRODUCED:
        points = [each for each in result_tables.points(name) if each.band is not None]
        arms = ", ".join(dict.fromkeys(each.arm for each in points))
        held = sum(each.holds for each in points)
        rows.append(f"| {name} | {arms} | {held} of {len(points)} |")
    return [
        "## The published systems",
        "Six notebooks of a textbook, run again and set beside what they print: at how many of the "
        "published epochs the median of our three seeds lies in the band around the printed or the "
        "independent figure. [All results](results.md#the-published-systems) say what was missed.",
        "\n".join(rows),
    ]


def reports(names: Sequence[str]) -> dict[str, str | bytes]:
    """Returns the whole reports of studies and the figures of their verdicts, by their paths."""
    files: dict[str, str | bytes] = {}
    for name in names:
        report = result_tables.asked_report(name)
        files[report_page(name)] = report.html()
        if report.first_figure is not None:
            files[figure(name)] = report.first_figure.svg_file()
    return files


def report_page(name: str) -> str:
    """Returns where a study's whole report lies; what is under ``extra`` is copied as it is."""
    return f"extra/reports/{name}.html"


def figure(name: str) -> str:
    """Returns where the figure of a study's verdicts lies."""
    return f"figures/{name}.svg"


def slug(heading: str) -> str:
    """Returns the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
