"""Pictures of a report's page as a person sees it: wide and narrow, light and dark, one enlarged.

``python tools/report_pictures.py`` writes docs/images/report-*.png from the records of the study
that the README tells of. A Chromium is needed (``apt-get install chromium``).
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import result_pages
from playwright.sync_api import Browser, Page, sync_playwright

OUT = Path(__file__).resolve().parent.parent / "docs" / "images"
STUDY = "quickstart"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
LOAD_MS = 180_000
FLAGS = ("--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND")
"""A page needs nothing beside it: no name is resolved."""
WIDE, NARROW = (1440, 900), (390, 844)


@contextlib.contextmanager
def opened() -> Iterator[Browser]:
    """Starts a browser, and ends it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(FLAGS), timeout=LOAD_MS
        )
        yield browser
        browser.close()


def hover(page: Page, figure: str) -> str:
    """Puts the pointer on a figure's first point, and returns what is told there."""
    place = page.evaluate(
        """name => {
          const figure = document.getElementById(name), svg = figure.querySelector("svg");
          svg.scrollIntoView({block: "center"});
          const [x, y] = JSON.parse(figure.dataset.points)[0];
          const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
          return [at.x, at.y];
        }""",
        figure,
    )
    page.mouse.move(place[0] + 2, place[1] + 2)
    page.locator(".tip").wait_for()
    return page.locator(".tip").inner_text()


def enlarge(page: Page, figure: str) -> None:
    """Enlarges a figure and zooms it about its middle."""
    page.locator(f"[id='{figure}'] .enlarge").click()
    page.locator("dialog [data-zoom='1.5']").click(click_count=3)


def take(page_path: Path, folder: Path) -> list[Path]:
    """Writes the pictures into ``folder`` and returns their paths."""
    taken = []
    with opened() as browser:
        for name, size in (("wide", WIDE), ("narrow", NARROW)):
            for scheme in ("light", "dark"):
                page = browser.new_page(
                    viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
                )
                page.goto(page_path.as_uri())
                taken.append(folder / f"report-{name}-{scheme}.png")
                page.screenshot(path=taken[-1])
                page.close()
        page = browser.new_page(viewport={"width": WIDE[0], "height": WIDE[1]})
        page.goto(page_path.as_uri())
        for name, act in (("hover", hover), ("enlarged", enlarge)):
            act(page, "learning-curves-tokens")
            taken.append(folder / f"report-{name}.png")
            page.screenshot(path=taken[-1])
    return taken


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for path in take(result_pages.write(STUDY, Path(scratch)), OUT):
            print(path)
