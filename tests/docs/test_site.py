"""The site is built with warnings as errors, needs no network, and every link leads somewhere."""

import html.parser
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import docs_gallery
import docs_links
import pytest
import report_pictures
import result_tables
from typer.main import get_command

import cells
import harness
from cells.registry import FAMILIES
from harness import cli

ROOT = Path(__file__).resolve().parents[2]
SITE_LIMIT_MB = 12
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, with the report of the quickstart alone."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet"]
    command += ["--doctree-dir", folder / "read", ROOT / "docs", folder / "html"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Page(html.parser.HTMLParser):
    """What a page fetches, where it leads, and the places in it that can be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.places = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.places.add(given.get("id") or "")
        if "src" in given:
            self.fetched.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.fetched.append(given["href"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


@pytest.fixture(scope="module")
def browser():
    with report_pictures.opened() as browser:
        yield browser


def is_elsewhere(address: str) -> bool:
    return bool(urllib.parse.urlsplit(address).netloc)


def test_no_page_fetches_anything_from_elsewhere(site, pages):
    assert len(pages) > 30
    fetched = {address for page in pages.values() for address in page.fetched}
    assert fetched and not [address for address in fetched if is_elsewhere(address)]
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        for address in re.findall(r"(?:url\(|@import )['\"]?([^'\")]+)", text):
            assert not is_elsewhere(address), f"{path.name} fetches {address}"
    assert sum(path.stat().st_size for path in site.rglob("*")) < SITE_LIMIT_MB * 1e6


def test_every_link_of_a_page_leads_somewhere(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve()
            target = target if parts.path else path
            place = urllib.parse.unquote(parts.fragment)
            known = pages[target].places if target in pages else {"", place}
            if not target.exists() or place not in known:
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_the_reference_has_every_command_with_every_option(site):
    text = (ROOT / "docs" / "generated" / "commands.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (harness .+?)\n(.*?)(?=^### |\Z)", text, re.M | re.S))
    root = get_command(cli.app)
    expected = {f"harness {name}": command for name, command in root.commands.items()}
    for name, command in list(expected.items()):
        for sub_name, sub_command in getattr(command, "commands", {}).items():
            expected[f"{name} {sub_name}"] = sub_command
    assert set(sections) == set(expected)
    for name, command in expected.items():
        for option in (word for each in command.params for word in each.opts):
            assert not option.startswith("--") or f"`{option}" in sections[name], (name, option)
    assert "`--budget SECONDS`" in sections["harness bench"]


def test_the_quickstart_lists_every_command():
    listed = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    for name in get_command(cli.app).commands:
        assert f"`harness {name}" in listed, name


def test_the_reference_has_every_public_name_and_every_cell(pages):
    python, shown = (
        next(page for path, page in pages.items() if path.match(f"generated/{name}.html"))
        for name in ("python", "cells")
    )
    names = {f"harness.{name}" for name in harness.__all__}
    names |= {f"cells.{name}" for name in cells.__all__}
    assert names <= python.places
    shipped = [name for names_of in FAMILIES.values() for name in names_of]
    assert set(shipped) <= shown.places


def test_every_page_is_in_the_menu(site):
    menu = Page(site / "index.html").links
    for page in (ROOT / "docs").rglob("*.md"):
        address = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert address in menu or address == "index.html", address


def test_the_gallery_leads_to_a_whole_report_and_shows_its_figure(site, pages):
    gallery = pages[site / "generated" / "gallery.html"]
    assert "../reports/quickstart.html" in gallery.links
    assert any("quickstart" in address for address in gallery.fetched)
    assert (site / "reports" / "quickstart.html").exists()


def test_the_gallery_has_every_study_of_the_results():
    text = result_tables.RESULTS.read_text(encoding="utf-8")
    entries = docs_gallery.entries(text)
    assert {entry.name for entry in entries} == set(result_tables.ASKED)
    page = docs_gallery.page(text)
    for entry in entries:
        assert entry.question.endswith("?") and entry.verdict.startswith("Compared with")
        assert entry.verdict in page and "commit" in entry.account.lower()
    with pytest.raises(ValueError, match="after the marker of quickstart. Run make generate"):
        docs_gallery.entries(text.replace("<!-- quickstart -->", "<!-- quick -->"))


@pytest.mark.parametrize(
    ("link", "folder", "moved"),
    [
        (
            "[a](../../CONTRIBUTING.md#the-tree)",
            "docs/how-to",
            "[a](/generated/contributing.md#the-tree)",
        ),
        ("[a](docs/study.md)", "", "[a](/study.md)"),
        ("[a](bench/x.svg)", "studies", "[a](/../studies/bench/x.svg)"),
        ("[a](#here) [b](https://x.org/y)", "docs", "[a](#here) [b](https://x.org/y)"),
    ],
)
def test_a_link_leads_to_the_same_page_on_the_site(link, folder, moved):
    assert docs_links.on_the_site(link, folder) == moved


@pytest.mark.browser
@pytest.mark.skipif(report_pictures.CHROMIUM is None, reason="no Chromium")
def test_pages_fit_a_phone_and_the_search_needs_no_server(site, browser):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: wrong.append(asked.url) if is_elsewhere(asked.url) else None)
    for name in ("index", "tutorial", "study", "generated/commands", "generated/results"):
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
    page.goto((site / "search.html").as_uri() + "?q=finalist")
    page.locator("#search-results li").first.wait_for()
    found = page.locator("#search-results li").all_inner_texts()
    assert any("Glossary" in each for each in found) and wrong == []


@pytest.mark.browser
@pytest.mark.skipif(report_pictures.CHROMIUM is None, reason="no Chromium")
def test_the_keyboard_scrolls_what_is_wide_and_a_reader_hears_what_parts_are(site, browser):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto((site / "study.html").as_uri())
    wide = page.locator(":is(pre, .table-wrapper)")
    assert wide.count() > 20
    assert set(wide.evaluate_all("all => all.map(each => each.tabIndex)")) == {0}
    table = page.locator(".table-wrapper").last
    assert table.evaluate("each => each.scrollWidth > each.clientWidth")
    table.focus()
    page.keyboard.press("ArrowRight")
    handle = table.element_handle()
    page.wait_for_function("each => each.scrollLeft > 0", arg=handle)
    headings = page.locator(".caption[role=heading]")
    levels = headings.evaluate_all("all => all.map(each => each.getAttribute('aria-level'))")
    assert levels and set(levels) == {"2"}
    assert page.locator(".sidebar-drawer").get_attribute("aria-label") == "All pages"
    assert page.locator("img:not([alt]), img[alt='']").count() == 0


@pytest.mark.browser
@pytest.mark.skipif(report_pictures.CHROMIUM is None, reason="no Chromium")
def test_links_beside_a_page_are_high_enough_for_a_finger_and_a_dark_screen_is_dark(site, browser):
    page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="dark")
    page.goto((site / "generated" / "commands.html").as_uri())
    links = page.locator(".toc-tree a")
    heights = links.evaluate_all("all => all.map(a => a.getBoundingClientRect().height)")
    shown = [height for height in heights if height]  # the page's own title is hidden
    assert len(shown) > 10 and min(shown) >= 24
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, color[4:-1].split(", "))) < 60
