"""Takes the pictures of MLflow's pages in docs/images: of a study that has been run.

    harness run studies/quickstart.yaml --folder FOLDER
    python tools/page_pictures.py quickstart FOLDER

It needs Chromium. `harness ui` serves the pages, so a picture shows what a person sees there at a
first visit.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from harness.store import views

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "wide": ("", {"viewport": {"width": 1440, "height": 900}}),
    "narrow": (
        "-narrow",
        {
            "viewport": {"width": 390, "height": 844},
            "device_scale_factor": 3,
            "is_mobile": True,
            "has_touch": True,
        },
    ),
}
"""Size -> what a file's name ends with, and the window: that of a laptop, and a phone's."""
SETTLE_MS = 2000  # charts move into place
LOAD_MS = 120_000
HOME = "home"
PICTURES = (HOME, views.ANSWER, views.CURVES, views.TRIALS, views.COSTS)
"""What is shown: the page that an address without a path opens, and each view of the study."""
FLAGS = ("--no-sandbox", "--disable-gpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--into", type=Path, default=IMAGES)
    parser.add_argument("--size", choices=list(SIZES), default="wide")
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "harness.cli", "ui", asked.study]
    command += ["--folder", str(asked.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            said = server.stdout.readline()
            if not said.startswith("MLflow: http"):
                sys.exit(f"harness ui must say its address, but said {said!r}.")
            for path in take(said.split()[1], asked.study, asked.into, asked.size):
                print(path)
        finally:
            server.terminate()


def take(address: str, study: str, folder: Path, size: str) -> Iterator[Path]:
    """Takes every picture at a size, and yields their paths."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    suffix, window = SIZES[size]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        for shown in PICTURES:
            page = browser.new_page(**window)
            page.set_default_timeout(LOAD_MS)
            page.goto(address_of(address, shown))
            wait(page, shown, study)
            path = folder / f"mlflow-{shown}{suffix}.png"
            page.screenshot(path=path)
            page.close()
            yield path
        browser.close()


def address_of(address: str, shown: str) -> str:
    """Returns the address of what is shown, from that which ``harness ui`` says."""
    if shown == HOME:
        return address.partition("#")[0]
    return address.partition("?")[0] + "?" + views.address(shown)


def wait(page: Page, shown: str, study: str) -> None:
    """Waits until what is shown is drawn."""
    if shown == HOME:
        page.get_by_text(study, exact=True).first.wait_for()
    else:
        page.locator(".ag-row").first.wait_for(state="attached")
    if shown in (views.CURVES, views.TRIALS):
        page.locator(".js-plotly-plot .main-svg").first.wait_for(state="attached")
    page.wait_for_timeout(SETTLE_MS)


if __name__ == "__main__":
    main()
